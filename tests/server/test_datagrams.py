"""Datagrams: batches, bounds, drops that are counted, and the end."""

import asyncio
import io
import threading

import pytest

from orrery.errors import Unavailable
from orrery.server.datagrams import BATCH_BYTES_MAX, DatagramServer, DatagramWire
from orrery.server.listen import TcpListener
from orrery.telemetry import handler
from tests.server.running import until
from tests.server.streaming import DATAGRAM_LIMITS, Datagrams


class Taken:
    def __init__(self):
        self.batches = []
        self.begun = threading.Event()
        self.release = asyncio.Event()
        self.release.set()

    async def __call__(self, data):
        self.begun.set()
        await self.release.wait()
        self.batches.append(data)

    @property
    def lines(self):
        return [line for batch in self.batches for line in batch.split(b"\n")]


def received(server, count):
    server.call(until(lambda: server.metric("orrery_datagrams_total") == count))


def test_all_that_fits_is_told_in_order():
    taken = Taken()
    with Datagrams(taken) as server:
        server.send(*(b"%d" % number for number in range(50)))
        server.call(until(lambda: len(taken.lines) == 50))
        assert server.metric("orrery_datagram_bytes_total") == 90
    assert taken.lines == [b"%d" % number for number in range(50)]


def test_what_comes_while_the_handler_works_is_one_batch():
    taken = Taken()
    with Datagrams(taken) as server:
        taken.release.clear()
        server.send(b"first")
        assert taken.begun.wait(10)
        server.send(b"second", b"third")
        received(server, 3)
        server.loop.call_soon_threadsafe(taken.release.set)
    assert taken.batches == [b"first", b"second\nthird"]


@pytest.mark.parametrize(
    ("limits", "reason"),
    [({"queue_count_max": 3}, "queue_count_max"), ({"queue_bytes_max": 30}, "queue_bytes_max")],
)
def test_what_does_not_fit_is_dropped_and_counted(limits, reason):
    taken = Taken()
    with Datagrams(taken, **limits) as server:
        taken.release.clear()
        server.send(b"0123456789")
        assert taken.begun.wait(10)
        server.send(*[b"0123456789"] * 5)
        received(server, 6)
        assert server.dropped(reason) == 2
        server.loop.call_soon_threadsafe(taken.release.set)
    assert len(taken.lines) == 4


def test_what_the_system_dropped_is_counted():
    taken = Taken()
    with Datagrams(taken, socket_bytes=1) as server:
        blocked, release = threading.Event(), threading.Event()
        server.loop.call_soon_threadsafe(lambda: (blocked.set(), release.wait(10)))
        assert blocked.wait(10)
        server.send(*[b"x" * 1000] * 50)
        release.set()
        server.call(until(lambda: taken.lines))
        server.send(b"last")
        server.call(until(lambda: taken.lines[-1] == b"last"))
        lost = server.dropped("socket")
    assert lost
    assert lost + len(taken.lines) == 51


def test_batches_are_bounded():
    taken = Taken()
    with Datagrams(taken, queue_bytes_max=10_000_000, socket_bytes=4_000_000) as server:
        taken.release.clear()
        server.send(b"first")
        assert taken.begun.wait(10)
        for _ in range(20):
            server.send(b"x" * 60_000)
        server.call(until(lambda: server.metric("orrery_datagrams_total") > 8))
        server.loop.call_soon_threadsafe(taken.release.set)
    assert len(taken.batches) > 2
    assert max(map(len, taken.batches)) <= BATCH_BYTES_MAX


def test_a_failure_is_logged_and_the_next_batch_taken():
    taken = []

    async def fails(data):
        taken.append(data)
        if data == b"fail":
            raise KeyError("unforeseen")

    log = io.StringIO()
    with Datagrams(fails, log=handler(log)) as server:
        server.send(b"fail")
        server.call(until(lambda: len(taken) == 1))
        server.send(b"good")
        server.call(until(lambda: len(taken) == 2))
    assert "event=datagrams_failed wire=test" in log.getvalue()


def test_stop_hands_on_what_waits():
    taken = Taken()
    with Datagrams(taken) as server:
        server.send(b"1", b"2", b"3")
    assert taken.lines == [b"1", b"2", b"3"]


def test_stop_counts_what_outlives_the_grace():
    taken = Taken()
    with Datagrams(taken, grace_seconds=0.1) as server:
        taken.release.clear()
        server.send(b"1")
        assert taken.begun.wait(10)
        server.send(b"2", b"3")
        received(server, 3)
        server.call(server.server.stop())
        assert server.dropped("stopping") == 2
    assert taken.batches == []


def test_port_in_use_is_named():
    with Datagrams(Taken()) as first:
        port = first.server.ports["test"]

        async def second():
            wire = DatagramWire(name="test", listener=TcpListener("127.0.0.1", port), take=Taken())
            server = DatagramServer(
                wires=[wire],
                limits=DATAGRAM_LIMITS,
                telemetry=first.telemetry,
                events=first.events,
            )
            await server.start()

        with pytest.raises(Unavailable, match=f"port {port}"):
            first.call(second())
