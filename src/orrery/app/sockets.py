"""The servers of wires that are no HTTP, put together; ``serving`` starts and stops them."""

from orrery.app.engine import Engine
from orrery.app.executors import Executors
from orrery.app.wires import access_of, calls, datagrams, streams, writing_of
from orrery.clock import Chance, Clock
from orrery.ingest.parts import SocketParts
from orrery.server.datagrams import DatagramServer
from orrery.server.grpc import GrpcServer
from orrery.server.limits import Budget, datagram_limits, grpc_limits, stream_limits
from orrery.server.streams import StreamServer
from orrery.server.tls import Certificate
from orrery.settings import Settings
from orrery.telemetry import Events, Telemetry


def socket_servers(
    engine: Engine,
    executors: Executors,
    settings: Settings,
    certificate: Certificate | None,
    telemetry: Telemetry,
    events: Events,
    clock: Clock,
    chance: Chance,
    budget: Budget,
) -> tuple[StreamServer | DatagramServer | GrpcServer, ...]:
    access = access_of(engine, settings, telemetry, clock)
    parts = SocketParts(
        writing=writing_of(engine, executors, settings, access, clock),
        bearers=access,
        settings=settings,
        certificate=certificate,
        telemetry=telemetry,
        events=events,
    )
    return (
        StreamServer(
            wires=streams(parts),
            limits=stream_limits(settings),
            telemetry=telemetry,
            events=events,
        ),
        DatagramServer(
            wires=datagrams(parts),
            limits=datagram_limits(settings),
            telemetry=telemetry,
            events=events,
        ),
        *(
            GrpcServer(
                wire=wire,
                limits=grpc_limits(settings),
                budget=budget,
                chance=chance,
                telemetry=telemetry,
                events=events,
            )
            for wire in calls(parts)
        ),
    )
