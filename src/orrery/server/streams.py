"""Wires that speak plain TCP: a conversation a connection, within bounds; knows no protocol.

A wire plugs in by a :class:`StreamWire`: a listener, how its bytes fall into frames (lines, or what
a length stands before), and a factory of conversations. ``app/wires.py`` lists them, ``app`` makes
the :class:`StreamServer`. A conversation is a plain object: :meth:`Conversation.take` is awaited
with whole frames, in order, one call at a time, and gives back what is sent to the peer. While it
is awaited the socket is not read, so that a peer sends as fast as its data is taken and no faster.

Bounded here: how many connections there are, how long a frame is and how long it takes, what all
unfinished frames hold together, how long a connection stays silent, and how long a peer may leave
answers unread. Half-open connections end by
the system's keep-alive probes. What was handed to a conversation is never cancelled because the
peer left: it may be logged already.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from orrery.server.deadline import Deadline
from orrery.server.framing import Framing, TooLong
from orrery.server.limits import StreamLimits
from orrery.server.listen import (
    BACKLOG_MAX,
    CANCEL_SECONDS_MAX,
    TLS_HANDSHAKE_SECONDS_MAX,
    TcpListener,
    open_tcp,
)
from orrery.telemetry import Event, Events, Telemetry

READ_BYTES = 1024 * 1024
CROWD_MIN = 32
CROWDED_READ_BYTES = 16 * 1024
"""With many connections each reads less at once, so that all together hold no more."""
PROBE_IDLE_SECONDS = 60
PROBE_INTERVAL_SECONDS = 15
PROBES_MAX = 4
"""A peer that is gone without a word is noticed two minutes after its last one."""


class HangUp(Exception):
    """Raised by a conversation: ``answer`` is sent, then the connection is closed. ``reason`` is a
    fixed word, under which it is counted; None where that is how conversations end."""

    def __init__(self, reason: str | None = None, answer: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.answer = answer


class Conversation(Protocol):
    async def take(self, data: bytes) -> bytes:
        """Whole frames as they came; what it returns is sent. Raises ``HangUp`` to close."""

    async def end(self, rest: bytes) -> None:
        """Called once, last, whoever closed the connection; ``rest`` is an unfinished frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamWire:
    """``name`` labels what is counted; ``converse`` is called with each connection's peer.
    ``drops_answers`` is for peers that may never read: what finds no room is dropped, counted."""

    name: str
    listener: TcpListener
    framing: Framing
    converse: Callable[[str], Conversation]
    drops_answers: bool = False


class StreamServer:
    """Serves every wire on its listener until stopped."""

    def __init__(
        self,
        *,
        wires: Sequence[StreamWire],
        limits: StreamLimits,
        telemetry: Telemetry,
        events: Events,
    ) -> None:
        self._wires = wires
        self._limits = limits
        self._telemetry = telemetry
        self._events = events
        self._held = _Held(limits.held_bytes_max)
        self._serving: list[_Listening] = []
        self.ports: dict[str, int] = {}

    async def start(self) -> None:
        """Opens every socket, or none: ``Invalid`` or ``Unavailable`` names what cannot be."""
        try:
            for wire in self._wires:
                listening = _Listening(
                    wire=wire,
                    limits=self._limits,
                    held=self._held,
                    telemetry=self._telemetry,
                    events=self._events,
                )
                await listening.start()
                self._serving.append(listening)
                self.ports[wire.name] = listening.port
                scheme = "tcp" if wire.listener.certificate is None else "tls"
                url = f"{wire.name}+{scheme}://{wire.listener.host}:{listening.port}"
                self._events.info(Event.LISTENING, url=url)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Accepts no more; what was read is finished within the grace, then cut off."""
        serving, self._serving = self._serving, []
        await asyncio.gather(*(listening.stop() for listening in serving))


@dataclass(slots=True)
class _Held:
    """What the unfinished frames of all connections take."""

    bytes_max: int
    byte_count: int = 0


class _Listening:
    """One wire's socket and its connections."""

    def __init__(
        self,
        *,
        wire: StreamWire,
        limits: StreamLimits,
        held: _Held,
        telemetry: Telemetry,
        events: Events,
    ) -> None:
        self.wire = wire
        self.limits = limits
        self.held = held
        self.telemetry = telemetry
        self.events = events
        self.loop = asyncio.get_running_loop()
        self.buffer = memoryview(bytearray(READ_BYTES))
        self.streams: set[_Stream] = set()
        self.is_stopping = False
        self.emptied = asyncio.Event()
        self.open_count = telemetry.stream_connections.labels(wire.name)
        self.received_bytes = telemetry.stream_bytes.labels(wire.name)

    async def start(self) -> None:
        listener = self.wire.listener
        self._socket = open_tcp(listener.host, listener.port)
        _keep_alive(self._socket)
        self.port = int(self._socket.getsockname()[1])
        certificate = listener.certificate
        tls = None if certificate is None else certificate.context
        try:
            self._server = await self.loop.create_server(
                lambda: _Stream(self),
                sock=self._socket,
                backlog=BACKLOG_MAX,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else TLS_HANDSHAKE_SECONDS_MAX,
            )
        except BaseException:
            self._socket.close()
            raise

    async def stop(self) -> None:
        self._server.close()
        self.is_stopping = True
        for stream in list(self.streams):
            stream.stop()
        if not await self._has_emptied(self.limits.grace_seconds):
            for stream in list(self.streams):
                stream.cancel()
            if not await self._has_emptied(CANCEL_SECONDS_MAX):
                for stream in list(self.streams):
                    stream.abort()
                await self.emptied.wait()
        await self._server.wait_closed()
        self._socket.close()

    def refused(self, reason: str) -> None:
        self.telemetry.streams_refused.labels(self.wire.name, reason).inc()

    def left(self, stream: "_Stream") -> None:
        self.streams.discard(stream)
        self.look_for_end()

    def look_for_end(self) -> None:
        if self.is_stopping and not self.streams:
            self.emptied.set()

    async def _has_emptied(self, seconds: float) -> bool:
        self.look_for_end()
        try:
            async with asyncio.timeout(seconds):
                await self.emptied.wait()
        except TimeoutError:
            return False
        return True


