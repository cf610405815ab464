"""``/api/v0/find`` and ``/api/v0/fetch``: series, and their samples as text, newest first.

Answers are streamed, a chunk of about a mebibyte at a time. Called through the routes of ``wire``.
"""

import contextlib
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from orrery.errors import Invalid, OrreryError
from orrery.kernels.gts_output import GtsExport
from orrery.kernels.meter import Meter
from orrery.protocols.warp10.arguments import Arguments, read_arguments
from orrery.protocols.warp10.errors import CORS, TEXT
from orrery.protocols.warp10.parts import Parts
from orrery.protocols.warp10.selectors import read_selectors
from orrery.protocols.warp10.series import annotate, listed
from orrery.protocols.warp10.times import (
    TIME_MAX_NS,
    TIME_MIN_NS,
    bounded_ns,
    read_duration,
    read_long,
    read_time,
)
from orrery.query.queries import Asked, Query
from orrery.query.streaming import Chunks, stream
from orrery.server.http import Request, Response
from orrery.tenancy.tokens import Permission

FORMATS = ("text", "fulltext", "json", "tsv", "fulltsv")
JSON = "application/json"
NAMES_AT_ONCE = 4096
ERROR_PREFIX = b"\n# ERROR: "
COUNT_MAX = 2**63 - 1

SERIES_KNOWN = frozenset({"selector", "token", "format", "showattr", "sortmeta", "showerrors"})
SERIES_KNOWN |= {"gskip", "gcount"}
FIND_KNOWN = SERIES_KNOWN | {"limit"}
FETCH_KNOWN = SERIES_KNOWN | {"now", "end", "stop", "start", "timespan", "count", "skip", "dedup"}


@dataclass(frozen=True, slots=True)
class Span:
    """What part of each series is asked for; bounds are inclusive."""

    min_ns: int
    max_ns: int
    count: int


async def find(parts: Parts, request: Request) -> Response:
    arguments = read_arguments(request, FIND_KNOWN)
    selectors = read_selectors(arguments.needed("selector"))
    text_format = arguments.get("format") or "text"
    if text_format not in ("text", "json"):
        raise Invalid(f"Format {text_format!r} is not supported: find answers text or json.")
    is_json = text_format == "json"
    skip = arguments.count("gskip", 0)
    count = arguments.count("gcount", arguments.count("limit", COUNT_MAX))
    with_attributes = "showattr" in arguments
    tenant = parts.caller(request, Permission.READ).tenant
    book = parts.attributes_of(tenant)

    def chunks(query: Query) -> Iterator[bytes]:
        series = listed(query, selectors, TIME_MIN_NS, TIME_MAX_NS, book=book)
        series.keep(skip, count)
        annotate(query, series, book)
        yield b"[\n" if is_json else b""
        for first in range(0, len(series), NAMES_AT_ONCE):
            yield series.names(
                first, NAMES_AT_ONCE, is_json=is_json, with_attributes=with_attributes
            )
        if is_json:
            yield b"\n]\n"

    return await _streamed(parts, request, arguments, chunks, JSON if is_json else TEXT)


async def fetch(parts: Parts, request: Request) -> Response:
    arguments = read_arguments(request, FETCH_KNOWN)
    selectors = read_selectors(arguments.needed("selector"))
    text_format = arguments.get("format") or "text"
    if text_format not in FORMATS:
        raise Invalid(f"Format {text_format!r} is not supported: use one of {', '.join(FORMATS)}.")
    span = read_span(arguments, now_ns=parts.clock.now_ns(), unit_ns=parts.unit_ns)
    skip = arguments.count("skip", 0)
    series_skip = arguments.count("gskip", 0)
    series_count = arguments.count("gcount", COUNT_MAX)
    tenant = parts.caller(request, Permission.READ).tenant
    book = parts.attributes_of(tenant)

    def chunks(query: Query) -> Iterator[bytes]:
        series = listed(query, selectors, span.min_ns, span.max_ns, book=book)
        series.keep(series_skip, series_count)
        annotate(query, series, book)
        export = series.export(
            format=text_format,
            unit_ns=parts.unit_ns,
            min_ns=span.min_ns,
            max_ns=span.max_ns,
            skip=skip,
            count=span.count,
            dedup=arguments.is_true("dedup"),
            show_attributes=arguments.is_true("showattr"),
        )
        return _written(export, query)

    return await _streamed(
        parts, request, arguments, chunks, JSON if text_format == "json" else TEXT
    )


def _written(export: GtsExport, query: Query) -> Iterator[bytes]:
    meter = query.budget.meter
    assert isinstance(meter, Meter)
    while (chunk := export.next_chunk(meter)) is not None:
        yield chunk


async def _streamed(
    parts: Parts, request: Request, arguments: Arguments, chunks: Chunks, content_type: str
) -> Response:
    """``showerrors`` has what goes wrong behind the first chunk told in a last line; the answer is
    cut short in any case."""
    caller = parts.caller(request, Permission.READ)
    asked = Asked(
        tenant=caller.tenant,
        text=f"{request.path} {arguments.get('selector')}",
        forced=caller.forced_matchers,
    )
    body = await stream(parts.queries, asked, chunks, on_cancel=request.on_disconnect)
    if "showerrors" in arguments:
        body = _telling(body)
    return Response(200, body, CORS, content_type)


async def _telling(body: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    try:
        async with contextlib.aclosing(body):
            async for chunk in body:
                yield chunk
    except OrreryError as error:
        yield ERROR_PREFIX + quote(str(error)).encode() + b"\n"
        raise


def read_span(arguments: Arguments, *, now_ns: int, unit_ns: int) -> Span:
    """``end`` (or ``stop``, or ``now``) with one of ``start``, ``timespan`` and ``count``."""
    ends = [name for name in ("end", "stop", "now") if name in arguments]
    if len(ends) > 1:
        raise Invalid(f"Cannot specify both '{ends[0]}' and '{ends[1]}'.")
    count_text, timespan = arguments.get("count"), arguments.get("timespan")
    if timespan is not None and timespan.lstrip().startswith("-"):
        # A negative span of time is a count, as it was before there was one.
        if count_text is not None:
            raise Invalid("Cannot specify both 'count' and negative 'timespan'.")
        count_text, timespan = str(-read_long("timespan", timespan)), None
    if not ends or (count_text, timespan, arguments.get("start")) == (None, None, None):
        raise Invalid("Missing now/timespan or start/stop parameters.")
    end = read_time(ends[0], arguments.needed(ends[0]), now_ns=now_ns, unit_ns=unit_ns)
    start = None
    if (start_text := arguments.get("start")) is not None:
        if timespan is not None:
            raise Invalid("Cannot specify both 'start' and 'timespan'.")
        start = read_time("start", start_text, now_ns=now_ns, unit_ns=unit_ns)
        start, end = min(start, end), max(start, end)
    elif timespan is not None:
        start = end - read_duration("timespan", timespan, unit_ns=unit_ns) + 1
    return Span(
        min_ns=TIME_MIN_NS if start is None else bounded_ns(start, unit_ns),
        max_ns=min(TIME_MAX_NS, bounded_ns(end, unit_ns) + unit_ns - 1),
        count=COUNT_MAX if count_text is None else _count(count_text),
    )


def _count(text: str) -> int:
    count = read_long("count", text)
    if count < 0:
        raise Invalid(f"Invalid value {text!r} of parameter 'count': it is negative")
    return count
