"""Stream and datagram servers on free loopback ports, on a thread of their own."""

import asyncio
import contextlib
import logging
import socket
import threading
from dataclasses import replace

import uvloop

from orrery.server.datagrams import DatagramServer, DatagramWire
from orrery.server.framing import Lines
from orrery.server.limits import DatagramLimits, StreamLimits
from orrery.server.listen import TcpListener
from orrery.server.streams import StreamServer, StreamWire
from orrery.telemetry import Events, Telemetry
from tests.server.running import until

STREAM_LIMITS = StreamLimits(
    connections_max=20,
    held_bytes_max=1 << 20,
    first_seconds_max=10.0,
    frame_seconds_max=10.0,
    idle_seconds_max=10.0,
    stall_seconds_max=10.0,
    grace_seconds=5.0,
)
DATAGRAM_LIMITS = DatagramLimits(
    queue_bytes_max=100_000, queue_count_max=100, socket_bytes=0, grace_seconds=5.0
)


class Kept:
    """A conversation that keeps what it is told and answers with it."""

    def __init__(self, peer):
        self.peer = peer
        self.taken = []
        self.rest = None
        self.ended = threading.Event()

    async def take(self, data):
        self.taken.append(data)
        return data

    async def end(self, rest):
        assert self.rest is None, "told twice of the end"
        self.rest = rest
        self.ended.set()


class Looping:
    """An event loop on a thread, and a server on it while the block lasts."""

    def __init__(self, log=None):
        self.telemetry = Telemetry()
        logger = logging.Logger("orrery")
        if log is not None:
            logger.addHandler(log)
        self.events = Events(logger)
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self):
        self._thread.start()
        try:
            self.call(self._started())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.call(self.server.stop())
        finally:
            self._end()

    async def _started(self):
        await self.server.start()

    def _end(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def metric(self, name, **labels):
        return self.telemetry.registry.get_sample_value(name, {"wire": "test", **labels})


class Streaming(Looping):
    def __init__(
        self,
        converse=Kept,
        *,
        framing=None,
        certificate=None,
        drops_answers=False,
        log=None,
        **limits,
    ):
        super().__init__(log)
        self.conversations = []

        def remembered(peer):
            self.conversations.append(converse(peer))
            return self.conversations[-1]

        self.server = StreamServer(
            wires=[
                StreamWire(
                    name="test",
                    listener=TcpListener("127.0.0.1", 0, certificate),
                    framing=framing or Lines(1000),
                    converse=remembered,
                    drops_answers=drops_answers,
                )
            ],
            limits=replace(STREAM_LIMITS, **limits),
            telemetry=self.telemetry,
            events=self.events,
        )

    @contextlib.contextmanager
    def connected(self, *sent):
        address = ("127.0.0.1", self.server.ports["test"])
        with socket.create_connection(address, timeout=10) as connection:
            for part in sent:
                connection.sendall(part)
            yield connection

    def conversation(self, number=0):
        self.call(until(lambda: len(self.conversations) > number))
        return self.conversations[number]

    def refused(self, reason):
        return self.metric("orrery_streams_refused_total", reason=reason)


class Datagrams(Looping):
    def __init__(self, take, *, log=None, **limits):
        super().__init__(log)
        wire = DatagramWire(name="test", listener=TcpListener("127.0.0.1", 0), take=take)
        self.server = DatagramServer(
            wires=[wire],
            limits=replace(DATAGRAM_LIMITS, **limits),
            telemetry=self.telemetry,
            events=self.events,
        )

    def send(self, *datagrams):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for datagram in datagrams:
                sender.sendto(datagram, ("127.0.0.1", self.server.ports["test"]))

    def dropped(self, reason):
        return self.metric("orrery_datagrams_dropped_total", reason=reason)
