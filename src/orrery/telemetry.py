"""What Orrery says of itself: every metric and every event has its name here and nowhere else.

``app`` makes one :class:`Telemetry` and one :class:`Events` and hands them to the parts;
``protocols/admin`` serves :meth:`Telemetry.exposition` at ``/metrics``.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import IO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector

EXPOSITION_TYPE = CONTENT_TYPE_PLAIN_0_0_4

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Bucket bounds of every histogram of durations."""


class Telemetry:
    """The metrics of one server, in a registry of its own.

    No metric carries a tenant: what belongs to a tenant is a series inside that tenant.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._updates: list[Callable[[], None]] = []
        ProcessCollector(registry=self.registry)
        self._define_http()
        self._define_wires()
        self._define_writes()
        self._define_store()
        self._define_queries()

    def _define_http(self) -> None:
        self.requests = self._counter(
            "orrery_requests", "Requests answered.", "route", "method", "status"
        )
        self.request_seconds = self._histogram(
            "orrery_request_seconds", "From the headers to the end of the answer.", "route"
        )
        self.requests_active = self._gauge("orrery_requests_active", "Requests being served.")
        self.connections = self._gauge("orrery_connections", "Open connections.")
        self.connections_refused = self._counter(
            "orrery_connections_refused", "Connections closed by a limit.", "reason"
        )
        self.body_bytes = self._counter(
            "orrery_request_body_bytes", "Request bodies received, as sent."
        )
        self.bodies_bytes_active = self._gauge(
            "orrery_request_bodies_active_bytes", "Request bodies in memory."
        )
        self.response_bytes = self._counter("orrery_response_bytes", "Answers sent.")
        self.request_failures = self._counter(
            "orrery_request_failures", "Requests that ended in an error nobody foresaw."
        )
        self._default_limit = self._gauge(
            "orrery_default_limit", "What a tenant may use where nothing is set for it.", "limit"
        )
        self.denied = self._counter("orrery_denied", "Requests without a right.", "reason")

    def _define_wires(self) -> None:
        self.stream_connections = self._gauge(
            "orrery_stream_connections", "Open connections of wires that speak plain TCP.", "wire"
        )
        self.streams_refused = self._counter(
            "orrery_streams_refused",
            "Connections of those wires closed by a limit.",
            "wire",
            "reason",
        )
        self.stream_bytes = self._counter(
            "orrery_stream_bytes", "Bytes received over those connections.", "wire"
        )
        self.stream_answers_dropped = self._counter(
            "orrery_stream_answers_dropped", "Answers that peers did not read.", "wire"
        )
        self.datagrams = self._counter("orrery_datagrams", "Datagrams received.", "wire")
        self.datagram_bytes = self._counter("orrery_datagram_bytes", "Their bytes.", "wire")
        self.datagrams_dropped = self._counter(
            "orrery_datagrams_dropped",
            "Datagrams lost before they were looked at.",
            "wire",
            "reason",
        )
        self.lines_refused = self._counter(
            "orrery_lines_refused", "Lines not stored, of wires without answers.", "wire", "reason"
        )

    def _define_writes(self) -> None:
        self.samples_accepted = self._counter("orrery_samples_accepted", "Samples acknowledged.")
        self.samples_refused = self._counter(
            "orrery_samples_refused", "Samples not taken.", "reason"
        )
        self.series_registered = self._counter(
            "orrery_series_registered", "Series seen for the first time."
        )
        self.log_unflushed_bytes = self._gauge(
            "orrery_log_unflushed_bytes", "What a restart now would replay, about."
        )

    def _define_store(self) -> None:
        self.head_bytes = self._gauge("orrery_head_bytes", "Memory of recent samples.")
        self.head_samples = self._gauge("orrery_head_samples", "Samples in memory.")
        self.series = self._gauge("orrery_series", "Series in memory, all tenants together.")
        self.series_bytes = self._gauge("orrery_series_bytes", "Memory of names and index.")
        self.flush_seconds = self._histogram("orrery_flush_seconds", "Flushes of the head.")
        self.compaction_seconds = self._histogram("orrery_compaction_seconds", "Compactions.")
        self.blocks = self._gauge("orrery_blocks", "Live blocks.")
        self.block_bytes = self._gauge("orrery_block_bytes", "Size of the live blocks.")
        self.block_samples = self._gauge("orrery_block_samples", "Samples in the live blocks.")
        self.blocks_quarantined = self._gauge(
            "orrery_blocks_quarantined", "Damaged blocks that await an operator."
        )
        self.deletes_pending = self._gauge(
            "orrery_deletes_pending", "Deletes that hold on reads and await compaction."
        )
        self.store_failures = self._counter(
            "orrery_store_failures", "Background work that failed and is tried again.", "work"
        )

        self.scrubbed_bytes = self._counter(
            "orrery_scrubbed_bytes", "Bytes of blocks read and found well by the scrub."
        )
        self.damage_found = self._counter(
            "orrery_damage_found", "Blocks that the scrub found damaged, once a round each."
        )
        self.clock_offset_seconds = self._gauge(
            "orrery_clock_offset_seconds", "How far the wall clock jumped and is not believed yet."
        )

    def _define_queries(self) -> None:
        self.queries_slow = self._counter(
            "orrery_queries_slow", "Queries slower than query_slow_seconds."
        )
        queries = self._counter("orrery_queries", "Queries ended.", "outcome")
        # Outcomes are few; finding a counter by its label costs more than counting does.
        self.queries = cache(queries.labels)
        self.query_samples_read = self._counter("orrery_query_samples_read", "Samples decoded.")
        looked_up = self._counter(
            "orrery_result_cache",
            "Range queries by what was held of them: hit, part, miss.",
            "outcome",
        )
        self._looked_up = cache(looked_up.labels)
        self._result_cache_bytes_held = 0
        result_cache_bytes = self._gauge(
            "orrery_result_cache_bytes", "What the result cache holds."
        )
        result_cache_bytes.set_function(lambda: self._result_cache_bytes_held)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, *labels: str) -> Histogram:
        return Histogram(name, help_text, labels, registry=self.registry, buckets=SECONDS)

    def looked_up(self, outcome: str, bytes_held: int) -> None:
        """A range query was looked up in the result cache."""
        self._looked_up(outcome).inc()
        self._result_cache_bytes_held = bytes_held

    def tell_default_limits(self, limits: Mapping[str, object]) -> None:
        """What holds for every tenant for whom nothing else is set."""
        for limit, value in limits.items():
            if isinstance(value, int | float):
                self._default_limit.labels(limit).set(value)

    def before_exposition(self, update: Callable[[], None]) -> None:
        """``update`` sets gauges whose values live elsewhere; called whenever they are wanted."""
        self._updates.append(update)

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format 0.0.4."""
        for update in self._updates:
            update()
        return generate_latest(_WithoutCreated(self.registry))


