"""The composition root: the only module that constructs parts, and the only one that knows all.

``cli`` calls :func:`serve`, ``offline`` and ``api.open`` call :func:`open_engine`.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import cast

import uvloop

from orrery.agents.host import HostAgent
from orrery.agents.periodic import Periodic
from orrery.clock import Chance, Clock, GuardedClock, SystemChance, SystemClock
from orrery.errors import OrreryError
from orrery.ingest.accept import Accept
from orrery.ingest.front import Front, OwnSeries
from orrery.ingest.receipts import Receipts
from orrery.ingest.turns import BoundedExecutor
from orrery.kernels.decompress import decompress
from orrery.kernels.meter import Meter
from orrery.kernels.selector import check_matchers
from orrery.languages.promql.prepare import Preparations
from orrery.log.local import LocalLog, LogLimits
from orrery.objects.local import LocalObjects
from orrery.protocols.admin import operations, pages
from orrery.protocols.admin.maintenance import StoreMaintenance
from orrery.protocols.influxdb import status as influxdb_status
from orrery.protocols.influxdb import write as influxdb_write
from orrery.protocols.prometheus import reads as prometheus_reads
from orrery.protocols.prometheus import write as prometheus_write
from orrery.protocols.prometheus.parts import Parts
from orrery.query.cache import ResultCache
from orrery.query.contract import Snapshots
from orrery.query.queries import Queries
from orrery.query.schedule import Schedule
from orrery.server.application import Application
from orrery.server.hosts import HostPolicy, OriginPolicy
from orrery.server.http import Route
from orrery.server.limits import Budget, http_limits
from orrery.server.listen import HttpServer, Listener, TcpListener, UnixListener, parse_address
from orrery.server.router import Router
from orrery.server.tls import certificate_of
from orrery.settings import Settings
from orrery.store.bounds import StoreBounds
from orrery.store.engine import Store, Upkeep
from orrery.store.layout import DataDirectory
from orrery.store.manifest import ManifestStore
from orrery.store.native import NativeKernels
from orrery.store.retention import Retention
from orrery.store.scrub import TICK_SECONDS, Scrub
from orrery.telemetry import Event, Events, StoreTelemetry, Telemetry, log_to
from orrery.tenancy.access import Access, OpenAccess, TokenAccess, check_exposure
from orrery.tenancy.administration import Administration
from orrery.tenancy.admission import Admission
from orrery.tenancy.audit import AuditFile
from orrery.tenancy.day_counts import DayCounts
from orrery.tenancy.documents import Documents
from orrery.tenancy.limits import TenantLimits
from orrery.tenancy.retention import TenantRetention
from orrery.tenancy.usage import UsageSeries

VERSION = installed_version("orrery-db")
NS = 1_000_000_000
ADMIN_SOCKET = "admin.sock"
AUDIT_FILE = "audit.log"
DAY_COUNTS_SECONDS = 10.0
RECEIPTS_SECONDS = 10.0
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


# --- the server


def serve(settings: Settings, ready: Callable[[str], None]) -> None:
    """Runs until SIGTERM or SIGINT; SIGHUP reads certificates again. ``ready`` is told the URL."""
    log_to(sys.stderr, settings.log_level)
    uvloop.run(_serve(settings, ready, clock=SystemClock(), chance=SystemChance()))


async def _serve(
    settings: Settings, ready: Callable[[str], None], *, clock: Clock, chance: Chance
) -> None:
    host, port = parse_address(settings.http)
    listener = TcpListener(
        host, port, certificate_of(settings.tls_certificate_file, settings.tls_key_file)
    )
    check_exposure(
        auth=settings.auth, is_loopback=listener.is_loopback, forced=settings.auth_none_forced
    )
    telemetry, events = Telemetry(), Events(logging.getLogger("orrery"))
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    # Until there is a certificate to read again, a reload must not end the process.
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    engine = await asyncio.to_thread(
        open_engine,
        settings.data_dir,
        settings=settings,
        clock=clock,
        telemetry=telemetry,
        events=events,
    )
    try:
        async with _serving(engine, listener, settings, telemetry, events, clock, chance) as server:
            loop.add_signal_handler(signal.SIGHUP, server.reload_certificates)
            ready(server.urls[0])
            await stopping.wait()
    finally:
        await asyncio.to_thread(engine.close)


@contextlib.asynccontextmanager
async def _serving(
    engine: Engine,
    listener: TcpListener,
    settings: Settings,
    telemetry: Telemetry,
    events: Events,
    clock: Clock,
    chance: Chance,
) -> AsyncIterator[HttpServer]:
    executors = Executors(settings)
    limits = http_limits(settings)
    budget = Budget(limits.bodies_bytes_max)
    router = Router(_routes(engine, executors, settings, telemetry, events, clock, chance))

    def application_for(one: Listener) -> Application:
        is_local = isinstance(one, UnixListener)
        policy = HostPolicy if settings.auth == "none" else OriginPolicy
        return Application(
            router=router,
            limits=limits,
            budget=budget,
            hosts=None if is_local else policy(settings.http_allow_host),
            is_local=is_local,
            decompress=decompress,
            executor=executors.bodies,
            clock=clock,
            chance=chance,
            telemetry=telemetry,
            events=events,
        )

    server = HttpServer(
        listeners=[listener, UnixListener(engine.directory.path / ADMIN_SOCKET)],
        application_for=application_for,
        limits=limits,
        telemetry=telemetry,
        events=events,
    )
    agents = _agents(engine, settings, events, clock)
    try:
        await server.start()
        for agent in agents:
            agent.start()
        yield server
    finally:
        for agent in agents:
            await asyncio.to_thread(agent.stop)
        await server.stop()
        await asyncio.to_thread(executors.close)


class Executors:
    """Threads besides those of queries and upkeep."""

    def __init__(self, settings: Settings) -> None:
        self.bodies = ThreadPoolExecutor(settings.http_threads, thread_name_prefix="bodies")
        self.ingest = BoundedExecutor(
            threads=settings.ingest_threads,
            pending_max=settings.ingest_requests_max,
            limit_name="ingest_requests_max",
        )

    def close(self) -> None:
        self.ingest.shutdown()
        self.bodies.shutdown()


def _routes(
    engine: Engine,
    executors: Executors,
    settings: Settings,
    telemetry: Telemetry,
    events: Events,
    clock: Clock,
    chance: Chance,
) -> list[Route]:
    """ADD A PROTOCOL: one line here."""
    access = _access(engine, settings, telemetry, clock)
    front = Front(accept=engine.accept, is_durable=engine.limits.is_durable)
    size_bytes_max = settings.http_body_decompressed_bytes_max
    found = (engine.directory, engine.documents, engine.limits, engine.store.tenants)
    administration = build_administration(*found, events, clock, chance)
    return [
        *prometheus_write.routes(
            access=access,
            accept=front,
            decode_executor=executors.ingest,
            size_bytes_max=size_bytes_max,
        ),
        *influxdb_write.routes(
            access=access,
            accept=front,
            decode_executor=executors.ingest,
            clock=clock,
            size_bytes_max=size_bytes_max,
        ),
        *influxdb_status.routes(version=VERSION),
        *prometheus_reads.routes(_reading(engine, access, settings, telemetry, clock)),
        *operations.routes(
            access=access,
            administration=administration,
            maintenance=StoreMaintenance(store=engine.store),
        ),
        *pages.routes(
            access=access,
            telemetry=telemetry,
            is_open=settings.auth == "none" or settings.metrics_open,
            not_ready=engine.store.not_ready,
            links=LINKS,
            version=VERSION,
        ),
    ]


LINKS = (
    ("/api/v1/query", "PromQL, as Prometheus serves it"),
    ("/api/v1/write", "Prometheus remote write 1.0 and 2.0"),
    ("/write", "InfluxDB line protocol, version 1"),
    ("/api/v2/write", "InfluxDB line protocol, version 2"),
)


def _reading(
    engine: Engine, access: Access, settings: Settings, telemetry: Telemetry, clock: Clock
) -> Parts:
    return Parts(
        access=access,
        queries=engine.queries,
        metadata_of=engine.store.metadata_of,
        receipts=engine.receipts,
        preparations=Preparations(),
        cache=ResultCache(
            changes=engine.store,
            bytes_max=settings.result_cache_bytes_max,
            counted=telemetry.looked_up,
        ),
        clock=clock,
        version=VERSION,
        started_ns=clock.now_ns(),
        retention=f"{settings.limits.retention_seconds}s",
    )


def _agents(
    engine: Engine, settings: Settings, events: Events, clock: Clock
) -> "list[HostAgent | Periodic]":
    own = OwnSeries(accept=engine.accept)

    def every(seconds: float, name: str, work: Callable[[], object]) -> Periodic:
        return Periodic(
            name=name,
            period_seconds=seconds,
            work=work,
            expected=(OrreryError, TimeoutError),
            on_failure=lambda error: events.warning(Event.USAGE_FAILED, message=error),
            clock=clock,
        )

    agents: list[HostAgent | Periodic] = [
        every(DAY_COUNTS_SECONDS, "day-counts", engine.day_counts.save),
        every(RECEIPTS_SECONDS, "receipts", engine.receipts.follow),
    ]
    if settings.host_metrics_seconds:
        agents.append(
            HostAgent(
                tenant=settings.host_metrics_tenant,
                instance=socket.gethostname(),
                period_seconds=settings.host_metrics_seconds,
                write=own,
                clock=clock,
                events=events,
            )
        )
    if settings.scrub_days:
        scrub = Scrub(
            blocks=engine.store.blocks,
            path_of=lambda name: str(engine.directory.blocks_path / name),
            kernels=engine.store.kernels,
            clock=clock,
            observe=engine.watch.observe,
            suspect=engine.store.suspect,
            days=settings.scrub_days,
        )
        agents.append(every(TICK_SECONDS, "scrub", scrub.step))
    if settings.usage_seconds:
        usage = UsageSeries(
            admission=engine.admission,
            active_series=engine.store.table.active_series,
            write=own,
            clock=clock,
        )
        agents.append(every(settings.usage_seconds, "usage", usage.write))
    return agents


def _access(engine: Engine, settings: Settings, telemetry: Telemetry, clock: Clock) -> Access:
    if settings.auth == "token":
        return TokenAccess(documents=engine.documents, clock=clock, telemetry=telemetry)
    return OpenAccess(telemetry=telemetry)


def build_administration(
    directory: DataDirectory,
    documents: Documents,
    limits: TenantLimits,
    tenants_with_data: Callable[[], Iterable[str]],
    events: Events,
    clock: Clock,
    chance: Chance,
) -> Administration:
    return Administration(
        documents=documents,
        limits=limits,
        retention=TenantRetention(documents=documents, limits=limits),
        audit=AuditFile(directory.path / AUDIT_FILE, clock=clock, events=events),
        check_matchers=check_matchers,
        tenants_with_data=tenants_with_data,
        clock=clock,
        chance=chance,
    )
