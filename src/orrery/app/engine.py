"""One data directory with its ways in and out, put together; no server.

``api.open``, ``offline`` and ``serving`` call :func:`open_engine`.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from msgspec.structs import asdict

from orrery.clock import Clock, GuardedClock, SystemClock
from orrery.ingest.accept import Accept
from orrery.ingest.receipts import Receipts
from orrery.kernels.meter import Meter
from orrery.log.local import LocalLog, LogLimits
from orrery.objects.local import LocalObjects
from orrery.query.contract import Snapshots
from orrery.query.queries import Queries
from orrery.query.schedule import Schedule
from orrery.settings import Settings
from orrery.store.bounds import StoreBounds
from orrery.store.engine import Store
from orrery.store.layout import DataDirectory
from orrery.store.manifest import ManifestStore
from orrery.store.native import NativeKernels
from orrery.store.retention import Retention
from orrery.store.upkeep import Upkeep
from orrery.telemetry import Event, Events, StoreTelemetry, Telemetry
from orrery.tenancy.admission import Admission
from orrery.tenancy.day_counts import DayCounts
from orrery.tenancy.documents import Documents
from orrery.tenancy.limits import TenantLimits
from orrery.tenancy.retention import TenantRetention

NS = 1_000_000_000
HEAD_HARD_FACTOR = 3
"""Writes are refused once the head is this many times the size at which it is flushed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One data directory with its ways in and out, without a server."""

    directory: DataDirectory
    log: LocalLog
    store: Store
    upkeep: Upkeep
    documents: Documents
    limits: TenantLimits
    admission: Admission
    day_counts: DayCounts
    accept: Accept
    receipts: Receipts
    schedule: Schedule
    queries: Queries
    watch: StoreTelemetry
    clock: Clock

    def close(self) -> None:
        """What was accepted is answered, then flushed, so that the next start is quick."""
        self.schedule.close()
        self.accept.close()
        self.upkeep.stop()
        try:
            self.day_counts.save()
            self.store.flush()
        finally:
            self.store.close()
            self.log.close()
            self.directory.close()


def open_engine(
    path: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
    clock: Clock | None = None,
    telemetry: Telemetry | None = None,
    events: Events | None = None,
) -> Engine:
    """Takes the directory, replays the log, starts upkeep."""
    settings = settings or Settings()
    clock = clock or SystemClock()
    telemetry = telemetry or Telemetry()
    events = events or Events(logging.getLogger("orrery"))
    directory = DataDirectory(Path(path)).open()
    log: LocalLog | None = None
    try:
        log_limits = LogLimits(
            segment_bytes_max=settings.log_segment_bytes_max,
            queue_bytes_max=settings.log_queue_bytes_max,
        )
        log = LocalLog(directory.log_path, limits=log_limits)
        for cut in log.cuts:
            events.warning(
                Event.LOG_CUT, path=cut.path, position=cut.position, bytes=cut.byte_count
            )
        watch = StoreTelemetry(telemetry=telemetry, events=events)
        return _engine(directory, log, settings, clock, telemetry, watch)
    except BaseException:
        if log is not None:
            log.close()
        directory.close()
        raise


def _engine(
    directory: DataDirectory,
    log: LocalLog,
    settings: Settings,
    clock: Clock,
    telemetry: Telemetry,
    watch: StoreTelemetry,
) -> Engine:
    objects = LocalObjects(directory.objects_path)
    documents = Documents(
        objects=objects, clock=clock, recheck_seconds=settings.control_recheck_seconds
    )
    limits = TenantLimits(documents=documents, defaults=settings.limits)
    guarded = GuardedClock(
        clock,
        known_ns=ManifestStore(objects, partition=0).latest()[1].made_at_ns,
        hold_seconds=settings.clock_jump_hold_seconds,
        on_change=watch.clock_changed,
    )
    watch.follow_clock(guarded.offset_seconds)
    retention = TenantRetention(documents=documents, limits=limits)
    admission = Admission(limits=limits, clock=clock, telemetry=telemetry, guarded=guarded)
    admission.raw_days = retention.raw_days_min
    day_counts = DayCounts(objects=objects, admission=admission)
    day_counts.restore()
    store = Store(
        blocks_path=directory.blocks_path,
        objects=objects,
        log=log,
        kernels=NativeKernels(),
        clock=guarded,
        bounds=_store_bounds(settings),
        retention=Retention(of=retention.of, among=retention.among),
        observe=watch.observe,
    )
    accept = Accept(store=store, log=log, limits=admission, clock=clock)
    receipts = Receipts(
        store=store, delete=accept.delete, objects=objects, clock=clock, observe=watch.observe
    )
    schedule = Schedule(threads_max=settings.query_threads, queue_max=settings.query_concurrent_max)
    engine = Engine(
        directory=directory,
        log=log,
        store=store,
        upkeep=Upkeep(store, observe=watch.observe, interval_seconds=settings.compaction_seconds),
        documents=documents,
        limits=limits,
        admission=admission,
        day_counts=day_counts,
        accept=accept,
        receipts=receipts,
        schedule=schedule,
        queries=Queries(
            # Its snapshots are the core's, which the query's contract describes.
            store=cast(Snapshots, store),
            schedule=schedule,
            admission=admission,
            meter_of=Meter,
            clock=clock,
            on_slow=watch.slow_query,
            slow_seconds=settings.query_slow_seconds,
        ),
        watch=watch,
        clock=clock,
    )
    watch.follow(store.statistics)
    telemetry.tell_default_limits(asdict(settings.limits))
    engine.upkeep.start()
    return engine


def _store_bounds(settings: Settings) -> StoreBounds:
    return StoreBounds(
        head_bytes_flush=settings.head_bytes_max,
        head_bytes_max=settings.head_bytes_max * HEAD_HARD_FACTOR,
        log_replay_bytes_max=settings.log_replay_bytes_max,
        window_ns=settings.head_window_seconds * NS,
        block_range_ns_max=settings.block_range_seconds_max * NS,
        grace_seconds=settings.object_grace_seconds,
        series_idle_ns=settings.series_idle_seconds * NS,
        disk_reserve_bytes=settings.disk_free_bytes_min,
    )
