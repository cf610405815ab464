"""Metric metadata per tenant: type, help and unit by metric name; beside it the attributes of
series. Part of the engine's state, rebuilt from the log and a document beside the checkpoints."""

import threading
from collections.abc import Iterable

import msgspec

from orrery.store.attributes import Attributes
from orrery.store.documents import decode_document, encode_document, format_of
from orrery.store.kernels import AttributesRecord, AttributesRow, MetadataRecord, MetadataRow

METADATA_FORMAT = 1
ATTRIBUTES_FORMAT = 2
"""Written only where there are attributes: a release that does not know them stops at it."""


class _Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Per tenant, rows of (name, kind, help, unit)."""

    tenants: dict[str, list[MetadataRow]]


class _DescribedBook(_Book, frozen=True, forbid_unknown_fields=True):
    """And rows of (canonical bytes of a series, pairs of name and value)."""

    attributes: dict[str, list[AttributesRow]]


class Metadata:
    """Calls may come from any thread."""

    def __init__(self, *, per_tenant_max: int) -> None:
        self._lock = threading.Lock()
        self._per_tenant_max = per_tenant_max
        self._tenants: dict[str, dict[str, MetadataRow]] = {}
        self._change_count = 0
        self.attributes = Attributes()

    @property
    def changes(self) -> int:
        return self._change_count + self.attributes.changes

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
            self._change_count += 1

    def take(self, told: MetadataRecord | AttributesRecord) -> None:
        """What a record of the log says."""
        if isinstance(told, MetadataRecord):
            self.put(told.tenant, told.rows)
        else:
            self.attributes.put(told.tenant, told.rows)

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
        attributes = self.attributes.rows()
        if not attributes:
            return encode_document(_Book(rows), format_version=METADATA_FORMAT)
        book = _DescribedBook(rows, attributes)
        return encode_document(book, format_version=ATTRIBUTES_FORMAT)

    def load(self, content: bytes, *, name: str) -> None:
        described = format_of(content, name=name) == ATTRIBUTES_FORMAT
        book = decode_document(
            content,
            _DescribedBook if described else _Book,
            name=name,
            format_version=ATTRIBUTES_FORMAT if described else METADATA_FORMAT,
        )
        for tenant, rows in book.tenants.items():
            self.put(tenant, rows)
        if isinstance(book, _DescribedBook):
            for tenant, described_rows in book.attributes.items():
                self.attributes.put(tenant, described_rows)
