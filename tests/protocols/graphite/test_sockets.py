"""Connections and datagrams of Graphite, handed what they read; everything below is faked."""

import asyncio
import io
import logging
import pickle
import struct
from dataclasses import dataclass, field

import pytest

from orrery.errors import Denied
from orrery.ingest.parts import SocketParts
from orrery.protocols.graphite import sockets
from orrery.server.streams import HangUp
from orrery.settings import Settings
from orrery.telemetry import Events, Telemetry, handler
from tests.protocols.writing import FakeAccept, FakeCaller, executor, parts

ONE, OTHER = "orr_" + "1" * 43, "orr_" + "2" * 43
SETTINGS = Settings(
    graphite_tcp=("127.0.0.1:0=listener",),
    graphite_pickle=("127.0.0.1:0",),
    graphite_udp=("127.0.0.1:0",),
)


@dataclass
class Tokens:
    """``callers`` by token; with none, tokens mean nothing."""

    callers: dict = field(default_factory=dict)

    def bearer(self, secret, *, permission, tenant):
        assert permission == "write"
        if not self.callers:
            return FakeCaller(tenant)
        if secret not in self.callers:
            raise Denied("cannot serve the request: the token is unknown")
        return self.callers[secret]


TOKENS = Tokens({ONE: FakeCaller("one", (("site", "x"),)), OTHER: FakeCaller("other")})


class Wires:
    def __init__(self, pool, bearers=None):
        self.accept = FakeAccept()
        self.log = io.StringIO()
        self.telemetry = Telemetry()
        logger = logging.Logger("orrery")
        logger.addHandler(handler(self.log))
        self.parts = SocketParts(
            writing=parts(None, self.accept, pool, size_bytes_max=1 << 20),
            bearers=bearers or Tokens(),
            settings=SETTINGS,
            certificate=None,
            telemetry=self.telemetry,
            events=Events(logger),
        )

    def converse(self, number):
        wire = sockets.streams(self.parts)[number]
        return wire.converse("1.2.3.4:5")

    def lines(self, *reads, rest=b""):
        return self._talk(self.converse(0), reads, rest)

    def pickles(self, *batches, rest=b""):
        payloads = [pickle.dumps(batch, 2) for batch in batches]
        frames = [struct.pack("!L", len(payload)) + payload for payload in payloads]
        return self._talk(self.converse(1), frames, rest)

    def datagrams(self, *batches):
        [wire] = sockets.datagrams(self.parts)

        async def take():
            for batch in batches:
                await wire.take(batch)

        asyncio.run(take())

    def _talk(self, conversation, reads, rest):
        async def talk():
            try:
                for read in reads:
                    assert await conversation.take(read) == b""
            except HangUp as end:
                return end.reason
            finally:
                await conversation.end(rest)
            return None

        return asyncio.run(talk())

    @property
    def stored(self):
        return [(row[0], row[1]) for row in self.accept.stored]

    def refused(self, reason, wire="graphite"):
        labels = {"wire": wire, "reason": reason}
        return self.telemetry.registry.get_sample_value("orrery_lines_refused_total", labels)


@pytest.fixture
def pool():
    with executor() as made:
        yield made


def test_a_listener_has_a_tenant(pool):
    wires = Wires(pool)
    assert wires.lines(b"a.b;x=1 1 1\nb 2 2\n", b"c 3 3\n") is None
    assert wires.stored == [("listener", "a.b"), ("listener", "b"), ("listener", "c")]
    assert wires.accept.stored[0][2:] == ("", [("x", "1")], 1_000_000_000, 1.0)


def test_bad_lines_are_counted_and_told(pool):
    wires = Wires(pool)
    wires.lines(b"a 1 1\nbad\n;x=1 1 1\nnan nan 1\n", rest=b"b 1 17000")
    assert wires.stored == [("listener", "a")]
    assert wires.refused("rejected") == 2
    assert wires.refused("nan") == 1
    assert wires.refused("unfinished") == 1
    assert "cannot read line 'bad': it has no value" in wires.log.getvalue()
    assert "peer=1.2.3.4:5" in wires.log.getvalue()


