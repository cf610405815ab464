"""The sockets: opens them, lets uvicorn serve them on the running event loop, closes them.

``app`` makes one :class:`HttpServer`, starts it on its own loop and stops it.
"""

import asyncio
import contextlib
import socket
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from orrery.errors import Invalid, Unavailable
from orrery.server.connection import Connection
from orrery.server.hosts import is_loopback
from orrery.server.limits import HttpLimits
from orrery.server.tls import Certificate
from orrery.server.unix import short_path
from orrery.telemetry import Event, Events, Telemetry

BACKLOG_MAX = 1024
TLS_HANDSHAKE_SECONDS_MAX = 10.0
DATE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class TcpListener:
    """``port`` 0 picks a free one."""

    host: str
    port: int
    certificate: Certificate | None = None

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class UnixListener:
    """A socket file of mode 0600."""

    path: Path


Listener = TcpListener | UnixListener
AsgiApplication = Callable[[dict[str, Any], Any, Any], Any]


def parse_address(text: str) -> tuple[str, int]:
    """``127.0.0.1:7070``, ``[::1]:7070`` or ``:7070`` (every address) as host and port."""
    host, separator, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not separator or not port.isdecimal() or not port.isascii() or int(port) > 65535:
        raise Invalid(f"cannot listen on {text!r}: not host:port")
    if ":" in host and bare == host:
        raise Invalid(f"cannot listen on {text!r}: an IPv6 address stands in brackets")
    return bare or "0.0.0.0", int(port)


class HttpServer:
    """Serves ``application_for(listener)`` on each listener until stopped."""

    def __init__(
        self,
        *,
        listeners: Sequence[Listener],
        application_for: Callable[[Listener], AsgiApplication],
        limits: HttpLimits,
        telemetry: Telemetry,
        events: Events,
    ) -> None:
        self._listeners = listeners
        self._application_for = application_for
        self._limits = limits
        self._telemetry = telemetry
        self._events = events
        self._serving: list[tuple[Listener, _Server, asyncio.Task[None]]] = []
        self.urls: tuple[str, ...] = ()

    async def start(self) -> None:
        """Opens every socket, or none: ``Invalid`` or ``Unavailable`` names what cannot be."""
        try:
            for listener in self._listeners:
                await self._start_one(listener)
        except BaseException:
            await self.stop()
            raise
        self.urls = tuple(_url(listener, server.sock) for listener, server, _ in self._serving)
        for url in self.urls:
            self._events.info(Event.LISTENING, url=url)

    async def _start_one(self, listener: Listener) -> None:
        opened = _open(listener)
        certificate = listener.certificate if isinstance(listener, TcpListener) else None
        server = _Server(
            application=self._application_for(listener),
            sock=opened,
            certificate=certificate,
            limits=self._limits,
            telemetry=self._telemetry,
        )
        task = asyncio.get_running_loop().create_task(server.serve())
        self._serving.append((listener, server, task))
        waiting = asyncio.ensure_future(server.ready.wait())
        await asyncio.wait((task, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            await task

    async def stop(self) -> None:
        """Accepts no more, lets requests finish within the grace, cancels the rest."""
        for _, server, _ in self._serving:
            server.stop()
        outcomes = await asyncio.gather(
            *(task for _, _, task in self._serving), return_exceptions=True
        )
        for listener, server, _ in self._serving:
            server.sock.close()
            if isinstance(listener, UnixListener):
                listener.path.unlink(missing_ok=True)
        self._serving.clear()
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    def reload_certificates(self) -> None:
        """For SIGHUP. A certificate that cannot serve is logged, and the old one kept."""
        for listener in self._listeners:
            if not isinstance(listener, TcpListener) or listener.certificate is None:
                continue
            try:
                listener.certificate.reload()
            except Invalid as error:
                self._events.error(Event.CERTIFICATE_FAILED, message=error)
            else:
                self._events.info(Event.CERTIFICATE_LOADED)


class _Server(uvicorn.Server):
    """uvicorn on a socket we opened, on a loop and with signals that are not its own."""

    def __init__(
        self,
        *,
        application: AsgiApplication,
        sock: socket.socket,
        certificate: Certificate | None,
        limits: HttpLimits,
        telemetry: Telemetry,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http="httptools",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                # uvicorn takes whole seconds by its type; its arithmetic takes any.
                timeout_keep_alive=limits.keep_alive_seconds,  # type: ignore[arg-type]
                timeout_graceful_shutdown=limits.grace_seconds,  # type: ignore[arg-type]
            )
        )
        self.sock = sock
        self._certificate = certificate
        self._limits = limits
        self._telemetry = telemetry
        self._stopping = asyncio.Event()
        self.ready = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stopping.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Iterable[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()

        def connection() -> Connection:
            return Connection(
                config=self.config,
                server_state=self.server_state,
                loop=loop,
                limits=self._limits,
                telemetry=self._telemetry,
            )

        await self.on_tick(0)
        if self.sock.family == socket.AF_UNIX:
            server = await loop.create_unix_server(connection, sock=self.sock, backlog=BACKLOG_MAX)
        elif self._certificate is None:
            server = await loop.create_server(connection, sock=self.sock, backlog=BACKLOG_MAX)
        else:
            server = await loop.create_server(
                connection,
                sock=self.sock,
                backlog=BACKLOG_MAX,
                ssl=self._certificate.context,
                ssl_handshake_timeout=TLS_HANDSHAKE_SECONDS_MAX,
            )
        self.servers = [server]
        self.started = True
        self.ready.set()

    async def main_loop(self) -> None:
        """Keeps the Date header right; uvicorn's own wakes ten times a second."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), DATE_SECONDS)


def _url(listener: Listener, opened: socket.socket) -> str:
    if isinstance(listener, UnixListener):
        return f"unix:{listener.path}"
    host, port = opened.getsockname()[:2]
    scheme = "http" if listener.certificate is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _open(listener: Listener) -> socket.socket:
    if isinstance(listener, UnixListener):
        return _open_unix(listener.path)
    return _open_tcp(listener.host, listener.port)


def _open_tcp(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise Invalid(f"cannot listen on {host!r}: {error}") from error
    family, kind, protocol, _, address = found[0]
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG_MAX)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise Unavailable(f"cannot listen on {host!r} port {port}: {error.strerror}") from error
    return opened


def _open_unix(path: Path) -> socket.socket:
    """Mode 0600 from the first moment: bound in a directory only we can enter, then moved."""
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with tempfile.TemporaryDirectory(prefix=".socket-", dir=path.parent) as private:
            bound = Path(private) / "socket"
            with short_path(bound) as short:
                opened.bind(short)
            bound.chmod(stat.S_IRUSR | stat.S_IWUSR)
            opened.listen(BACKLOG_MAX)
            bound.rename(path)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise Unavailable(f"cannot listen on {str(path)!r}: {error.strerror or error}") from error
    return opened
