"""``/status/...``, ``/metadata`` and the calls about parts that a Prometheus has and Orrery does
not: what is true is told, and what is not there is an empty list."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

from orrery.errors import Invalid
from orrery.languages.promql.parse import parse_selector
from orrery.model.effects import Labels, Values
from orrery.model.selector import PROMQL_NAME, Selector
from orrery.protocols.prometheus.arguments import (
    EPOCH,
    TIME_MAX_NS,
    TIME_MIN_NS,
    Arguments,
    bad_argument,
    quote,
)
from orrery.protocols.prometheus.parts import MetadataRow, Parts
from orrery.protocols.prometheus.render import success
from orrery.query.queries import Query
from orrery.query.reader import BATCH_SERIES_MAX
from orrery.server.http import Request, Response

API_LEVEL = "3.5.0"
"""The Prometheus whose HTTP API this is; clients choose their calls by it."""

ACTIVE_NS = 3600 * 1_000_000_000
STATISTICS_LIMIT = 10

EMPTY: dict[str, object] = {
    "alerts": {"alerts": []},
    "alertmanagers": {"activeAlertmanagers": [], "droppedAlertmanagers": []},
    "notifications": [],
    "scrape_pools": {"scrapePools": []},
    "status/walreplay": {"min": 0, "max": 0, "current": 0},
    "targets": {"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}},
    "targets/metadata": [],
}
"""This server scrapes nothing, evaluates no rules and sends no alerts."""


def empty(name: str) -> Callable[[Parts, Request], Awaitable[Response]]:
    async def handler(parts: Parts, request: Request) -> Response:
        parts.caller(request)
        return success(EMPTY[name])

    return handler


async def rules(parts: Parts, request: Request) -> Response:
    """No rules are evaluated here: the answer is empty, the question is still checked."""
    parts.caller(request)
    arguments = Arguments(request)
    kind = arguments.text("type").lower()
    if kind not in ("", "alert", "record"):
        raise bad_argument("type", f"not supported value {quote(kind)}")
    for text in arguments.texts("match[]"):
        parse_selector(text)
    return success({"groups": []})


async def build_information(parts: Parts, request: Request) -> Response:
    """``version`` is the API's level with Orrery's own version as SemVer build metadata."""
    parts.caller(request)
    data = {
        "version": f"{API_LEVEL}+orrery.{parts.version}",
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }
    return success(data)


async def runtime_information(parts: Parts, request: Request) -> Response:
    parts.caller(request)
    data = {
        "startTime": rfc3339(parts.started_ns),
        "serverTime": rfc3339(parts.clock.now_ns()),
        "reloadConfigSuccess": True,
        "lastConfigTime": rfc3339(parts.started_ns),
        "corruptionCount": 0,
        "storageRetention": parts.retention,
    }
    return success(data)


async def configuration(parts: Parts, request: Request) -> Response:
    """A Prometheus' scrape configuration, which Orrery does not have."""
    parts.caller(request)
    return success({"yaml": ""})


async def flags(parts: Parts, request: Request) -> Response:
    parts.caller(request)
    return success(dict(parts.flags))


async def statistics(parts: Parts, request: Request) -> Response:
    """``/status/tsdb``: the caller's series of the last hour, the largest groups first."""
    text = Arguments(request).text("limit") or str(STATISTICS_LIMIT)
    limit = read_count(text)
    if limit is None or limit < 1:
        raise Invalid("limit must be a positive number")
    now_ns = parts.clock.now_ns()

    def work(query: Query) -> Response:
        selection = query.reader.select(Selector(()), now_ns - ACTIVE_NS, now_ns)
        counts = Statistics()
        for first in range(0, len(selection), BATCH_SERIES_MAX):
            query.budget.meter.check()
            count = min(BATCH_SERIES_MAX, len(selection) - first)
            counts.add(selection.promql_labels(first, count))
        window_ms = ((now_ns - ACTIVE_NS) // 1_000_000, now_ns // 1_000_000)
        return success(counts.data(limit, window_ms))

    return await parts.run(request, work, text="status tsdb")


class Statistics:
    """Counts series by name, label and pair while label sets pass by."""

    def __init__(self) -> None:
        self.series_count = 0
        self.by_pair: Counter[tuple[str, str]] = Counter()

    def add(self, series: Iterable[Labels]) -> None:
        for labels in series:
            self.series_count += 1
            self.by_pair.update(labels)

    def data(self, limit: int, window_ms: tuple[int, int]) -> dict[str, object]:
        names = Counter(
            {value: count for (key, value), count in self.by_pair.items() if key == PROMQL_NAME}
        )
        values = Counter(key for key, _ in self.by_pair)
        sizes: Counter[str] = Counter()
        for key, value in self.by_pair:
            sizes[key] += len(value.encode())
        pairs = Counter({f"{key}={value}": count for (key, value), count in self.by_pair.items()})
        return {
            "headStats": {
                "numSeries": self.series_count,
                "numLabelPairs": len(self.by_pair),
                "chunkCount": 0,
                "minTime": window_ms[0],
                "maxTime": window_ms[1],
            },
            "seriesCountByMetricName": largest(names, limit),
            "labelValueCountByLabelName": largest(values, limit),
            "memoryInBytesByLabelName": largest(sizes, limit),
            "seriesCountByLabelValuePair": largest(pairs, limit),
        }


def largest(counts: Counter[str], limit: int) -> list[dict[str, object]]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"name": name, "value": count} for name, count in ordered[:limit]]


async def metadata(parts: Parts, request: Request) -> Response:
    arguments = Arguments(request)
    limit = read_bound(arguments, "limit")
    metric_limit = read_bound(arguments, "limit_per_metric")
    metric = arguments.text("metric")

    def work(query: Query) -> Response:
        rows = list(parts.metadata_of(query.tenant, metric or None))
        if query.reader.forced:
            rows = visible(query, rows)
        return success(by_metric(rows, limit, metric_limit))

    return await parts.run(request, work, text="metadata")


def read_bound(arguments: Arguments, name: str) -> int | None:
    """None where there is none; a negative one is none either."""
    count = read_count(arguments.text(name) or "-1")
    if count is None:
        raise Invalid(f"{name} must be a number")
    return None if count < 0 else count


def read_count(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII) else None


def visible(query: Query, rows: list[MetadataRow]) -> list[MetadataRow]:
    """Names alone can tell: a caller with forced matchers sees those of their own series.

    A histogram's metadata stands under its base name, its series under ``_bucket`` and others.
    """
    names = set(query.reader.values(Values(PROMQL_NAME, (), TIME_MIN_NS, TIME_MAX_NS)))
    endings = ("", "_bucket", "_count", "_sum", "_total", "_info", "_created")
    return [row for row in rows if any(row[0] + ending in names for ending in endings)]


def by_metric(
    rows: Iterable[MetadataRow], limit: int | None, metric_limit: int | None
) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for name, kind, help_text, unit in rows:
        if limit is not None and name not in found and len(found) >= limit:
            continue
        entries = found.setdefault(name, [])
        entry = {"type": kind or "unknown", "help": help_text, "unit": unit}
        if entry not in entries and not (metric_limit and len(entries) >= metric_limit):
            entries.append(entry)
    return found


def rfc3339(time_ns: int) -> str:
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    moment = EPOCH + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest_ns:09d}Z"
