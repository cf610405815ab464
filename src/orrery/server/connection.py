"""One connection: uvicorn's HTTP/1.1 over httptools, with the bounds it does not keep itself.

Bounded here: the size of the headers and the time they take (a client may send a byte a minute),
the number of connections, and how long a client may leave an answer unread. ``listen`` makes one
of these a connection.
"""

import asyncio

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from orrery.server.limits import HttpLimits
from orrery.telemetry import Telemetry


class _HeadersTooLarge(Exception):
    """Raised into the parser, which turns it into its own error."""


class Connection(HttpToolsProtocol):
    def __init__(
        self,
        *,
        config: Config,
        server_state: ServerState,
        loop: asyncio.AbstractEventLoop,
        limits: HttpLimits,
        telemetry: Telemetry,
    ) -> None:
        super().__init__(config, server_state, app_state={}, _loop=loop)
        self._limits = limits
        self._telemetry = telemetry
        self._refused = False
        self._in_headers = False
        self._header_bytes = 0
        self._begun_in_this_chunk = False
        self._header_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._telemetry.connections.inc()
        if len(self.connections) > self._limits.connections_max:
            self._refuse(b"503 Service Unavailable", "connections_max", b"retry-after: 1\r\n")
        else:
            self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_header_timer()
        self._cancel_stall_timer()
        self._telemetry.connections.dec()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._begun_in_this_chunk = False
        if self._is_idle() and self._header_timer is None:
            self._start_header_timer()
        super().data_received(data)
        if self._in_headers and not self._begun_in_this_chunk:
            # The parser keeps an unfinished header to itself, so its bytes are counted here.
            self._header_bytes += len(data)
            if self._header_bytes > self._limits.header_bytes_max:
                self._refuse_headers()

    def send_400_response(self, msg: str) -> None:
        if self._header_bytes > self._limits.header_bytes_max:
            self._refuse_headers()
        elif not self._refused:
            self._refuse(b"400 Bad Request", "malformed")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True
        self._begun_in_this_chunk = True
        self._header_bytes = 0
        if self._header_timer is None:
            self._start_header_timer()

    def on_url(self, url: bytes) -> None:
        self._count_header_bytes(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # As the superclass does, in one call: this is asked five times a request and more.
        self._count_header_bytes(len(name) + len(value) + 4)
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._cancel_header_timer()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(self._limits.stall_seconds_max, self._stalled)

    def resume_writing(self) -> None:
        self._cancel_stall_timer()
        super().resume_writing()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _may_answer(self) -> bool:
        """Whether a refusal would stand where the client awaits an answer, and the only one."""
        if self._is_idle():
            return True
        if self.pipeline or self.cycle.response_started:
            return False
        self.cycle.disconnected = True
        return True

    def _count_header_bytes(self, count: int) -> None:
        if not self._begun_in_this_chunk:
            return
        self._header_bytes += count
        if self._header_bytes > self._limits.header_bytes_max:
            raise _HeadersTooLarge

    def _start_header_timer(self) -> None:
        seconds = self._limits.header_seconds_max
        self._header_timer = self.loop.call_later(seconds, self._headers_late)

    def _headers_late(self) -> None:
        self._header_timer = None
        if not self._is_idle():
            # A request that is being served has a later one, unfinished, behind it.
            self._start_header_timer()
        elif self._in_headers:
            self._refuse(b"408 Request Timeout", "header_seconds_max")
        else:
            self._telemetry.connections_refused.labels("header_seconds_max").inc()
            self.transport.close()

    def _stalled(self) -> None:
        self._stall_timer = None
        self._telemetry.connections_refused.labels("stall_seconds_max").inc()
        self.transport.abort()

    def _refuse_headers(self) -> None:
        self._refuse(b"431 Request Header Fields Too Large", "header_bytes_max")

    def _refuse(self, status: bytes, reason: str, headers: bytes = b"") -> None:
        if self._refused:
            return
        self._refused = True
        self._telemetry.connections_refused.labels(reason).inc()
        body = b'{"error":"cannot serve the connection: %s"}' % reason.encode("ascii")
        if self._may_answer():
            self.transport.write(
                b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                b"%sconnection: close\r\n\r\n%s" % (status, len(body), headers, body)
            )
        self.transport.close()

    def _cancel_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _cancel_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
