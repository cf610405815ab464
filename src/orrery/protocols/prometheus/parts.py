"""What the read side is handed by ``app``, and how a handler turns into one query."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orrery.clock import Clock
from orrery.languages.promql.prepare import Preparations
from orrery.model.receipts import Held, Receipt
from orrery.model.selector import Selector
from orrery.query.cache import ResultCache
from orrery.query.queries import Asked, Queries, Query
from orrery.server.http import Request, Response
from orrery.tenancy.access import Access, Caller
from orrery.tenancy.tokens import Permission

MetadataRow = tuple[str, str, str, str]
"""(name, kind, help, unit)"""


class MetadataOf(Protocol):
    def __call__(self, tenant: str, name: str | None = None) -> Iterable[MetadataRow]:
        """What writers told about the tenant's metrics, or about one."""


class Deletes(Protocol):
    """They wait for the disk: not for the event loop."""

    def delete(self, tenant: str, selector: Selector, *, min_ns: int, max_ns: int) -> Receipt:
        """Returns once the delete is durable and holds on reads; bounds are inclusive."""

    def of(self, tenant: str) -> list[Receipt]: ...

    def show(self, tenant: str, receipt_id: int) -> tuple[Receipt, Held] | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    access: Access
    queries: Queries
    metadata_of: MetadataOf
    receipts: Deletes
    preparations: Preparations
    cache: ResultCache
    clock: Clock
    version: str
    started_ns: int
    retention: str = "0s"
    flags: Mapping[str, str] = field(default_factory=dict)

    def caller(self, request: Request, permission: Permission = Permission.READ) -> Caller:
        return self.access.caller(request, permission=permission, scheme="prometheus")

    async def run(
        self,
        request: Request,
        work: Callable[[Query], Response],
        *,
        text: str,
        timeout_seconds: float | None = None,
        is_brief: bool = False,
        raw_only: bool = False,
    ) -> Response:
        """``work`` as one query of the caller; it ends when the client leaves."""
        caller = self.caller(request)
        asked = Asked(
            tenant=caller.tenant,
            text=text,
            forced=caller.forced_matchers,
            timeout_seconds=timeout_seconds,
            is_brief=is_brief,
            raw_only=raw_only,
        )
        return await self.queries.run(asked, work, on_cancel=request.on_disconnect)
