"""``/query``, ``/query_range``, ``/format_query`` and ``/query_exemplars``."""

import dataclasses
from functools import partial

from msgspec.structs import replace

from orrery.errors import Invalid
from orrery.languages.promql.evaluate import LOOKBACK_NS
from orrery.languages.promql.nodes import Expr, Kind
from orrery.languages.promql.parse import parse
from orrery.languages.promql.prepare import Preparations, Prepared
from orrery.languages.promql.print import pretty
from orrery.languages.promql.result import Result
from orrery.protocols.prometheus.arguments import (
    SECOND_NS,
    TIME_MAX_NS,
    TIME_MIN_NS,
    Arguments,
    bad_argument,
    parse_duration,
    parse_limit,
    parse_time,
)
from orrery.protocols.prometheus.cached import answered, is_here, look_up
from orrery.protocols.prometheus.data import result_data
from orrery.protocols.prometheus.parts import Parts
from orrery.protocols.prometheus.question import Question
from orrery.protocols.prometheus.render import TRUNCATED, Failed, answer, dump, success
from orrery.protocols.prometheus.tree import tree
from orrery.query.cache import Look
from orrery.query.queries import Query
from orrery.server.http import Request, Response

MILLISECOND_NS = 1_000_000
POINTS_MAX = 11_000
NO = frozenset({"", "0", "f", "false", "no"})
PREPARED_HERE_CHARACTERS_MAX = 4096
"""Longer queries are parsed on the thread that answers them: others wait here."""
STEP_MESSAGE = (
    "zero or negative query resolution step widths are not accepted. Try a positive integer"
)
POINTS_MESSAGE = (
    "exceeded maximum resolution of 11,000 points per timeseries. "
    "Try decreasing the query resolution (?step=XX)"
)


async def instant(parts: Parts, request: Request) -> Response:
    arguments = Arguments(request)
    limit = arguments.read_or("limit", parse_limit, 0)
    time_ns = arguments.time_or("time", parts.clock.now_ns())
    return await ask(parts, request, question(arguments, time_ns, time_ns, 0, limit))


async def ranged(parts: Parts, request: Request) -> Response:
    arguments = Arguments(request)
    limit = arguments.read_or("limit", parse_limit, 0)
    start_ns = arguments.read("start", parse_time)
    end_ns = arguments.read("end", parse_time)
    if end_ns < start_ns:
        raise bad_argument("end", "end timestamp must not be before start time")
    step_ns = arguments.read("step", parse_duration) // MILLISECOND_NS * MILLISECOND_NS
    if step_ns <= 0:
        raise bad_argument("step", STEP_MESSAGE)
    if (end_ns - start_ns) // step_ns > POINTS_MAX:
        raise Invalid(POINTS_MESSAGE)
    return await ask(parts, request, question(arguments, start_ns, end_ns, step_ns, limit))


def question(
    arguments: Arguments, start_ns: int, end_ns: int, step_ns: int, limit: int
) -> Question:
    timeout_seconds = None
    if arguments.text("timeout"):
        timeout_seconds = arguments.read("timeout", parse_duration) / SECOND_NS
    return Question(
        text=arguments.text("query"),
        start_ns=start_ns,
        end_ns=end_ns,
        step_ns=step_ns,
        limit=limit,
        lookback_ns=read_lookback(arguments.text("lookback_delta")),
        timeout_seconds=timeout_seconds,
        wants_statistics=arguments.text("stats") != "",
        is_uncached=arguments.text("nocache").lower() not in NO,
        raw_only=arguments.read_or("resolution", parse_resolution, False),
    )


def parse_resolution(text: str) -> bool:
    """Whether samples alone may answer, which Prometheus has no word for."""
    if text not in ("auto", "raw"):
        raise Invalid(f"{text!r} is neither auto nor raw")
    return text == "raw"


def read_lookback(text: str) -> int:
    """Not positive is the default, as in Prometheus."""
    if not text:
        return LOOKBACK_NS
    try:
        lookback_ns = parse_duration(text)
    except Invalid as error:
        raise Invalid(f"error parsing lookback delta duration: {error}") from error
    return lookback_ns if lookback_ns > 0 else LOOKBACK_NS


async def ask(parts: Parts, request: Request, asked: Question) -> Response:
    preparations = parts.preparations
    ready = preparations.known(asked.text, asked.lookback_ns)
    if ready is None and len(asked.text) <= PREPARED_HERE_CHARACTERS_MAX:
        ready = prepare(preparations, asked)
    look = None if ready is None else looked_up(parts, request, ready, asked)
    if look is not None and is_here(look):
        return at_hand(parts, look, asked)

    def work(query: Query) -> Response:
        found = prepare(preparations, asked) if ready is None else ready
        if asked.step_ns:
            check_steppable(found.kind)
        started_seconds = parts.clock.monotonic_seconds()
        if look is None:
            result = evaluated(query, found, asked)
        else:
            result = answered(parts.cache, look, asked, partial(evaluated, query, found))
        seconds = parts.clock.monotonic_seconds() - started_seconds
        return rendered(result, asked, statistics_of(query, seconds, asked))

    return await parts.run(
        request,
        work,
        text=asked.text,
        timeout_seconds=asked.timeout_seconds,
        is_brief=ready is not None and ready.is_brief,
        raw_only=asked.raw_only,
    )


