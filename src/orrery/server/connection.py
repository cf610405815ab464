"""One connection: HTTP/1.1 between a socket and the application, within bounds.

Bounded here: the size of the headers and the time they take (a client may send a byte a minute),
the time a body takes, how many connections there are, how long one stays idle, and how long a
client may leave an answer unread. ``listen`` makes one of these a connection; httptools parses.

Requests are answered one after another. What a client sends ahead of an answer waits in the
socket, but for what came with the same read.
"""

import asyncio
from collections import deque
from typing import cast

import httptools

from orrery.server.application import Application
from orrery.server.body import Refused
from orrery.server.deadline import Deadline
from orrery.server.exchange import Exchange
from orrery.server.http import UNIX_PEER
from orrery.server.limits import HttpLimits
from orrery.telemetry import Event, Events, Telemetry

READ_BYTES = 256 * 1024
DRAIN_SECONDS_MAX = 2.0
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Shared:
    """What all connections of one listener have in common.

    ``buffer`` is read into and parsed at once, on the one thread of the loop: whatever is kept of
    it is copied.
    """

    def __init__(
        self,
        *,
        application: Application,
        limits: HttpLimits,
        telemetry: Telemetry,
        events: Events,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.application = application
        self.limits = limits
        self.telemetry = telemetry
        self.events = events
        self.loop = loop
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.connections: set[Connection] = set()
        self.is_stopping = False
        self.emptied = asyncio.Event()
        """Set once the listener is stopping and no connection is left."""

    def stop(self) -> None:
        self.is_stopping = True
        for connection in list(self.connections):
            connection.stop()
        self.look_for_end()

    def abort(self) -> None:
        for connection in list(self.connections):
            connection.abort()

    def look_for_end(self) -> None:
        if self.is_stopping and not self.connections:
            self.emptied.set()


class Connection(asyncio.BufferedProtocol):
    """``_line`` holds the exchanges that are not answered yet; its first is the current one, its
    last the one being parsed."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._limits = shared.limits
        self._application = shared.application
        self._parser = httptools.HttpRequestParser(self)
        self._deadline = Deadline(shared.loop)
        self._stall_timer: asyncio.TimerHandle | None = None
        self._line: deque[Exchange] = deque()
        self._is_served = False
        self._is_deaf = False
        self._is_paused = False
        self._awaits_client = False
        self._expects_headers = False
        self._expects_body = False
        self._drained_bytes = 0
        self._in_headers = False
        self._target = b""
        self._headers: dict[str, str] = {}
        self._host_count = 0
        self._head_bytes = 0
        self._unseen_bytes = 0
        self._writable: asyncio.Future[None] | None = None

    # --- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else UNIX_PEER
        shared = self._shared
        shared.connections.add(self)
        shared.telemetry.connections.inc()
        if shared.is_stopping:
            self._close()
        elif len(shared.connections) > self._limits.connections_max:
            self._refuse(b"503 Service Unavailable", "connections_max", b"retry-after: 1\r\n")
        else:
            self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_deaf = True
        self._deadline.close()
        self._cancel_stall_timer()
        self._release_writer()
        self._shared.connections.discard(self)
        self._shared.telemetry.connections.dec()
        self._shared.look_for_end()
        if self._line:
            self._give_up()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._shared.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_deaf:
            return
        self._unseen_bytes += nbytes
        try:
            self._parser.feed_data(self._shared.buffer[:nbytes])
        except httptools.HttpParserUpgrade:
            # Nothing is upgraded to: what follows would be in another protocol.
            self._is_deaf = True
        except httptools.HttpParserError as error:
            self._refuse_malformed(error)
        else:
            # The parser keeps an unfinished header to itself, so its bytes are counted here.
            if self._head_bytes + self._unseen_bytes > self._limits.header_bytes_max:
                self._refuse_headers()
            elif not self._is_served:
                self._expect_more()

    def eof_received(self) -> None:
        """As nobody may read the answer, the connection is closed."""

    def pause_writing(self) -> None:
        self._writable = self._shared.loop.create_future()
        if not self._line:
            self._await_client()
        if self._stall_timer is None:
            self._stall_timer = self._shared.loop.call_later(
                self._limits.stall_seconds_max, self._stalled
            )

    def resume_writing(self) -> None:
        self._cancel_stall_timer()
        self._release_writer()
        if self._awaits_client:
            self._awaits_client = False
            self._go_on()

    # --- the parser's calls

    def on_message_begin(self) -> None:
        self._in_headers = True
        self._target = b""
        self._headers = {}
        self._host_count = 0
        self._head_bytes = 0
        self._unseen_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._head_bytes += len(url)
        self._unseen_bytes = 0

    def on_header(self, raw_name: bytes, raw_value: bytes) -> None:
        self._head_bytes += len(raw_name) + len(raw_value) + 4
        self._unseen_bytes = 0
        if not self._in_headers:
            return  # a trailer, which nothing here reads
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name == "host":
            self._host_count += 1
        headers = self._headers
        headers[name] = f"{headers[name]}, {value}" if name in headers else value

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._expects_headers = False
        self._unseen_bytes = 0
        if self._is_deaf:
            return
        if self._head_bytes > self._limits.header_bytes_max:
            self._refuse_headers()
            return
        self._head_bytes = 0
        exchange = self._exchange()
        self._line.append(exchange)
        if len(self._line) == 1:
            self._begin(exchange)
        else:
            self._pause()

    def on_chunk_header(self) -> None:
        self._unseen_bytes = 0

    def on_body(self, chunk: bytes) -> None:
        self._unseen_bytes = 0
        if self._is_deaf or not self._line:
            return
        exchange = self._line[-1]
        if len(self._line) == 1:
            self._add(exchange, chunk)
        else:
            exchange.early = exchange.early or deque()
            exchange.early.append(chunk)

    def on_message_complete(self) -> None:
        if self._is_deaf or not self._line:
            return
        exchange = self._line[-1]
        exchange.is_whole = True
        if len(self._line) == 1 and not self._is_served:
            self._serve(exchange)

    # --- exchanges

    def _exchange(self) -> Exchange:
        parser = self._parser
        is_http_1_0, is_upgrade = parser.get_http_version() == "1.0", parser.should_upgrade()
        return Exchange(
            self,
            method=parser.get_method().decode("ascii"),
            target=_origin_form(self._target),
            headers=self._headers,
            host_count=self._host_count,
            peer=self._peer,
            body=self._application.body(),
            keeps=not (is_http_1_0 or is_upgrade) and parser.should_keep_alive(),
            is_http_1_0=is_http_1_0,
            is_upgrade=is_upgrade,
            events=self._shared.events,
        )

    def _take_turn(self, exchange: Exchange) -> None:
        """Of what was sent ahead of the answer before it."""
        self._begin(exchange)
        while exchange.early and not self._is_served:
            self._add(exchange, exchange.early.popleft())
        exchange.early = None
        if exchange.is_whole and not self._is_served:
            self._serve(exchange)

    def _begin(self, exchange: Exchange) -> None:
        self._application.begin(exchange)
        if exchange.refusal is not None:
            self._drain(exchange)
        elif exchange.expects_continue and not exchange.is_whole:
            self.write(CONTINUE)
        self._expects_body = exchange.refusal is None

    def _add(self, exchange: Exchange, chunk: bytes) -> None:
        if self._is_served:
            return
        if exchange.refusal is not None:
            self._drained_bytes += len(chunk)
            if self._drained_bytes >= self._limits.body_bytes_max:
                self._drained_enough()
            return
        try:
            exchange.body.add(chunk)
        except Refused as refused:
            self._refuse_body(exchange, refused)

    def _refuse_body(self, exchange: Exchange, refused: Refused) -> None:
        self._expects_body = False
        self._application.refuse(exchange, refused)
        exchange.body.forget()
        self._drain(exchange)

    def _drain(self, exchange: Exchange) -> None:
        """Reads on without keeping anything, so that a client still sending sees the refusal:
        closing with unread bytes resets the connection, and the answer with it."""
        self._drained_bytes = 0
        if exchange.is_whole or not exchange.has_body:
            return
        if exchange.expects_continue:
            self._drained_enough()
        else:
            self._deadline.arm(DRAIN_SECONDS_MAX, self._drained_enough)

    def _drained_enough(self) -> None:
        self._line[0].keeps = False
        self._serve(self._line[0])

    def _serve(self, exchange: Exchange) -> None:
        self._is_served = True
        self._deadline.disarm()
        if self._shared.is_stopping or self._is_deaf:
            exchange.keeps = False
        self._application.serve(exchange)

    def _give_up(self) -> None:
        """The client is gone, or does not speak HTTP, before its request was whole or answered."""
        if self._is_served:
            self._line[0].leave()
        else:
            self._application.abandon(self._line[0])

    def _body_late(self) -> None:
        exchange = self._line[0]
        self._refuse_body(exchange, exchange.body.late())

    def _headers_late(self) -> None:
        if self._in_headers:
            self._refuse(b"408 Request Timeout", "header_seconds_max")
        else:
            self._shared.telemetry.connections_refused.labels("header_seconds_max").inc()
            self._close()

    # --- what an exchange asks for

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    async def drained(self) -> None:
        if self._writable is not None:
            await self._writable

    def ended(self, exchange: Exchange) -> None:
        self._is_served = False
        if self._line:
            self._line.popleft()
        if self._transport.is_closing():
            return
        if not exchange.keeps or self._is_deaf or self._shared.is_stopping:
            self._close()
        elif self._writable is None:
            self._go_on()
        else:
            self._await_client()

    def _await_client(self) -> None:
        """No further request is taken while the client leaves answers unread."""
        self._awaits_client = True
        self._deadline.disarm()
        self._pause()

    def _go_on(self) -> None:
        if self._line:
            self._take_turn(self._line[0])
        if self._is_served:
            return
        self._resume()
        if not self._line and not self._in_headers:
            self._deadline.arm(self._limits.keep_alive_seconds, self._close)
        else:
            self._expect_more()

    def stop(self) -> None:
        """The server stops: what is being read or answered may finish."""
        if self._line:
            self._line[0].keeps = False
        else:
            self._close()

    def abort(self) -> None:
        self._transport.abort()

    # --- bounds

    def _expect_more(self) -> None:
        """What was read is not a whole request yet, and the rest of it has its time."""
        if not self._line:
            if self._in_headers:
                self._expect_headers()
        elif self._expects_body:
            # Once a request, from its headers on.
            self._expects_body = False
            self._line[0].admitted = None
            self._deadline.arm(self._limits.body_seconds_max, self._body_late)

    def _expect_headers(self) -> None:
        if not self._expects_headers:
            self._expects_headers = True
            self._deadline.arm(self._limits.header_seconds_max, self._headers_late)

    def _refuse_headers(self) -> None:
        self._refuse(b"431 Request Header Fields Too Large", "header_bytes_max")

    def _refuse_malformed(self, error: httptools.HttpParserError) -> None:
        if isinstance(error, httptools.HttpParserCallbackError):
            self._shared.telemetry.request_failures.inc()
            self._shared.events.error(Event.REQUEST_FAILED, failure=error, peer=self._peer)
        if self._head_bytes > self._limits.header_bytes_max:
            self._refuse_headers()
        else:
            self._refuse(b"400 Bad Request", "malformed")

    def _refuse(self, status: bytes, reason: str, headers: bytes = b"") -> None:
        if self._is_deaf:
            return
        self._is_deaf = True
        self._shared.telemetry.connections_refused.labels(reason).inc()
        if self._is_served:
            # Refused is what came behind a request that is being answered: see `ended`.
            self._line[0].keeps = False
            return
        body = b'{"error":"cannot serve the connection: %s"}' % reason.encode("ascii")
        self.write(
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"%sconnection: close\r\n\r\n%s" % (status, len(body), headers, body)
        )
        self._close()
        if self._line:
            self._give_up()

    def _stalled(self) -> None:
        self._stall_timer = None
        self._shared.telemetry.connections_refused.labels("stall_seconds_max").inc()
        self._transport.abort()

    def _close(self) -> None:
        self._is_deaf = True
        self._deadline.close()
        self._transport.close()

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def _cancel_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _release_writer(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)


def _origin_form(target: bytes) -> str:
    """The path and query of a request's target; a proxy's form names the host as well."""
    if target[:1] == b"/":
        return target.partition(b"#")[0].decode("latin-1")
    try:
        parsed = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError:
        return target.decode("latin-1")
    path = parsed.path or b"/"
    return (path + b"?" + parsed.query if parsed.query else path).decode("latin-1")
