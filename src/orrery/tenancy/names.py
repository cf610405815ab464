"""What a tenant may be called, and how its name stands in an object's name.

The characters are those Grafana Mimir allows, so that its clients' ``X-Scope-OrgID`` fits.
"""

import hashlib
import re
import string
from functools import lru_cache

from orrery.errors import Invalid

DEFAULT_TENANT = "default"
SYSTEM = "*"
"""The tenant of tokens that may act for every tenant; not a tenant itself."""

TENANT_CHARACTERS_MAX = 150
PART_CHARACTERS_MAX = 200
PARTS_KEPT_MAX = 4096
_TENANT = re.compile(r"[A-Za-z0-9!\-_.*'()]+")
_HASHED = "=sha256="
_OBJECT_SAFE = frozenset(string.ascii_letters + string.digits + "-_.")
_RESERVED = frozenset({SYSTEM, ".", "..", "__mimir_cluster"})


def check_tenant(name: str) -> str:
    """``name`` where it is one; else ``Invalid``."""
    if "|" in name:
        raise Invalid(f"cannot use tenant {name!r}: one request serves one tenant")
    if len(name) > TENANT_CHARACTERS_MAX:
        raise Invalid(
            f"cannot use tenant {name[:32] + '...'!r}: more than {TENANT_CHARACTERS_MAX} characters"
        )
    if not _TENANT.fullmatch(name):
        raise Invalid(
            f"cannot use tenant {name!r}: a name has letters, digits and the characters !-_.*'()"
        )
    if name in _RESERVED:
        raise Invalid(f"cannot use tenant {name!r}: the name is reserved")
    return name


@lru_cache(maxsize=PARTS_KEPT_MAX)
def object_part(name: str) -> str:
    """``name`` as one part of an object's name: what objects do not allow becomes ``=XX``; what
    gets too long that way is named by its hash, which no ``=XX`` looks like."""
    part = "".join(
        character if character in _OBJECT_SAFE else f"={ord(character):02X}" for character in name
    )
    if len(part) <= PART_CHARACTERS_MAX:
        return part
    return _HASHED + hashlib.sha256(name.encode()).hexdigest()


def name_of_part(part: str) -> str | None:
    """Whose part it is, as ``object_part`` made it; None where a hash stands for the name."""
    if part.startswith(_HASHED):
        return None
    first, *escaped = part.split("=")
    return first + "".join(chr(int(text[:2], 16)) + text[2:] for text in escaped)
