"""Metric metadata per tenant: type, help and unit by metric name. Part of the engine's state,
rebuilt from the log and a document beside the checkpoints."""

import threading
from collections.abc import Iterable

import msgspec

from orrery.store.documents import decode_document, encode_document
from orrery.store.kernels import MetadataRow

METADATA_FORMAT = 1


class _Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Per tenant, rows of (name, kind, help, unit)."""

    tenants: dict[str, list[MetadataRow]]


class Metadata:
    """Calls may come from any thread."""

    def __init__(self, *, per_tenant_max: int) -> None:
        self._lock = threading.Lock()
        self._per_tenant_max = per_tenant_max
        self._tenants: dict[str, dict[str, MetadataRow]] = {}
        self.changes = 0

    def news(self, tenant: str, rows: Iterable[MetadataRow]) -> tuple[MetadataRow, ...]:
        """Those that differ from what is known: clients repeat themselves every minute. Rows of
        names past the tenant's maximum are left out."""
        with self._lock:
            known = self._tenants.get(tenant, {})
            room = self._per_tenant_max - len(known)
            found: dict[str, MetadataRow] = {}
            for row in rows:
                if known.get(row[0]) == row:
                    found.pop(row[0], None)
                elif row[0] in known or row[0] in found or room > 0:
                    room -= row[0] not in known and row[0] not in found
                    found[row[0]] = row
            return tuple(found.values())

    def put(self, tenant: str, rows: Iterable[MetadataRow]) -> None:
        with self._lock:
            book = self._tenants.setdefault(tenant, {})
            for row in rows:
                if row[0] in book or len(book) < self._per_tenant_max:
                    book[row[0]] = row
            self.changes += 1

    def of(self, tenant: str, name: str | None = None) -> list[MetadataRow]:
        """Rows in order of the names; those of one metric where ``name`` is given."""
        with self._lock:
            book = self._tenants.get(tenant, {})
            if name is not None:
                return [book[name]] if name in book else []
            return [book[key] for key in sorted(book)]

    def encode(self) -> bytes:
        with self._lock:
            rows = {tenant: list(book.values()) for tenant, book in self._tenants.items()}
        return encode_document(_Book(rows), format_version=METADATA_FORMAT)

    def load(self, content: bytes, *, name: str) -> None:
        book = decode_document(content, _Book, name=name, format_version=METADATA_FORMAT)
        for tenant, rows in book.tenants.items():
            self.put(tenant, rows)
