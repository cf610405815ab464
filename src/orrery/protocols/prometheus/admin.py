"""``POST /api/v1/admin/tsdb/delete_series``: the one call of Prometheus' admin API served here."""

import asyncio

from orrery.errors import Invalid
from orrery.model.selector import Selector
from orrery.protocols.prometheus.arguments import (
    TIME_MAX_NS,
    TIME_MIN_NS,
    Arguments,
    bad_argument,
)
from orrery.protocols.prometheus.labels import read_selector
from orrery.protocols.prometheus.parts import Parts
from orrery.server.http import Request, Response
from orrery.tenancy.tokens import Permission


async def delete_series(parts: Parts, request: Request) -> Response:
    """Forced matchers of the caller hold here too: nobody deletes what they may not see."""
    caller = parts.caller(request, Permission.DELETE)
    arguments = Arguments(request)
    texts = arguments.texts("match[]")
    if not texts:
        raise Invalid("no match[] parameter provided")
    start_ns = arguments.time_or("start", TIME_MIN_NS)
    end_ns = arguments.time_or("end", TIME_MAX_NS)
    if end_ns < start_ns:
        raise bad_argument("end", "end timestamp must not be before start time")
    for selector in [read_selector(text) for text in texts]:
        reduced = Selector((*selector.matchers, *caller.forced_matchers))
        deleted = parts.delete(caller.tenant, reduced, min_ns=start_ns, max_ns=end_ns)
        await asyncio.wrap_future(deleted)
    return Response(204)
