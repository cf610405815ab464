"""Objects: immutable named bytes, the first of the two storage primitives (DESIGN section 2)."""

import re
from collections.abc import Iterator
from typing import Protocol

from orrery.errors import Invalid

NAME_LENGTH_MAX = 1024
PART_LENGTH_MAX = 200

_PART = re.compile(r"[A-Za-z0-9._=-]+")


class Objects(Protocol):
    """Put, put-if-absent, ranged get, list and delete; atomic per object, durable on return.

    Names are ``/``-separated paths of ``[A-Za-z0-9._=-]`` parts; no object's name is a folder of
    another's. Calls block and may come from any thread. ``Unavailable`` means try again (a put
    that failed so may still have happened); ``Invalid`` a name or range that cannot be; ``Denied``
    that the store's credentials do not suffice.
    """

    def put(self, name: str, content: bytes) -> None:
        """Creates or replaces the object; readers see the old bytes or the new, never a mix."""

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """True where this call created the object; exactly one of many racing calls wins."""

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes | None:
        """Bytes from ``start``, at most ``length``; None where there is no such object.

        A range behind the end gives no bytes.
        """

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """(name, size in bytes) of every object below ``prefix``, in byte order of the names.

        ``prefix`` is a folder: empty, or ending in ``/``.
        """

    def delete(self, name: str) -> None:
        """Removes the object; removing what is not there is no error."""


def check_name(name: str) -> None:
    """Every backend refuses the same names, so that data can move between them."""
    if not name or len(name) > NAME_LENGTH_MAX:
        raise Invalid(
            f"cannot name an object {name[:80]!r}: its length is not in 1..{NAME_LENGTH_MAX}"
        )
    for part in name.split("/"):
        if part in (".", "..") or len(part) > PART_LENGTH_MAX or not _PART.fullmatch(part):
            raise Invalid(
                f"cannot name an object {name!r}: {part[:80]!r} is not 1..{PART_LENGTH_MAX} of "
                "[A-Za-z0-9._=-]"
            )


def check_prefix(prefix: str) -> None:
    if not prefix:
        return
    if not prefix.endswith("/"):
        raise Invalid(f"cannot list objects below {prefix!r}: a folder ends in '/'")
    check_name(prefix[:-1])


def check_range(name: str, start: int, length: int | None) -> None:
    if start < 0 or (length is not None and length < 0):
        raise Invalid(f"cannot read object {name!r}: range {start}+{length} is negative")
