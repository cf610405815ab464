"""Connections of plain TCP: framing, order, back-pressure, bounds, and how they end."""

import asyncio
import contextlib
import io
import socket
import ssl
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orrery.server.framing import Lines, Prefixed, TooLong
from orrery.server.streams import HangUp
from orrery.telemetry import handler
from tests.server.running import certificate, until, until_closed
from tests.server.streaming import Kept, Streaming


class Held(Kept):
    """Keeps the server waiting until it is released."""

    def __init__(self, peer):
        super().__init__(peer)
        self.begun = threading.Event()
        self.release = asyncio.Event()

    async def take(self, data):
        self.begun.set()
        await self.release.wait()
        return await super().take(data)


@pytest.mark.parametrize(
    ("held", "whole"),
    [(b"", 0), (b"a", 0), (b"a\n", 2), (b"a\nb", 2), (b"a\nb\n", 4), (b"aaaaa", TooLong)],
)
def test_lines(held, whole):
    if whole is TooLong:
        with pytest.raises(TooLong, match="longer than 4 bytes"):
            Lines(4).whole(bytearray(held))
    else:
        assert Lines(4).whole(bytearray(held)) == whole


@pytest.mark.parametrize(
    ("held", "whole"),
    [
        (b"", 0),
        (b"\0\0\0", 0),
        (b"\0\0\0\0", 4),
        (b"\0\0\0\x02a", 0),
        (b"\0\0\0\x02ab", 6),
        (b"\0\0\0\x01a\0\0\0\x01b\0", 10),
        (b"\0\0\0\x01a\xff\xff\xff\xff", 5),
        (b"\xff\xff\xff\xff", TooLong),
    ],
)
def test_prefixed(held, whole):
    if whole is TooLong:
        with pytest.raises(TooLong, match="a frame of 4294967295 bytes: at most 4"):
            Prefixed(4).whole(bytearray(held))
    else:
        assert Prefixed(4).whole(bytearray(held)) == whole


@pytest.fixture(scope="module")
def server():
    with Streaming() as running:
        yield running


@settings(max_examples=50, deadline=None)
@given(parts=st.lists(st.sampled_from([b"a", b"bb\n", b"\n", b"c\nd"]), max_size=8))
def test_every_byte_is_told_once_and_in_order(server, parts):
    sent = b"".join(parts)
    with server.connected(*parts) as connection:
        connection.shutdown(socket.SHUT_WR)
        whole = sent[: sent.rfind(b"\n") + 1]
        assert until_closed(connection) == whole
    conversation = server.conversations[-1]
    assert conversation.ended.wait(10)
    assert b"".join(conversation.taken) == whole
    assert conversation.rest == sent[len(whole) :]


def test_the_peer_is_told(server):
    with server.connected(b"x\n") as connection:
        connection.recv(10)
        host, port = connection.getsockname()
    assert server.conversations[-1].peer == f"{host}:{port}"


def test_nothing_is_read_while_a_conversation_works():
    with Streaming(Held) as server, server.connected(b"a\n") as connection:
        connection.setblocking(False)
        conversation = server.conversation()
        assert conversation.begun.wait(10)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += connection.send(b"b" * 999 + b"\n")
        assert server.metric("orrery_stream_bytes_total") == 2
        server.loop.call_soon_threadsafe(conversation.release.set)
        connection.setblocking(True)
        whole, received = 2 + sent - sent % 1000, 0
        while received < whole:
            received += len(connection.recv(1 << 16))


def test_what_was_taken_is_finished_when_the_peer_is_gone():
    with Streaming(Held) as server:
        with server.connected(b"a\n"):
            conversation = server.conversation()
            assert conversation.begun.wait(10)
        server.loop.call_soon_threadsafe(conversation.release.set)
        assert conversation.ended.wait(10)
    assert conversation.taken == [b"a\n"]


@pytest.mark.parametrize(
    ("sent", "limits", "reason"),
    [
        (b"", {"first_seconds_max": 0.1}, "first_seconds_max"),
        (b"never whole", {"first_seconds_max": 0.1}, "first_seconds_max"),
        (b"a\n", {"idle_seconds_max": 0.1}, "idle_seconds_max"),
        (b"a\nb", {"frame_seconds_max": 0.1}, "frame_seconds_max"),
        (b"x" * 1001, {}, "frame_bytes_max"),
        (b"x" * 900, {"held_bytes_max": 800}, "frame_bytes_max"),
    ],
)
def test_a_bound_closes_and_is_counted(sent, limits, reason):
    with Streaming(**limits) as server:
        with server.connected(sent) as connection:
            until_closed(connection)
        conversation = server.conversation()
        assert conversation.ended.wait(10)
        assert server.refused(reason) == 1
        assert conversation.rest == sent[sent.rfind(b"\n") + 1 :]


def test_a_line_without_end_is_not_held():
    with Streaming() as server, server.connected() as connection:
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 1 << 30:
                sent += connection.send(b"x" * 65536)
        assert sent < 1 << 26
        assert server.refused("frame_bytes_max") == 1


