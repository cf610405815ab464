"""Writes that nobody is told of: what waits, what is refused, and that all of it is counted."""

import asyncio
import io
import logging

import pytest

from orrery.errors import SERVER, Excess, Exhausted, Invalid, Unavailable
from orrery.ingest.parts import listening_of
from orrery.ingest.unanswered import Body, Refusals, Unanswered
from orrery.kernels.line_protocol import decode_line_protocol
from orrery.server.listen import TcpListener
from orrery.telemetry import Events, Telemetry, handler
from tests.protocols.writing import FakeAccept, executor, parts


class Pressed(FakeAccept):
    """Refuses as often as it has errors."""

    def __init__(self, *errors):
        super().__init__()
        self.errors = list(errors)

    def write(self, tenant, batch, **labels):
        if self.errors:
            raise self.errors.pop(0)
        return super().write(tenant, batch, **labels)


class Wire:
    def __init__(self, accept):
        self.accept = accept
        self.paused = []
        self.now = 0.0
        self.telemetry = Telemetry()
        self.log = io.StringIO()
        logger = logging.Logger("orrery")
        logger.addHandler(handler(self.log))
        self.refusals = Refusals(
            wire="test",
            telemetry=self.telemetry,
            events=Events(logger),
            seconds=lambda: self.now,
        )
        with executor() as pool:
            self.unanswered = Unanswered(
                parts=parts(None, accept, pool, size_bytes_max=1000),
                refusals=self.refusals,
                pause=self.pause,
            )

    async def pause(self, seconds):
        self.paused.append(seconds)

    def store(self, body=b"a v=1 1\nb v=2 2", *, way="store"):
        text = Body(
            decode=lambda size_bytes_max: decode_line_protocol(
                body, precision_ns=1, now_ns=0, size_bytes_max=size_bytes_max
            ),
            byte_count=len(body),
            count_lines=lambda: 2,
            peer="1.2.3.4:5",
        )
        asyncio.run(getattr(self.unanswered, way)("t1", text, forced=()))

    def refused(self, reason):
        return self.telemetry.registry.get_sample_value(
            "orrery_lines_refused_total", {"wire": "test", "reason": reason}
        )


def exhausted(scope, seconds):
    return Exhausted("too much", Excess("a_limit", scope, 1, 2, seconds))


def test_what_is_good_is_stored_and_nothing_counted():
    wire = Wire(FakeAccept())
    wire.store()
    assert [series[:2] for series in wire.accept.stored] == [("t1", "a"), ("t1", "b")]
    assert wire.log.getvalue() == ""


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Unavailable("the log failed"), 0.25),
        (exhausted(SERVER, 1.0), 1.0),
        (exhausted(SERVER, 60.0), 5.0),
        (exhausted("tenant t1", 2.0), 2.0),
        (exhausted("tenant t1", 0.001), 0.05),
    ],
)
def test_under_pressure_it_waits(error, seconds):
    wire = Wire(Pressed(error, error))
    wire.store()
    assert wire.paused == [seconds, seconds]
    assert len(wire.accept.stored) == 2
    assert wire.log.getvalue() == ""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (exhausted("tenant t1", 3600.0), "rate"),
        (exhausted("tenant t1", None), "rate"),
        (Invalid("cannot decode a body"), "malformed"),
    ],
)
def test_what_waiting_does_not_help_is_refused(error, reason):
    wire = Wire(Pressed(error))
    wire.store()
    assert (wire.paused, wire.accept.stored) == ([], [])
    assert wire.refused(reason) == 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unavailable("the log failed"), "pressure"),
        (exhausted(SERVER, 1.0), "pressure"),
        (exhausted("tenant t1", 2.0), "rate"),
    ],
)
def test_without_back_pressure_it_is_lost_and_counted(error, reason):
    wire = Wire(Pressed(error))
    wire.store(way="store_now")
    assert (wire.paused, wire.accept.stored) == ([], [])
    assert wire.refused(reason) == 2


def test_bad_lines_are_counted_and_one_is_told():
    wire = Wire(FakeAccept())
    wire.store(b"a v=1 1\nbad\nworse\nb,__db__=x v=1 1")
    assert len(wire.accept.stored) == 1
    assert wire.refused("rejected") == 3
    assert "event=lines_refused wire=test reason=rejected lines=3" in wire.log.getvalue()
    assert "tenant=t1 peer=1.2.3.4:5 line=2" in wire.log.getvalue()


def test_a_reason_is_told_once_in_a_while_with_what_came_meanwhile():
    wire = Wire(FakeAccept())
    for wire.now in (0.0, 1.0, 9.0, 11.0):
        wire.store(b"bad")
    assert [line.split("lines=")[1].split()[0] for line in wire.log.getvalue().splitlines()] == [
        "1",
        "3",
    ]
    assert wire.refused("rejected") == 4


def test_a_stop_counts_what_waits():
    wire = Wire(Pressed(*[Unavailable("full")] * 5))

    async def stopped(_seconds):
        raise asyncio.CancelledError

    wire.unanswered._pause = stopped
    with pytest.raises(asyncio.CancelledError):
        wire.store()
    assert wire.refused("stopping") == 2


@pytest.mark.parametrize(
    ("text", "address", "tenant"),
    [
        ("127.0.0.1:2003", ("127.0.0.1", 2003), "default"),
        ("[::1]:2003=team-a", ("::1", 2003), "team-a"),
    ],
)
def test_listening(text, address, tenant):
    found = listening_of(text)
    assert (found.listener, found.tenant) == (TcpListener(*address), tenant)


@pytest.mark.parametrize("text", ["", "2003", "127.0.0.1:2003=", "127.0.0.1:2003=a|b"])
def test_listening_refused(text):
    with pytest.raises(Invalid, match="cannot"):
        listening_of(text)
