"""``/api/v0/delete``: hides samples of the selected series, and lists these.

A delete of all there is also forgets the series' attributes, as Warp 10 forgets the series. Called
through the routes of ``wire``.
"""

import asyncio
from collections.abc import Mapping

from orrery.errors import Invalid
from orrery.kernels.gts_output import GtsSeries
from orrery.kernels.series import parse_series
from orrery.model.selector import Selector
from orrery.protocols.warp10.arguments import Arguments, read_arguments
from orrery.protocols.warp10.errors import CORS, TEXT
from orrery.protocols.warp10.parts import Pairs, Parts
from orrery.protocols.warp10.selectors import GtsSelector, exactly, read_selector
from orrery.protocols.warp10.series import annotate, check_labels, select
from orrery.protocols.warp10.times import TIME_MAX_NS, TIME_MIN_NS, bounded_ns, read_time
from orrery.query.queries import Asked, Query
from orrery.server.http import Request, Response
from orrery.tenancy.access import Caller
from orrery.tenancy.tokens import Permission

KNOWN = frozenset({"selector", "start", "end", "deleteall", "dryrun", "token", "showerrors"})
RECEIPT_HEADER = "x-orrery-receipts"
DELETES_MAX = 100
"""Of one request: each class with a field that a regular expression selects takes one."""
SERIES_MAX = 100_000
"""Of one request: they are listed in its answer."""

Found = tuple[bytes, list[Selector], list[bytes]]
"""The answer, what to delete, and the series' canonical bytes."""


async def delete(parts: Parts, request: Request) -> Response:
    caller = parts.caller(request, Permission.DELETE)
    arguments = read_arguments(request, KNOWN)
    selector = read_selector(arguments.needed("selector"))
    min_ns, max_ns = _range(arguments, now_ns=parts.clock.now_ns(), unit_ns=parts.unit_ns)
    book = parts.attributes_of(caller.tenant)
    check_labels([selector], book)
    asked = Asked(
        tenant=caller.tenant,
        text=f"{request.path} {selector.text}",
        forced=caller.forced_matchers,
    )
    answer, deletes, series = await parts.queries.run(
        asked, lambda query: _find(query, selector, book), on_cancel=request.on_disconnect
    )
    headers: tuple[tuple[str, str], ...] = CORS
    if "dryrun" not in arguments and series:
        receipts = await asyncio.to_thread(
            lambda: [_deleted(parts, caller, one, min_ns, max_ns) for one in deletes]
        )
        headers = (*CORS, (RECEIPT_HEADER, ",".join(receipts)))
        if (min_ns, max_ns) == (TIME_MIN_NS, TIME_MAX_NS):
            await _forget(parts, caller.tenant, series, book)
    return Response(200, answer, headers, TEXT)


def _range(arguments: Arguments, *, now_ns: int, unit_ns: int) -> tuple[int, int]:
    start, end = arguments.get("start"), arguments.get("end")
    if (start is None) != (end is None):
        raise Invalid("Both start and end should be defined.")
    if start is None or end is None:
        if "deleteall" not in arguments:
            raise Invalid("Parameter deleteall should be set when deleting a full range.")
        return TIME_MIN_NS, TIME_MAX_NS
    first = read_time("start", start, now_ns=now_ns, unit_ns=unit_ns)
    last = read_time("end", end, now_ns=now_ns, unit_ns=unit_ns)
    if first > last:
        raise Invalid("Invalid time range specification.")
    return bounded_ns(first, unit_ns), min(TIME_MAX_NS, bounded_ns(last, unit_ns) + unit_ns - 1)


def _find(query: Query, selector: GtsSelector, book: Mapping[bytes, Pairs]) -> Found:
    """Which series have samples at all, as Warp 10 lists them, whatever the range."""
    everything, deletes = GtsSeries(), []
    for selection, class_matcher in select(query, [selector], TIME_MIN_NS, TIME_MAX_NS):
        own = GtsSeries()
        own.add(selection, class_matcher)
        everything.add(selection, class_matcher)
        deletes += _selectors_of(own, selector)
    if len(everything) > SERIES_MAX:
        raise Invalid(
            f"cannot delete {len(everything)} series at once: more than {SERIES_MAX}; select fewer"
        )
    if len(deletes) > DELETES_MAX:
        raise Invalid(
            f"cannot delete {len(deletes)} classes at once: more than {DELETES_MAX}; select fewer"
        )
    annotate(query, everything, book)
    names = everything.names(0, len(everything), is_json=False, with_attributes=True)
    series = [everything.canonical(at) for at in range(len(everything))]
    return names.replace(b"\n", b"\r\n"), deletes, series


def _selectors_of(own: GtsSeries, selector: GtsSelector) -> list[Selector]:
    """Name and field of each class: series that appear meanwhile are not meant."""
    pairs = {parse_series(own.canonical(at))[:2] for at in range(len(own))}
    return [Selector((*exactly(*pair), *selector.labels)) for pair in sorted(pairs)]


def _deleted(parts: Parts, caller: Caller, selector: Selector, min_ns: int, max_ns: int) -> str:
    """Nobody deletes what they may not see."""
    reduced = Selector((*selector.matchers, *caller.forced_matchers))
    return str(parts.delete(caller.tenant, reduced, min_ns=min_ns, max_ns=max_ns).id)


async def _forget(
    parts: Parts, tenant: str, series: list[bytes], book: Mapping[bytes, Pairs]
) -> None:
    described = [(one, ()) for one in series if one in book]
    if described:
        await asyncio.wrap_future(parts.write_attributes(tenant, described))
