"""The server: an engine, its wires and agents behind sockets, until a signal ends it."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable

import uvloop

from orrery.app.agents import agents_of
from orrery.app.engine import Engine, open_engine
from orrery.app.executors import Executors
from orrery.app.sockets import socket_servers
from orrery.app.wires import addresses, routes
from orrery.clock import Chance, Clock, SystemChance, SystemClock
from orrery.ingest.parts import listening_of
from orrery.kernels.decompress import decompress
from orrery.server.application import Application
from orrery.server.hosts import HostPolicy, OriginPolicy
from orrery.server.limits import Budget, http_limits
from orrery.server.listen import HttpServer, Listener, TcpListener, UnixListener, parse_address
from orrery.server.router import Router
from orrery.server.tls import certificate_of
from orrery.settings import Settings
from orrery.telemetry import Events, Telemetry, log_to
from orrery.tenancy.access import check_exposure

ADMIN_SOCKET = "admin.sock"


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
    others = [listening_of(address).listener for address in addresses(settings)]
    for one in (listener, *others):
        check_exposure(
            auth=settings.auth, is_loopback=one.is_loopback, forced=settings.auth_none_forced
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
    router = Router(routes(engine, executors, settings, telemetry, events, clock, chance))

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
    sockets = socket_servers(
        engine,
        executors,
        settings,
        listener.certificate,
        telemetry,
        events,
        clock,
        chance,
        budget,
    )
    agents = agents_of(engine, settings, events, clock)
    try:
        for opened in (server, *sockets):
            await opened.start()
        for agent in agents:
            agent.start()
        yield server
    finally:
        for agent in agents:
            await asyncio.to_thread(agent.stop)
        await asyncio.gather(*(opened.stop() for opened in (server, *sockets)))
        await asyncio.to_thread(executors.close)
