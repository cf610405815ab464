"""Every wire, given its parts.

ADD A PROTOCOL: a folder in ``protocols`` and a line in :func:`routes`; where it has sockets of its
own, in :func:`streams` or :func:`datagrams` too, and its addresses in :func:`addresses`.
"""

from collections.abc import Callable, Iterable
from importlib.metadata import version as installed_version

from orrery.app.engine import Engine
from orrery.app.executors import Executors
from orrery.clock import Chance, Clock
from orrery.ingest.front import Front
from orrery.ingest.parts import SocketParts, WriteParts
from orrery.kernels.selector import check_matchers
from orrery.languages.promql.prepare import Preparations
from orrery.protocols.admin import operations, pages
from orrery.protocols.admin.maintenance import StoreMaintenance
from orrery.protocols.graphite import http as graphite_http
from orrery.protocols.graphite import sockets as graphite_sockets
from orrery.protocols.influxdb import status as influxdb_status
from orrery.protocols.influxdb import write as influxdb_write
from orrery.protocols.opentsdb import put as opentsdb_put
from orrery.protocols.opentsdb import status as opentsdb_status
from orrery.protocols.opentsdb import telnet as opentsdb_telnet
from orrery.protocols.otlp import export as otlp_export
from orrery.protocols.otlp import write as otlp_write
from orrery.protocols.otlp.storing import options_of
from orrery.protocols.prometheus import reads as prometheus_reads
from orrery.protocols.prometheus import write as prometheus_write
from orrery.protocols.prometheus.parts import Parts
from orrery.protocols.warp10 import wire as warp10
from orrery.protocols.warp10.parts import Parts as Warp10Parts
from orrery.protocols.warp10.times import UNITS_NS
from orrery.query.cache import ResultCache
from orrery.server.datagrams import DatagramWire
from orrery.server.grpc import GrpcWire
from orrery.server.http import Route
from orrery.server.listen import TcpListener, parse_address
from orrery.server.streams import StreamWire
from orrery.settings import Settings
from orrery.store.layout import DataDirectory
from orrery.telemetry import Events, Telemetry
from orrery.tenancy.access import Access, OpenAccess, TokenAccess
from orrery.tenancy.administration import Administration
from orrery.tenancy.audit import AuditFile
from orrery.tenancy.documents import Documents
from orrery.tenancy.limits import TenantLimits
from orrery.tenancy.retention import TenantRetention

VERSION = installed_version("orrery-db")
AUDIT_FILE = "audit.log"


def routes(
    engine: Engine,
    executors: Executors,
    settings: Settings,
    telemetry: Telemetry,
    events: Events,
    clock: Clock,
    chance: Chance,
) -> list[Route]:
    access = access_of(engine, settings, telemetry, clock)
    writing = writing_of(engine, executors, settings, access, clock)
    found = (engine.directory, engine.documents, engine.limits, engine.store.tenants)
    administration = build_administration(*found, events, clock, chance)
    return [
        *prometheus_write.routes(writing),
        *graphite_http.routes(writing),
        *influxdb_write.routes(writing),
        *influxdb_status.routes(version=VERSION),
        *opentsdb_put.routes(writing),
        *opentsdb_status.routes(writing, version=VERSION),
        *otlp_write.routes(writing, options_of(settings)),
        *prometheus_reads.routes(_reading(engine, access, settings, telemetry, clock)),
        *warp10.routes(_warp10(engine, writing, settings)),
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


def addresses(settings: Settings) -> list[str]:
    """Of all wires that are no HTTP."""
    called = [settings.otlp_grpc] if settings.otlp_grpc else []
    return [*graphite_sockets.addresses(settings), *settings.opentsdb_telnet, *called]


def streams(parts: SocketParts) -> list[StreamWire]:
    """Wires that speak plain TCP."""
    return [
        *graphite_sockets.streams(parts),
        *opentsdb_telnet.streams(parts, version=VERSION),
    ]


def datagrams(parts: SocketParts) -> list[DatagramWire]:
    """Wires that speak UDP."""
    return graphite_sockets.datagrams(parts)


def calls(parts: SocketParts) -> list[GrpcWire]:
    """Wires that speak gRPC."""
    settings = parts.settings
    if not settings.otlp_grpc:
        return []
    host, port = parse_address(settings.otlp_grpc)
    listener = TcpListener(host, port, parts.certificate)
    return [otlp_export.wire(listener, parts.writing, options_of(settings))]


LINKS = (
    ("/api/v1/query", "PromQL, as Prometheus serves it"),
    ("/api/v1/write", "Prometheus remote write 1.0 and 2.0"),
    ("/graphite/metrics", "Graphite's lines"),
    ("/write", "InfluxDB line protocol, version 1"),
    ("/api/v2/write", "InfluxDB line protocol, version 2"),
    ("/api/put", "OpenTSDB data points as JSON"),
    ("/api/v0/update", "Warp 10, with /meta, /find, /fetch and /delete"),
    ("/v1/metrics", "OTLP metrics, protobuf and JSON"),
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


def _warp10(engine: Engine, writing: WriteParts, settings: Settings) -> Warp10Parts:
    return Warp10Parts(
        writing=writing,
        queries=engine.queries,
        attributes_of=engine.store.attributes_of,
        write_attributes=engine.accept.write_attributes,
        delete=engine.receipts.delete,
        unit_ns=UNITS_NS[settings.warp10_time_unit],
    )


def writing_of(
    engine: Engine, executors: Executors, settings: Settings, access: Access, clock: Clock
) -> WriteParts:
    return WriteParts(
        access=access,
        accept=Front(accept=engine.accept, is_durable=engine.limits.is_durable),
        decode_executor=executors.ingest,
        clock=clock,
        size_bytes_max=settings.http_body_decompressed_bytes_max,
    )


def access_of(
    engine: Engine, settings: Settings, telemetry: Telemetry, clock: Clock
) -> OpenAccess | TokenAccess:
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