class _WithoutCreated:
    """A registry without the ``_created`` series that the client library adds to each counter:
    they double the exposition. Its own switch for them is global to the process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [
                sample for sample in metric.samples if not sample.name.endswith("_created")
            ]
            yield metric


class Event(StrEnum):
    """What a log line may tell of."""

    LISTENING = "listening"
    CERTIFICATE_LOADED = "certificate_loaded"
    CERTIFICATE_FAILED = "certificate_failed"
    REQUEST = "request"
    REQUEST_SLOW = "request_slow"
    REQUEST_FAILED = "request_failed"
    DISCONNECT_CALLBACK_FAILED = "disconnect_callback_failed"
    STREAM_REFUSED = "stream_refused"
    STREAM_FAILED = "stream_failed"
    DATAGRAMS_FAILED = "datagrams_failed"
    LINES_REFUSED = "lines_refused"
    QUERY_SLOW = "query_slow"
    LOG_CUT = "log_cut"
    REPLAY_DONE = "replay_done"
    FLUSH_DONE = "flush_done"
    FLUSH_FAILED = "flush_failed"
    COMPACTION_DONE = "compaction_done"
    COMPACTION_FAILED = "compaction_failed"
    ROLLUP_DONE = "rollup_done"
    ROLLUP_FAILED = "rollup_failed"
    BLOCKS_EXPIRED = "blocks_expired"
    BLOCK_QUARANTINED = "block_quarantined"
    BLOCK_RELEASED = "block_released"
    BLOCK_DROPPED = "block_dropped"
    QUARANTINE_UNREADABLE = "quarantine_unreadable"
    FILES_REMOVED = "files_removed"
    SERIES_SWEPT = "series_swept"
    BLOCK_SCRUBBED = "block_scrubbed"
    SCRUB_FAILED = "scrub_failed"
    DAMAGE_FOUND = "damage_found"
    CLOCK_JUMPED = "clock_jumped"
    CLOCK_BELIEVED = "clock_believed"
    LOG_TRIM_FAILED = "log_trim_failed"
    RECEIPT_UNKEPT = "receipt_unkept"
    ADMIN_ACTION = "admin_action"
    AUDIT_FAILED = "audit_failed"
    HOST_METRICS_FAILED = "host_metrics_failed"
    USAGE_FAILED = "usage_failed"


class Events:
    """Writes log lines ``event=<name> key=value ...`` through the standard library's logging.

    ``None`` values are left out. Secrets never come here: whoever logs a URL scrubs it first.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: Event, **pairs: object) -> None:
        self._log(logging.DEBUG, event, pairs)

    def info(self, event: Event, **pairs: object) -> None:
        self._log(logging.INFO, event, pairs)

    def warning(self, event: Event, **pairs: object) -> None:
        self._log(logging.WARNING, event, pairs)

    def error(self, event: Event, *, failure: BaseException | None = None, **pairs: object) -> None:
        """``failure`` adds its traceback below the line."""
        self._log(logging.ERROR, event, pairs, failure)

    def _log(
        self,
        level: int,
        event: Event,
        pairs: dict[str, object],
        failure: BaseException | None = None,
    ) -> None:
        if self._logger.isEnabledFor(level):
            line = logfmt({"event": event.value, **pairs})
            self._logger.log(level, "%s", line, exc_info=failure)


