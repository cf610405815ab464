"""OpenTSDB's telnet commands: what they answer, in which order, and for whom they act."""

import asyncio
import logging

import pytest

from orrery.errors import SERVER, Denied, Excess, Exhausted, Invalid
from orrery.ingest.parts import SocketParts
from orrery.protocols.opentsdb.telnet import streams
from orrery.server.streams import HangUp
from orrery.settings import Settings
from orrery.telemetry import Events, Telemetry
from orrery.tenancy.access import Unauthenticated
from tests.protocols.writing import FakeAccept, FakeCaller, parts

SECOND = 1_700_000_000


class FakeBearers:
    """Lets in whoever brings ``secret``, or everybody where there is none."""

    def __init__(self, secret=None):
        self.secret = secret
        self.asked = []

    def bearer(self, secret, *, permission, tenant):
        self.asked.append((secret, permission, tenant))
        if self.secret is not None and secret != self.secret:
            raise Unauthenticated("cannot serve the request: it carries no token")
        return FakeCaller(tenant, (("team", "x"),) if self.secret else ())


class Peer:
    """One connection to a wire on its own."""

    def __init__(self, *, bearers=None, accept=None, address="127.0.0.1:0=acme"):
        self.accept = accept or FakeAccept()
        self.bearers = bearers or FakeBearers()
        self.telemetry = Telemetry()
        given = SocketParts(
            writing=parts(None, self.accept, None, size_bytes_max=1 << 20),
            bearers=self.bearers,
            settings=Settings(opentsdb_telnet=(address,)),
            certificate=None,
            telemetry=self.telemetry,
            events=Events(logging.Logger("orrery")),
        )
        [self.wire] = streams(given, version="9")
        self.conversation = self.wire.converse("peer")

    def say(self, text: str) -> str:
        return asyncio.run(self.conversation.take(text.encode())).decode()

    def hang_up(self, text: str) -> tuple[str | None, str]:
        with pytest.raises(HangUp) as raised:
            self.say(text)
        return raised.value.reason, raised.value.answer.decode()

    @property
    def stored(self):
        return [(one[0], one[1], dict(one[3]), one[5]) for one in self.accept.stored]

    def refused(self, reason):
        return self.telemetry.registry.get_sample_value(
            "orrery_lines_refused_total", {"wire": "opentsdb", "reason": reason}
        )


def test_put_answers_nothing_and_stores():
    peer = Peer()
    assert peer.say(f"put a {SECOND} 1 host=x\nput b {SECOND} 2.5 host=y\r\n\n") == ""
    assert peer.stored == [("acme", "a", {"host": "x"}, 1), ("acme", "b", {"host": "y"}, 2.5)]
    assert peer.bearers.asked == [(None, "write", "acme")]


def test_bad_lines_are_told_in_the_words_of_the_original_and_good_ones_kept():
    peer = Peer()
    answer = peer.say(
        f"put a {SECOND} 1 host=x\nput a {SECOND} two host=x\nput a\n"
        f"put a {SECOND} 1 host=x host=y\nput a {SECOND} 2 host=z\n"
    )
    assert answer == (
        "put: invalid value: Invalid character 't' in two\n"
        "put: illegal argument: not enough arguments (need least 4, got 1)\n"
        "put: illegal argument: duplicate tag: host=y\n"
    )
    assert [one[3] for one in peer.stored] == [1, 2]
    assert peer.refused("rejected") == 3


def test_commands_are_done_in_order():
    peer = Peer()
    answer = peer.say(
        f"version\nput a {SECOND} 1\nput a {SECOND} 1 h=x\nstats\nhelp\nrollup 1h-sum a 1 1 h=x\n"
    )
    assert answer.splitlines() == [
        "2.4.1-orrery-9",
        "put: illegal argument: not enough arguments (need least 4, got 3)",
        f"tsd.rpc.received {SECOND} 4 type=telnet",
        f"tsd.rpc.received {SECOND} 2 type=put",
        f"tsd.rpc.errors {SECOND} 1 type=put",
        f"tsd.datapoints.added {SECOND} 1 type=put",
        "available commands: auth exit help put stats version ",
        "unknown command: rollup.  Try `help'.",
    ]


def test_exit_ends_the_conversation_with_what_was_asked_before():
    peer = Peer()
    assert peer.hang_up(f"put a {SECOND} 1 h=x\nversion\nexit\nput b {SECOND} 1 h=x\n") == (
        None,
        "2.4.1-orrery-9\n",
    )
    assert [one[1] for one in peer.stored] == ["a"]


def test_a_token_comes_first():
    peer = Peer(bearers=FakeBearers("secret"))
    assert peer.say(f"auth secret\r\nput a {SECOND} 1 h=x\n") == "AUTH_SUCCESS\r\n"
    assert peer.stored == [("acme", "a", {"h": "x", "team": "x"}, 1)]
    peer.bearers.secret = "another"
    assert peer.hang_up(f"put b {SECOND} 1 h=x\n") == ("denied", "AUTH_FAIL\r\n")
    assert len(peer.stored) == 1


@pytest.mark.parametrize(
    "text",
    ["auth wrong\n", "auth\n", f"put a {SECOND} 1 h=x\n", "version\n", "stats\n", "what\n", "\n"],
)
def test_a_stranger_is_hung_up_on(text):
    peer = Peer(bearers=FakeBearers("secret"))
    assert peer.hang_up(text) == ("denied", "AUTH_FAIL\r\n")
    assert peer.stored == []


@pytest.mark.parametrize(
    ("error", "told", "counted"),
    [
        (
            Exhausted("a day", Excess("samples_per_day", "tenant t", 1, 2, 3600.0)),
            "put: Please throttle writes: a day\n",
            "rate",
        ),
        (Invalid("no\nline"), "put: illegal argument: no line\n", "malformed"),
        (Denied("no"), "put: Unexpected exception: no\n", "failed"),
    ],
)
def test_what_is_refused_whole_is_told_and_counted(error, told, counted):
    peer = Peer(accept=FakeAccept(error=error))
    assert peer.say(f"put a {SECOND} 1 h=x\nput b {SECOND} 1 h=x\n") == told
    assert peer.refused(counted) == 2
    assert f"tsd.rpc.errors {SECOND} 2 type=put" in peer.say("stats\n")


def test_pressure_is_waited_out():
    class Pressed(FakeAccept):
        tries = 0

        def write(self, tenant, batch, **labels):
            self.tries += 1
            if self.tries == 1:
                raise Exhausted("full", Excess("queue", SERVER, 1, 2, 0.0))
            return super().write(tenant, batch, **labels)

    peer = Peer(accept=Pressed())
    assert peer.say(f"put a {SECOND} 1 h=x\nput a\n").startswith("put: illegal argument: not")
    assert len(peer.stored) == 1
    assert "2 type=put" in peer.say("stats\n")


def test_many_refusals_are_counted():
    peer = Peer()
    lines = peer.say("put x\n" * 150).splitlines()
    assert len(lines) == 101
    assert lines[-1] == "put: and 50 more refusals"


def test_half_a_line_is_none():
    peer = Peer()
    asyncio.run(peer.conversation.end(b"put a 17000000"))
    asyncio.run(peer.conversation.end(b""))
    assert peer.stored == []
    assert peer.refused("unfinished") == 1


def test_an_unknown_command_is_shown_shortly():
    peer = Peer()
    assert peer.say("x" * 1000 + " y\n") == f"unknown command: {'x' * 64}.  Try `help'.\n"


def test_answers_that_nobody_reads_are_dropped():
    assert Peer().wire.drops_answers