def test_a_connection_shows_its_token_first(pool):
    wires = Wires(pool, TOKENS)
    reads = [f"auth {ONE}\r\na 1 1\n".encode(), b"b 1 1\nauth 1 1\n"]
    assert wires.lines(*reads) is None
    assert wires.stored == [("one", "a"), ("one", "b"), ("one", "auth")]
    assert wires.accept.stored[0][3] == [("site", "x")]


@pytest.mark.parametrize(
    "read", [b"a 1 1\nb 2 2\n", b"auth unknown\na 1 1\nb 2 2\n", b"auth 1 1\nb 1 1\n"]
)
def test_a_connection_without_a_good_token_is_closed(pool, read):
    wires = Wires(pool, TOKENS)
    assert wires.lines(read, b"c 1 1\n") == "denied"
    assert wires.stored == []
    assert wires.refused("denied")
    assert "reason=denied" in wires.log.getvalue()


def test_names_carry_tokens(pool):
    wires = Wires(pool, TOKENS)
    lines = f"{ONE}@.a 1 1\n{OTHER}@.a 2 2\n{ONE}@.b 3 3\norr_none@.c 4 4\n{ONE}@.d x 4\n"
    assert wires.lines(f"auth {OTHER}\n".encode(), lines.encode()) is None
    assert sorted(wires.stored) == [("one", "a"), ("one", "b"), ("other", "a")]
    assert (wires.refused("denied"), wires.refused("rejected")) == (1, 1)
    for secret in (ONE, OTHER):
        assert secret[4:] not in wires.log.getvalue()


def test_names_carry_tokens_over_a_connection_without_one(pool):
    wires = Wires(pool, TOKENS)
    assert wires.lines(f"{ONE}@.a 1 1\n".encode()) is None
    assert wires.lines(f"{ONE}@.b 1 1\nc 1 1\n".encode()) == "denied"
    assert wires.stored == [("one", "a"), ("one", "b")]


def test_tokens_mean_nothing_where_nobody_asks(pool):
    wires = Wires(pool)
    wires.lines(f"auth {ONE}\n{ONE}@.a 1 1\nb 1 1\n".encode())
    assert sorted(wires.stored) == [("listener", "a"), ("listener", "b")]


def test_a_large_read_with_tokens_is_decoded_elsewhere(pool):
    wires = Wires(pool, TOKENS)
    count = 2000
    wires.lines(b"".join(f"{ONE}@.m{number} 1 1\n".encode() for number in range(count)))
    assert len(wires.stored) == count


def test_pickles(pool):
    wires = Wires(pool)
    batches = [[("a;x=1", (1, 2.5)), ("b", (-1, 3))], [("c", (1, "4"))]]
    assert wires.pickles(*batches, rest=b"\0\0") is None
    assert wires.stored == [
        ("default", "a;x=1".partition(";")[0]),
        ("default", "b"),
        ("default", "c"),
    ]
    assert wires.refused("unfinished", "graphite_pickle") == 1


def test_pickles_with_tokens(pool):
    wires = Wires(pool, TOKENS)
    assert wires.pickles([(f"{ONE}@.a", (1, 1)), (f"{OTHER}@.b", (1, 1))]) is None
    assert wires.pickles([("c", (1, 1))]) == "denied"
    assert sorted(wires.stored) == [("one", "a"), ("other", "b")]


def test_datagrams(pool):
    wires = Wires(pool)
    wires.datagrams(b"a 1 1\nb 1 1", b"bad\nc 1 1\n")
    assert wires.stored == [("default", "a"), ("default", "b"), ("default", "c")]
    assert wires.refused("rejected", "graphite_udp") == 1


def test_datagrams_with_tokens(pool):
    wires = Wires(pool, TOKENS)
    wires.datagrams(f"{ONE}@.a 1 1\nb 1 1\nc 1 1".encode(), f"auth {ONE}\nd 1 1".encode())
    assert wires.stored == [("one", "a")]
    assert wires.refused("denied", "graphite_udp") == 4
    assert ONE[4:] not in wires.log.getvalue()


def test_addresses():
    assert sockets.addresses(Settings()) == []
    assert sockets.addresses(SETTINGS) == ["127.0.0.1:0=listener", "127.0.0.1:0", "127.0.0.1:0"]
