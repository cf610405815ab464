"""What the handlers of this folder are handed by ``app``."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from orrery.clock import Clock
from orrery.ingest.parts import WriteParts
from orrery.model.receipts import Receipt
from orrery.model.selector import Selector
from orrery.query.queries import Queries
from orrery.server.http import Request
from orrery.tenancy.access import Access, Caller
from orrery.tenancy.tokens import Permission

SCHEME = "warp10"

Pairs = tuple[tuple[str, str], ...]


class AttributesOf(Protocol):
    def __call__(self, tenant: str) -> Mapping[bytes, Pairs]:
        """By the canonical bytes of the series."""


class WriteAttributes(Protocol):
    def __call__(self, tenant: str, rows: Sequence[tuple[bytes, Pairs]]) -> "Future[int | None]":
        """Completes once they are logged; no pairs forget what was said of a series."""


class Delete(Protocol):
    def __call__(self, tenant: str, selector: Selector, *, min_ns: int, max_ns: int) -> Receipt:
        """Waits for the disk; bounds are inclusive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """``unit_ns`` is the length of the time unit that the wire speaks."""

    writing: WriteParts
    queries: Queries
    attributes_of: AttributesOf
    write_attributes: WriteAttributes
    delete: Delete
    unit_ns: int

    @property
    def access(self) -> Access:
        return self.writing.access

    @property
    def clock(self) -> Clock:
        return self.writing.clock

    def caller(self, request: Request, permission: Permission) -> Caller:
        return self.access.caller(request, permission=permission, scheme=SCHEME)
