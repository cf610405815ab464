"""The sockets: opens them, serves them on the running event loop, closes them.

``app`` makes one :class:`HttpServer`, starts it on its own loop and stops it.
"""

import asyncio
import socket
import stat
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orrery.errors import Invalid, Unavailable
from orrery.server.application import Application
from orrery.server.connection import Connection, Shared
from orrery.server.hosts import is_loopback
from orrery.server.limits import HttpLimits
from orrery.server.tls import Certificate
from orrery.server.unix import short_path
from orrery.telemetry import Event, Events, Telemetry

BACKLOG_MAX = 1024
TLS_HANDSHAKE_SECONDS_MAX = 10.0
CANCEL_SECONDS_MAX = 2.0
"""For the answers to what was cancelled; then connections are cut off."""


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
        application_for: Callable[[Listener], Application],
        limits: HttpLimits,
        telemetry: Telemetry,
        events: Events,
    ) -> None:
        self._listeners = listeners
        self._application_for = application_for
        self._limits = limits
        self._telemetry = telemetry
        self._events = events
        self._serving: list[tuple[Listener, _Server]] = []
        self.urls: tuple[str, ...] = ()

    async def start(self) -> None:
        """Opens every socket, or none: ``Invalid`` or ``Unavailable`` names what cannot be."""
        try:
            for listener in self._listeners:
                await self._start_one(listener)
        except BaseException:
            await self.stop()
            raise
        self.urls = tuple(_url(listener, server.sock) for listener, server in self._serving)
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
            events=self._events,
        )
        try:
            await server.start()
        except BaseException:
            opened.close()
            raise
        self._serving.append((listener, server))

    async def stop(self) -> None:
        """Accepts no more, lets requests finish within the grace, cancels the rest."""
        serving, self._serving = self._serving, []
        await asyncio.gather(*(server.stop() for _, server in serving))
        for listener, server in serving:
            server.sock.close()
            if isinstance(listener, UnixListener):
                listener.path.unlink(missing_ok=True)

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


class _Server:
    """One listener's socket, its connections, and how they end."""

    def __init__(
        self,
        *,
        application: Application,
        sock: socket.socket,
        certificate: Certificate | None,
        limits: HttpLimits,
        telemetry: Telemetry,
        events: Events,
    ) -> None:
        self.sock = sock
        self._certificate = certificate
        self._limits = limits
        self._application = application
        self._shared = Shared(
            application=application,
            limits=limits,
            telemetry=telemetry,
            events=events,
            loop=asyncio.get_running_loop(),
        )

    async def start(self) -> None:
        loop = asyncio.get_running_loop()

        def connection() -> Connection:
            return Connection(self._shared)

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
        self._server = server

    async def stop(self) -> None:
        """Returns once no connection is left; what outlives the grace is cancelled."""
        self._server.close()
        self._shared.stop()
        if not await self._ended(self._limits.grace_seconds):
            self._application.cancel()
            if not await self._ended(CANCEL_SECONDS_MAX):
                self._shared.abort()
                await self._shared.emptied.wait()
        await self._server.wait_closed()

    async def _ended(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._application.finished()
                await self._shared.emptied.wait()
        except TimeoutError:
            return False
        return True


def _url(listener: Listener, opened: socket.socket) -> str:
    if isinstance(listener, UnixListener):
        return f"unix:{listener.path}"
    host, port = opened.getsockname()[:2]
    scheme = "http" if listener.certificate is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _open(listener: Listener) -> socket.socket:
    if isinstance(listener, UnixListener):
        return _open_unix(listener.path)
    return open_tcp(listener.host, listener.port)


def open_tcp(host: str, port: int) -> socket.socket:
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