_PLAIN = re.compile(r"[^\s\"=\\\x00-\x1f\x7f]+")


def logfmt(pairs: dict[str, object]) -> str:
    """``key=value`` pairs on one line; a value with spaces, quotes or controls is quoted."""
    return " ".join(f"{key}={_value(value)}" for key, value in pairs.items() if value is not None)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(_printable(character) for character in escaped) + '"'


def _printable(character: str) -> str:
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    if character in named:
        return named[character]
    return character if character.isprintable() else f"\\u{ord(character):04x}"


class LogfmtFormatter(logging.Formatter):
    """Adds time and level in front; lines of other libraries become ``event=log message=...``."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if not message.startswith("event="):
            message = logfmt({"event": "log", "logger": record.name, "message": message})
        head = f"time={self._time(record)} level={record.levelname.lower()} {message}"
        if record.exc_info:
            head += "\n" + self.formatException(record.exc_info)
        return head

    def _time(self, record: logging.LogRecord) -> str:
        made = datetime.fromtimestamp(record.created, tz=UTC)
        return made.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def handler(stream: IO[str]) -> logging.Handler:
    """A handler that writes logfmt lines to ``stream``; ``app`` attaches it."""
    made = logging.StreamHandler(stream)
    made.setFormatter(LogfmtFormatter())
    return made


def log_to(stream: IO[str], level: str) -> None:
    """Our lines; of asyncio only what went wrong."""
    lines = handler(stream)
    for name, least in (("orrery", level.upper()), ("asyncio", "WARNING")):
        logger = logging.getLogger(name)
        logger.addHandler(lines)
        logger.setLevel(least)
        logger.propagate = False


class StoreTelemetry:
    """The store's events as log lines and metrics; ``observe`` is what the store is handed."""

    def __init__(self, *, telemetry: Telemetry, events: Events) -> None:
        self._telemetry = telemetry
        self._events = events

    def observe(self, event: str, fields: Mapping[str, object]) -> None:
        known = Event(event)
        seconds = fields.get("seconds")
        if known is Event.FLUSH_DONE and isinstance(seconds, float):
            self._telemetry.flush_seconds.observe(seconds)
        elif known is Event.COMPACTION_DONE and isinstance(seconds, float):
            self._telemetry.compaction_seconds.observe(seconds)
        elif known is Event.BLOCK_SCRUBBED and isinstance(size := fields["bytes"], int):
            self._telemetry.scrubbed_bytes.inc(size)
            self._events.debug(known, **fields)
            return
        elif known is Event.DAMAGE_FOUND:
            self._telemetry.damage_found.inc()
            self._events.error(known, failure=None, **fields)
            return
        if "error" in fields:
            self._telemetry.store_failures.labels(event.removesuffix("_failed")).inc()
            self._events.error(known, failure=None, **fields)
        else:
            self._events.info(known, **fields)

    def clock_changed(self, offset_seconds: float) -> None:
        if offset_seconds:
            self._events.warning(Event.CLOCK_JUMPED, seconds=offset_seconds)
        else:
            self._events.info(Event.CLOCK_BELIEVED)

    def follow_clock(self, offset_seconds: Callable[[], float]) -> None:
        gauge = self._telemetry.clock_offset_seconds
        self._telemetry.before_exposition(lambda: gauge.set(offset_seconds()))

    def slow_query(self, event: Event, fields: Mapping[str, object]) -> None:
        self._telemetry.queries_slow.inc()
        self._events.warning(event, **fields)

    def follow(self, statistics: Callable[[], Mapping[str, float]]) -> None:
        """Gauges that are read from the store when they are asked for."""
        followed = {
            "head_bytes": self._telemetry.head_bytes,
            "head_samples": self._telemetry.head_samples,
            "series_count": self._telemetry.series,
            "series_bytes": self._telemetry.series_bytes,
            "block_count": self._telemetry.blocks,
            "block_bytes": self._telemetry.block_bytes,
            "block_samples": self._telemetry.block_samples,
            "quarantined_count": self._telemetry.blocks_quarantined,
            "delete_count": self._telemetry.deletes_pending,
            "unflushed_log_bytes": self._telemetry.log_unflushed_bytes,
        }

        def update() -> None:
            # Once for all gauges: the store looks over its blocks for it.
            values = statistics()
            for name, gauge in followed.items():
                gauge.set(values[name])

        self._telemetry.before_exposition(update)