class _Stream(asyncio.BufferedProtocol):
    """One connection. ``_held`` is what was read and not handed on yet, ``_task`` the
    conversation's call under way."""

    def __init__(self, listening: _Listening) -> None:
        self._listening = listening
        self._limits = listening.limits
        self._deadline = Deadline(listening.loop)
        self._held = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._conversation: Conversation | None = None
        self._writable: asyncio.Future[None] | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._has_spoken = False
        self._is_counted = False
        self._is_awaiting_frame = False
        self._is_paused = False
        self._has_ended = False
        self._is_closed = False
        self._is_lost = False
        self._held_count = 0

    # --- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "unknown"
        listening = self._listening
        if listening.is_stopping or len(listening.streams) >= self._limits.connections_max:
            listening.refused("stopping" if listening.is_stopping else "connections_max")
            self._has_ended = True
            self._transport.abort()
            return
        self._conversation = listening.wire.converse(self._peer)
        listening.streams.add(self)
        listening.open_count.inc()
        self._is_counted = True
        self._deadline.arm(self._limits.first_seconds_max, lambda: self._late("first_seconds_max"))

    def get_buffer(self, sizehint: int) -> memoryview:
        is_crowded = len(self._listening.streams) > CROWD_MIN
        buffer = self._listening.buffer
        return buffer[:CROWDED_READ_BYTES] if is_crowded else buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._listening.received_bytes.inc(nbytes)
        if not self._has_ended:
            self._held += self._listening.buffer[:nbytes]
            self._look()

    def eof_received(self) -> bool:
        self._has_ended = True
        self._look()
        # Answers may still be under way; TLS closes by itself.
        return self._listening.wire.listener.certificate is None

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_ended = self._is_lost = True
        self._deadline.close()
        self._release_writer()
        if self._is_counted:
            self._is_counted = False
            self._listening.open_count.dec()
        self._look()

    def pause_writing(self) -> None:
        self._writable = self._listening.loop.create_future()
        self._await_reader()

    def resume_writing(self) -> None:
        self._release_writer()

    # --- turns

    def _look(self) -> None:
        """Hands on what is whole, unless a call is under way; waits for more where nothing is."""
        if self._task is not None or self._conversation is None:
            return
        try:
            count = 0 if self._is_closed else self._listening.wire.framing.whole(self._held)
            self._hold(len(self._held) - count)
        except TooLong as error:
            self._refuse("frame_bytes_max", str(error))
            count = 0
        if count:
            with memoryview(self._held) as held:
                data = bytes(held[:count])
            del self._held[:count]
            self._has_spoken, self._is_awaiting_frame = True, False
            self._begin(data)
        elif self._has_ended:
            self._begin(None)
        else:
            self._expect_more()

    def _hold(self, count: int) -> None:
        held = self._listening.held
        held.byte_count += count - self._held_count
        self._held_count = count
        if count and held.byte_count > held.bytes_max:
            raise TooLong(f"cannot hold more than {held.bytes_max} bytes of unfinished frames")

    def _begin(self, data: bytes | None) -> None:
        """The conversation's next call, or with None its last."""
        self._deadline.disarm()
        if not (self._is_paused or self._transport.is_closing()):
            self._is_paused = True
            self._transport.pause_reading()
        work = self._end() if data is None else self._take(data)
        self._task = self._listening.loop.create_task(work)

    async def _take(self, data: bytes) -> None:
        assert self._conversation is not None, "only an accepted connection is read"
        try:
            await self._send(await self._conversation.take(data))
        except HangUp as end:
            if end.reason is not None:
                self._listening.refused(end.reason)
            await self._send(end.answer)
            self._close()
        except asyncio.CancelledError:
            self._close()
        except BaseException as failure:  # a panic of the core is no Exception
            self._failed(failure)
        self._task = None
        if self._listening.is_stopping:
            self._close()
        elif not (self._has_ended or self._transport.is_closing()):
            self._is_paused = False
            self._transport.resume_reading()
        self._look()

    async def _end(self) -> None:
        conversation, self._conversation = self._conversation, None
        assert conversation is not None, "a conversation ends once"
        try:
            await conversation.end(bytes(self._held))
        except asyncio.CancelledError:
            pass
        except Exception as failure:
            self._failed(failure)
        self._held.clear()
        self._hold(0)
        self._task = None
        self._close()
        self._listening.left(self)

    async def _send(self, answer: bytes) -> None:
        if not answer or self._transport.is_closing():
            return
        wire = self._listening.wire
        if wire.drops_answers and self._writable is not None:
            self._listening.telemetry.stream_answers_dropped.labels(wire.name).inc()
            return
        self._transport.write(answer)
        if self._writable is not None and not wire.drops_answers:
            await self._writable

    # --- bounds

    def _expect_more(self) -> None:
        if not self._has_spoken:
            return
        if not self._held:
            seconds, reason = self._limits.idle_seconds_max, "idle_seconds_max"
        elif not self._is_awaiting_frame:
            # Once a frame: a byte now and then gains no time.
            seconds, reason = self._limits.frame_seconds_max, "frame_seconds_max"
        else:
            return
        self._is_awaiting_frame = bool(self._held)
        self._deadline.arm(seconds, lambda: self._late(reason))

    def _late(self, reason: str) -> None:
        self._refuse(reason, f"cannot wait for the peer any longer ({reason})")
        self._look()

    def _refuse(self, reason: str, message: str) -> None:
        self._listening.refused(reason)
        self._listening.events.debug(
            Event.STREAM_REFUSED,
            wire=self._listening.wire.name,
            peer=self._peer,
            reason=reason,
            message=message,
        )
        self._close()

    def _failed(self, failure: BaseException) -> None:
        self._listening.telemetry.request_failures.inc()
        self._listening.events.error(
            Event.STREAM_FAILED,
            failure=failure,
            wire=self._listening.wire.name,
            peer=self._peer,
        )
        self._close()

    def _await_reader(self) -> None:
        self._stall_timer = self._listening.loop.call_later(
            self._limits.stall_seconds_max, self._stalled
        )

    def _stalled(self) -> None:
        if self._listening.wire.drops_answers and not self._is_closed:
            self._await_reader()
            return
        self._listening.refused("stall_seconds_max")
        self.abort()

    def _close(self) -> None:
        self._has_ended = self._is_closed = True
        self._deadline.close()
        if not self._is_lost:
            self._transport.close()

    def _release_writer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # --- the server's calls

    def stop(self) -> None:
        """What is under way may finish; nothing more is read."""
        if self._task is None:
            self._close()
            self._look()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def abort(self) -> None:
        if not self._is_lost:
            self._transport.abort()


def _keep_alive(listening: socket.socket) -> None:
    """Asks the system to notice peers that are gone; what it accepts inherits this."""
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_IDLE_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_INTERVAL_SECONDS),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES_MAX),
    ):
        listening.setsockopt(level, option, value)
