"""Wires that speak UDP: datagrams in batches to a handler, drops counted; knows no protocol.

A wire plugs in by a :class:`DatagramWire`: a listener, and a handler that is awaited with the
datagrams that came since its last call, joined by newlines. One call at a time; what comes
meanwhile waits in a queue of bounded size, and what does not fit is dropped and counted, as is
what the system dropped before us where it tells. ``app/wires.py`` lists the wires, ``app`` makes
the :class:`DatagramServer`. Nothing more is promised: a datagram that was received can be lost.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from orrery.errors import Invalid, Unavailable
from orrery.server.limits import DatagramLimits
from orrery.server.listen import TcpListener
from orrery.telemetry import Event, Events, Telemetry

DATAGRAM_BYTES_MAX = 65_535
RECEIVED_AT_ONCE_MAX = 256
"""Then others of the event loop have their turn."""
BATCH_BYTES_MAX = 256 * 1024
SO_RXQ_OVFL = 40
"""Linux: what was dropped for want of room comes along with a datagram."""
COUNT_BYTES = 4
CANCEL_SECONDS_MAX = 2.0

Take = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatagramWire:
    """``name`` labels what is counted; of ``listener`` there is no certificate."""

    name: str
    listener: TcpListener
    take: Take


class DatagramServer:
    """Serves every wire on its listener until stopped."""

    def __init__(
        self,
        *,
        wires: Sequence[DatagramWire],
        limits: DatagramLimits,
        telemetry: Telemetry,
        events: Events,
    ) -> None:
        self._wires = wires
        self._limits = limits
        self._telemetry = telemetry
        self._events = events
        self._serving: list[_Receiving] = []
        self.ports: dict[str, int] = {}

    async def start(self) -> None:
        """Opens every socket, or none: ``Invalid`` or ``Unavailable`` names what cannot be."""
        try:
            for wire in self._wires:
                receiving = _Receiving(
                    wire=wire,
                    limits=self._limits,
                    telemetry=self._telemetry,
                    events=self._events,
                )
                self._serving.append(receiving)
                self.ports[wire.name] = receiving.port
                url = f"{wire.name}+udp://{wire.listener.host}:{receiving.port}"
                self._events.info(Event.LISTENING, url=url)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Receives no more; what waits is handled within the grace, the rest counted as dropped."""
        serving, self._serving = self._serving, []
        await asyncio.gather(*(receiving.stop() for receiving in serving))


class _Receiving:
    """One wire's socket, its queue, and the task that empties it."""

    def __init__(
        self, *, wire: DatagramWire, limits: DatagramLimits, telemetry: Telemetry, events: Events
    ) -> None:
        self._wire = wire
        self._limits = limits
        self._telemetry = telemetry
        self._events = events
        self._queue: list[bytes] = []
        self._queue_bytes = 0
        self._lost_count = 0
        self._work: asyncio.Task[None] | None = None
        self._received = telemetry.datagrams.labels(wire.name)
        self._received_bytes = telemetry.datagram_bytes.labels(wire.name)
        self._socket = open_udp(wire.listener.host, wire.listener.port, limits.socket_bytes)
        self.port = int(self._socket.getsockname()[1])
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._receive)

    async def stop(self) -> None:
        self._receive()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        if self._work is not None:
            done, _ = await asyncio.wait({self._work}, timeout=self._limits.grace_seconds)
            if not done:
                self._work.cancel()
                await asyncio.wait({self._work}, timeout=CANCEL_SECONDS_MAX)
        self._drop("stopping", len(self._queue))

    def _receive(self) -> None:
        """What the system holds for us, up to a bound, into the queue."""
        taken, taken_bytes = 0, 0
        with contextlib.suppress(BlockingIOError):
            data, ancillary, _, _ = self._socket.recvmsg(
                DATAGRAM_BYTES_MAX, socket.CMSG_SPACE(COUNT_BYTES)
            )
            self._count_lost(ancillary)
            while True:
                taken += 1
                taken_bytes += len(data)
                self._enqueue(data)
                if taken >= RECEIVED_AT_ONCE_MAX:
                    break
                data = self._socket.recv(DATAGRAM_BYTES_MAX)
        self._received.inc(taken)
        self._received_bytes.inc(taken_bytes)
        if self._queue and self._work is None:
            self._work = self._loop.create_task(self._empty())

    def _enqueue(self, data: bytes) -> None:
        limits = self._limits
        if len(self._queue) >= limits.queue_count_max:
            self._drop("queue_count_max", 1)
        elif self._queue_bytes + len(data) > limits.queue_bytes_max:
            self._drop("queue_bytes_max", 1)
        else:
            self._queue.append(data)
            self._queue_bytes += len(data)

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self._telemetry.datagrams_dropped.labels(self._wire.name, reason).inc(count)

    def _count_lost(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        """The system counts all it dropped so far, modulo 2^32."""
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_RXQ_OVFL) and len(content) == COUNT_BYTES:
                (lost_count,) = struct.unpack("=I", content)
                self._drop("socket", (lost_count - self._lost_count) % 2**32)
                self._lost_count = lost_count

    async def _empty(self) -> None:
        try:
            while self._queue:
                await self._take(self._batch())
        finally:
            self._work = None

    async def _take(self, batch: bytes) -> None:
        try:
            await self._wire.take(batch)
        except Exception as failure:
            self._telemetry.request_failures.inc()
            self._events.error(Event.DATAGRAMS_FAILED, failure=failure, wire=self._wire.name)

    def _batch(self) -> bytes:
        """The oldest of the queue, up to a bound."""
        size, count = 0, 0
        for data in self._queue:
            if count and size + len(data) > BATCH_BYTES_MAX:
                break
            size += len(data)
            count += 1
        batch = b"\n".join(self._queue[:count])
        del self._queue[:count]
        self._queue_bytes -= size
        return batch


def open_udp(host: str, port: int, socket_bytes: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise Invalid(f"cannot listen on {host!r}: {error}") from error
    family, kind, protocol, _, address = found[0]
    opened = socket.socket(family, kind, protocol)
    try:
        if socket_bytes:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, socket_bytes)
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        opened.bind(address)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise Unavailable(f"cannot listen on {host!r} port {port}: {error.strerror}") from error
    return opened