def test_a_peer_that_sends_a_byte_now_and_then_gains_no_time():
    with Streaming(frame_seconds_max=0.3) as server, server.connected(b"a\n") as connection:
        connection.settimeout(0.02)
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            for _ in range(1000):
                connection.sendall(b"x")
                with contextlib.suppress(TimeoutError):
                    if connection.recv(10) == b"":
                        break
        assert server.refused("frame_seconds_max") == 1


def test_too_many_connections_are_closed():
    with Streaming(connections_max=1) as server, server.connected(b"a\n") as first:
        assert first.recv(10) == b"a\n"
        with server.connected() as second:
            assert until_closed(second) == b""
        assert server.refused("connections_max") == 1
        first.sendall(b"b\n")
        assert first.recv(10) == b"b\n"


def test_a_peer_that_reads_nothing_is_cut_off():
    class Talks(Kept):
        async def take(self, data):
            return b"x" * 50_000_000

    with Streaming(Talks, stall_seconds_max=0.1) as server, server.connected(b"a\n"):
        server.call(until(lambda: server.refused("stall_seconds_max") == 1))
        assert server.conversation().ended.wait(10)


def test_answers_that_nobody_reads_are_dropped_where_a_wire_says_so():
    class Talks(Kept):
        async def take(self, data):
            await super().take(data)
            return b"x" * 5_000_000

    with (
        Streaming(Talks, stall_seconds_max=0.01, drops_answers=True) as server,
        server.connected(b"1\n") as connection,
    ):
        conversation = server.conversation()
        for number in range(2, 6):
            count = number - 1
            server.call(until(lambda count=count: len(conversation.taken) == count))
            connection.sendall(b"%d\n" % number)
        server.call(until(lambda: server.metric("orrery_stream_answers_dropped_total") == 4))
        assert conversation.taken == [b"%d\n" % number for number in range(1, 6)]
        assert server.refused("stall_seconds_max") is None


def test_a_conversation_may_hang_up():
    class Leaves(Kept):
        async def take(self, data):
            raise HangUp("unauthenticated", b"bye\n")

    with Streaming(Leaves) as server:
        with server.connected(b"a\nb\n") as connection:
            assert until_closed(connection) == b"bye\n"
        assert server.refused("unauthenticated") == 1
        assert server.conversation().ended.wait(10)


class Panic(BaseException):
    """As the core's, which is no Exception."""


@pytest.mark.parametrize("failure", [KeyError, Panic])
def test_a_failure_is_logged_and_closes_that_connection_only(failure):
    class Fails(Kept):
        async def take(self, data):
            if data == b"fail\n":
                raise failure("unforeseen")
            return data

    log = io.StringIO()
    with Streaming(Fails, log=handler(log)) as server, server.connected(b"a\n") as other:
        assert other.recv(10) == b"a\n"
        with server.connected(b"fail\n") as connection:
            assert until_closed(connection) == b""
        other.sendall(b"b\n")
        assert other.recv(10) == b"b\n"
    assert "event=stream_failed wire=test" in log.getvalue()
    assert "unforeseen" in log.getvalue()


def test_stop_lets_what_was_taken_finish():
    with Streaming(Held) as server, server.connected() as idle:
        server.conversation()
        with server.connected(b"a\n") as connection:
            working = server.conversation(1)
            assert working.begun.wait(10)
            stopping = asyncio.run_coroutine_threadsafe(server.server.stop(), server.loop)
            assert until_closed(idle) == b""
            assert not stopping.done()
            server.loop.call_soon_threadsafe(working.release.set)
            assert until_closed(connection) == b"a\n"
            stopping.result(10)
    assert working.rest == b""


def test_stop_cuts_off_what_outlives_the_grace():
    class Told(Held):
        was_cancelled = False

        async def take(self, data):
            try:
                return await super().take(data)
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise

    with Streaming(Told, grace_seconds=0.1) as server, server.connected(b"a\n") as connection:
        conversation = server.conversation()
        assert conversation.begun.wait(10)
        server.call(server.server.stop())
        assert until_closed(connection) == b""
    assert conversation.was_cancelled
    assert conversation.rest == b""


def test_tls(certificates):
    context = ssl.create_default_context(cafile=certificates / "first.crt")
    context.check_hostname = False
    with Streaming(certificate=certificate(certificates, "first")) as server:
        with server.connected() as plain, context.wrap_socket(plain) as connection:
            connection.sendall(b"a\n" * 100_000 + b"rest")
            received = b""
            while len(received) < 200_000:
                received += connection.recv(1 << 16)
        assert received == b"a\n" * 100_000
        assert server.conversations[-1].ended.wait(10)
        assert server.conversations[-1].rest == b"rest"


def test_plain_bytes_to_a_tls_port_are_refused(certificates):
    with Streaming(certificate=certificate(certificates, "first")) as server:
        with server.connected(b"a 1 1\n") as connection:
            until_closed(connection)
        assert server.conversations == []