def looked_up(parts: Parts, request: Request, ready: Prepared, asked: Question) -> Look | None:
    caller = parts.caller(request)
    return look_up(parts.cache, caller, parts.queries.admission.query(caller.tenant), ready, asked)


def at_hand(parts: Parts, look: Look, asked: Question) -> Response:
    """The answer is held whole: nothing is read, and nobody waited for."""
    result = answered(parts.cache, look, asked, evaluate=unreachable)
    parts.queries.admission.queried(look.asked.key.tenant, "answered", 0)
    return rendered(result, asked, None)


def unreachable(_asked: Question) -> Result:
    raise AssertionError("all of the answer is held")


def rendered(result: Result, asked: Question, statistics: bytes | None) -> Response:
    result, warnings = limited(result, asked.limit)
    return answer(result_data(result, statistics), warnings=warnings, infos=result.infos)


def prepare(preparations: Preparations, asked: Question) -> Prepared:
    try:
        return preparations.of(asked.text, asked.lookback_ns)
    except Invalid as error:
        raise bad_argument("query", error) from error


def read_query(text: str) -> Expr:
    try:
        return parse(text)
    except Invalid as error:
        raise bad_argument("query", error) from error


def check_steppable(kind: Kind) -> None:
    if kind not in (Kind.SCALAR, Kind.VECTOR):
        raise bad_argument(
            "query",
            f'invalid expression type "{kind}" for range query, must be Scalar or instant Vector',
        )


def evaluated(query: Query, prepared: Prepared, asked: Question) -> Result:
    program = prepared.answer(
        start_ns=asked.start_ns,
        end_ns=asked.end_ns,
        step_ns=asked.step_ns,
        cells_max=query.budget.cells_max,
    )
    try:
        return query.drive(program)
    except Invalid as error:
        raise Failed(str(error)) from error


def limited(result: Result, limit: int) -> tuple[Result, tuple[str, ...]]:
    """The first ``limit`` series, with the warning that tells of it."""
    samples = result.samples
    labels = result.labels if samples is None else samples.labels
    if not limit or len(labels) <= limit:
        return result, result.warnings
    warnings = (*result.warnings, TRUNCATED)
    if samples is None:
        histograms = None if result.histograms is None else result.histograms[:limit]
        cut = replace(
            result,
            labels=labels[:limit],
            values=result.values[:limit],
            present=result.present[:limit],
            histograms=histograms,
        )
        return cut, warnings
    end = int(samples.offsets[limit])
    kept = dataclasses.replace(
        samples,
        labels=labels[:limit],
        offsets=samples.offsets[: limit + 1],
        times_ns=samples.times_ns[:end],
        values=samples.values[:end],
        mixed={row: mixed for row, mixed in samples.mixed.items() if row < limit},
    )
    return replace(result, samples=kept), warnings


def statistics_of(query: Query, seconds: float, asked: Question) -> bytes | None:
    """``totalQueryableSamples`` counts what was decoded; ``peakSamples`` is at most that."""
    if not asked.wants_statistics:
        return None
    timings = {
        "evalTotalTime": seconds,
        "resultSortTime": 0,
        "queryPreparationTime": 0,
        "innerEvalTime": seconds,
        "execQueueTime": query.queued_seconds,
        "execTotalTime": query.queued_seconds + seconds,
    }
    count = query.budget.meter.samples_read
    samples = {"totalQueryableSamples": count, "peakSamples": count}
    return dump({"timings": timings, "samples": samples})


async def exemplars(parts: Parts, request: Request) -> Response:
    """No exemplars are kept: the answer is empty, the question is still checked."""
    parts.caller(request)
    arguments = Arguments(request)
    start_ns = arguments.time_or("start", TIME_MIN_NS)
    end_ns = arguments.time_or("end", TIME_MAX_NS)
    if end_ns < start_ns:
        raise Invalid("end timestamp must not be before start timestamp")
    parse(arguments.text("query"))
    return success([])


async def formatted(parts: Parts, request: Request) -> Response:
    parts.caller(request)
    return success(pretty(read_query(Arguments(request).text("query"))))


async def parsed(parts: Parts, request: Request) -> Response:
    parts.caller(request)
    return success(tree(read_query(Arguments(request).text("query"))))
