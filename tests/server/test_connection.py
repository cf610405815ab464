"""What bytes on one connection come to: framing, order, and what is sent ahead of an answer."""

import asyncio
import contextlib
import threading

import pytest

from orrery.server.http import Response
from tests.server.running import Running, route, until, until_closed

POST = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
LAST = b"GET /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


async def parts(_request):
    async def stream():
        yield b"one"
        yield b""
        yield b"two"

    return Response(200, stream(), (), "text/plain")


async def large(_request):
    return Response(200, b"x" * 300_000)


@pytest.fixture(scope="module")
def server():
    with Running([route("GET", "/parts", parts), route("GET", "/large", large)]) as running:
        yield running


def answers(server, *sent):
    with server.raw(*sent) as connection:
        return until_closed(connection)


def bodies(answer):
    """The last byte of each answer, which is its body's."""
    return [one[-1:] for one in answer.split(b"HTTP/1.1 200 OK")[1:]]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_request_may_come_in_any_pieces(server, cut):
    sent = POST % (5, b"hello") + POST % (1, b"2") + LAST
    pieces = [sent[at : at + cut] for at in range(0, len(sent), cut)]
    assert bodies(answers(server, *pieces))[:2] == [b"o", b"2"]


def test_a_body_behind_a_pipelined_request_is_read_when_its_turn_comes():
    begun, release = threading.Event(), asyncio.Event()

    async def waits(_request):
        begun.set()
        await release.wait()
        return Response(200, b"1")

    async def release_it():
        release.set()

    with Running([route("GET", "/waits", waits)]) as server:
        head, body = b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n" + POST % (6, b"abc"), b"def"
        with server.raw(head) as connection:
            assert begun.wait(10)
            connection.sendall(body + LAST)
            server.call(release_it())
            answer = until_closed(connection)
        assert answer.count(b"HTTP/1.1 200 OK") == 3
        assert b"abcdef" in answer
        assert server.metric("orrery_requests_active") == 0


def test_what_is_no_request_ends_the_connection_after_the_answer_before_it(server):
    answer = answers(server, POST % (1, b"1") + b"nonsense\r\n\r\n")
    assert (answer.count(b"HTTP/1.1"), answer[-1:]) == (1, b"1")
    assert b"connection: close\r\n" in answer


def test_nothing_is_answered_behind_connection_close(server):
    assert answers(server, LAST + LAST).count(b"HTTP/1.1") == 1


def test_a_client_of_http_1_0_gets_a_stream_that_ends_with_the_connection(server):
    answer = answers(server, b"GET /parts HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nonetwo")
    assert b"chunked" not in answer


def test_a_stream_is_chunked(server):
    with server.raw(b"GET /parts HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n") as connection:
        answer = until_closed(connection)
    assert answer.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


def test_head_of_a_stream_has_no_body(server):
    answer = server.ask("HEAD", "/parts")
    assert (answer.status, answer.body) == (200, b"")


def test_an_absolute_target_is_served_by_its_path(server):
    sent = LAST.replace(b"/echo", b"http://x/echo?a=1#b")
    assert answers(server, sent).startswith(b"HTTP/1.1 200 OK")


def test_trailers_are_read_over(server):
    sent = (
        b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\nhost: evil\r\n\r\n"
    )
    assert bodies(answers(server, sent + LAST))[0] == b"c"


def test_trailers_without_end_are_refused(server):
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: "
    with server.raw(head) as connection:
        with contextlib.suppress(OSError):
            for _ in range(1000):
                connection.sendall(b"a" * 10_000)
        answer = until_closed(connection)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    assert server.metric("orrery_request_bodies_active_bytes") == 0


def test_a_body_behind_an_upgrade_is_refused(server):
    """What cannot be read must not count as an empty body."""
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n"
    answer = answers(server, head + b"content-length: 3\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_an_upgrade_is_answered_in_http_1_1(server):
    head = b"GET /echo HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"
    assert answers(server, head).startswith(b"HTTP/1.1 200 OK")


def test_requests_wait_while_their_client_reads_nothing():
    counted = []

    async def counts(_request):
        counted.append(1)
        return Response(200, b"x" * 1_000_000)

    one = b"GET /counts HTTP/1.1\r\nhost: x\r\n\r\n"
    with Running([route("GET", "/counts", counts)], stall_seconds_max=0.3) as server:
        with server.raw(one * 200) as connection:
            connection.settimeout(20)
            until_closed_after_stall(server)
        assert len(counted) < 50


def until_closed_after_stall(server):
    while server.metric("orrery_connections_refused_total", reason="stall_seconds_max") != 1:
        server.call(asyncio.sleep(0.02))


def test_a_large_answer_arrives_whole(server):
    with server.connected() as connection:
        for _ in range(3):
            connection.request("GET", "/large")
            assert len(connection.getresponse().read()) == 300_000


def test_what_admit_gave_is_kept_only_for_what_came_at_once():
    """Between headers and a body that comes later, who asks may have lost the right to."""
    seen = []

    async def sees(request):
        seen.append(request.admitted)
        return Response(204)

    routes = [route("POST", "/sees", sees, admit=lambda _request: "admitted")]
    post = POST.replace(b"/echo", b"/sees")
    with Running(routes) as server, server.raw(post % (1, b"1")) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 204 ")
        connection.sendall(post % (2, b"2"))
        server.call(until(lambda: server.metric("orrery_requests_active") == 1))
        connection.sendall(b"3")
        assert connection.recv(1000).startswith(b"HTTP/1.1 204 ")
    assert seen == ["admitted", None]
