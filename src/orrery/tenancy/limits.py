"""What each tenant may use: the defaults, and what an operator set for one tenant."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from orrery.settings import Limits, check_limit_names, limits_with
from orrery.store.documents import decode_document, encode_document
from orrery.tenancy.documents import Documents
from orrery.tenancy.names import object_part

COLLECTION = "tenants"
FORMAT = 1
STALE_SECONDS_MAX = 1.0
"""Limits are asked for several times a write; another process's change may show this late."""


class Tenant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is stored of a tenant that somebody created or set limits for."""

    name: str
    created_ns: int
    description: str
    limits: dict[str, int | float | str]


class TenantLimits:
    """Answers from memory unless the tenant's document changed."""

    def __init__(self, *, documents: Documents, defaults: Limits) -> None:
        self._documents = documents
        self.defaults = defaults
        self._computed: dict[str, tuple[int, Limits]] = {}

    def of(self, tenant: str) -> Limits:
        document = self._documents.read(document_name(tenant), stale_seconds_max=STALE_SECONDS_MAX)
        if document.content is None:
            return self.defaults
        version, limits = self._computed.get(tenant, (0, self.defaults))
        if version != document.version:
            limits = limits_with(self.defaults, decode(document.content).limits)
            self._computed[tenant] = (document.version, limits)
        return limits

    def is_durable(self, tenant: str) -> bool:
        """Whether its writes wait for the disk."""
        return self.of(tenant).acknowledgement != "memory"

    def forget(self, tenant: str) -> None:
        """For a tenant that fell idle."""
        self._computed.pop(tenant, None)


def document_name(tenant: str) -> str:
    return f"{COLLECTION}/{object_part(tenant)}"


def decode(content: bytes) -> Tenant:
    return decode_document(content, Tenant, name="a tenant's document", format_version=FORMAT)


def encode(tenant: Tenant) -> bytes:
    """The bytes of docs/formats/control.md."""
    return encode_document(tenant, format_version=FORMAT)


def merged(
    current: Mapping[str, int | float | str], changes: Mapping[str, object]
) -> dict[str, int | float | str]:
    """``current`` with ``changes`` made to it; a change to None gives back the default."""
    check_limit_names(changes)
    kept = {name: value for name, value in current.items() if name not in changes}
    set_anew = {name: value for name, value in changes.items() if value is not None}
    limits = msgspec.structs.asdict(limits_with(Limits(), {**kept, **set_anew}))
    return {name: limits[name] for name in (*kept, *set_anew)}
