import asyncio
import gzip
import io
import json
import threading

import pytest

from orrery.errors import Denied, Exhausted, Invalid
from orrery.server.exchange import scrubbed
from orrery.server.hosts import HostPolicy
from orrery.server.http import Response
from orrery.server.limits import http_limits
from orrery.settings import load
from orrery.telemetry import handler as log_handler
from tests.server.running import Running, echo, route, until, until_closed, zipped


async def large(_request):
    return Response(200, b'{"a":1}' * 1000)


async def small(_request):
    return Response(200, b"{}")


async def nothing(_request):
    return Response(204)


async def parts(_request):
    async def stream():
        for number in range(3):
            yield b"part %d\n" % number

    return Response(200, stream(), (), "text/plain")


async def broken_stream(_request):
    async def stream():
        yield b"begun\n"
        raise RuntimeError("the store fell over")

    return Response(200, stream(), (), "text/plain")


async def named(request):
    return Response(200, json.dumps(dict(request.parameters)).encode())


def failing(error):
    async def handler(_request):
        raise error

    return handler


ROUTES = [
    route("GET", "/large", large),
    route("GET", "/small", small),
    route("GET", "/nothing", nothing),
    route("GET", "/parts", parts),
    route("GET", "/broken-stream", broken_stream),
    route("GET", "/label/{name}/values", named),
    route("POST", "/raw", echo, compressed_whole=True),
    route("GET", "/invalid", failing(Invalid("cannot parse"))),
    route("GET", "/denied", failing(Denied("cannot read"))),
    route("GET", "/exhausted", failing(Exhausted("cannot write"))),
    route("GET", "/boom", failing(RuntimeError("secret detail"))),
]


@pytest.fixture(scope="module")
def log():
    return io.StringIO()


@pytest.fixture(scope="module")
def server(log):
    with Running(ROUTES, log=log_handler(log)) as running:
        yield running


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/small", 200),
        ("HEAD", "/small", 200),
        ("GET", "/nothing", 204),
        ("GET", "/missing", 404),
        ("GET", "/small/", 404),
        ("GET", "/label//values", 404),
        ("POST", "/small", 405),
        ("DELETE", "/echo", 405),
        ("OPTIONS", "/small", 405),
        ("GET", "/label/%ff/values", 400),
        ("GET", "/invalid", 422),
        ("GET", "/denied", 403),
        ("GET", "/exhausted", 429),
        ("GET", "/boom", 500),
    ],
)
def test_status(server, method, path, status):
    assert server.ask(method, path).status == status


def test_method_not_allowed_names_the_methods_that_are(server):
    answer = server.ask("POST", "/small")
    assert answer.headers["allow"] == "GET, HEAD"
    assert b"GET, HEAD" in answer.body


def test_head_has_the_length_and_no_body(server):
    answer = server.ask("HEAD", "/small")
    assert (answer.headers["content-length"], answer.body) == ("2", b"")


def test_encoded_slash_stays_in_its_part(server):
    answer = server.ask("GET", "/label/a%2Fb%20%C3%A9/values")
    assert json.loads(answer.body) == {"name": "a/b é"}


def test_unforeseen_error_hides_its_details_and_logs_them(server, log):
    answer = json.loads(server.ask("GET", "/boom").body)
    assert "secret" not in answer["error"]
    line = next(line for line in log.getvalue().splitlines() if answer["id"] in line)
    assert "event=request_failed" in line
    assert "secret detail" in log.getvalue()


def test_connection_is_kept(server):
    with server.connected() as connection:
        for number in range(3):
            connection.request("POST", "/echo", body=b"%d" % number)
            assert connection.getresponse().read() == b"%d" % number


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_encoded_body_is_decoded(server, encoding):
    answer = server.ask("POST", "/echo", zipped(b"hello" * 50_000), {"content-encoding": encoding})
    assert answer.body == b"hello" * 50_000


def test_body_encoded_twice_is_decoded_twice(server):
    body = zipped(zipped(b"hello"))
    assert server.ask("POST", "/echo", body, {"content-encoding": "gzip, gzip"}).body == b"hello"


def test_route_may_take_the_body_as_sent(server):
    body = zipped(b"hello")
    assert server.ask("POST", "/raw", body, {"content-encoding": "gzip"}).body == body


def test_chunked_body_is_joined(server):
    with server.connected() as connection:
        connection.request("POST", "/echo", body=iter([b"a" * 70_000, b"b"]), encode_chunked=True)
        assert connection.getresponse().read() == b"a" * 70_000 + b"b"


@pytest.mark.parametrize(
    ("body", "encoding", "status", "text"),
    [
        (b"x", "br", 415, "br"),
        (b"x", "gzip, gzip, gzip", 415, "at most 2"),
        (b"not gzip", "gzip", 400, "gzip"),
        (zipped(b"\0" * 50_000_000), "gzip", 413, "http_body_decompressed_bytes_max"),
        (b"\0" * 200_001, "", 413, "http_body_bytes_max"),
    ],
)
def test_body_refused(server, body, encoding, status, text):
    answer = server.ask("POST", "/echo", body, {"content-encoding": encoding})
    assert answer.status == status
    assert text in json.loads(answer.body)["error"]


def test_chunked_body_too_large_is_refused_and_answered(server):
    with server.connected() as connection:
        chunks = iter([b"a" * 50_000] * 5)
        connection.request("POST", "/echo", body=chunks, encode_chunked=True)
        assert connection.getresponse().status == 413


def test_server_lives_after_refusals(server):
    assert server.metric("orrery_request_bodies_active_bytes") == 0
    assert server.ask("POST", "/echo", b"still here").body == b"still here"


def test_large_answer_is_gzipped_where_accepted(server):
    answer = server.ask("GET", "/large", headers={"accept-encoding": "br, gzip;q=0.5"})
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == b'{"a":1}' * 1000


@pytest.mark.parametrize(
    ("path", "accepted"), [("/large", ""), ("/large", "gzip;q=0"), ("/small", "gzip")]
)
def test_answer_is_plain_where_gzip_is_not_wanted(server, path, accepted):
    answer = server.ask("GET", path, headers={"accept-encoding": accepted})
    assert "content-encoding" not in answer.headers


def test_stream_arrives_whole(server):
    assert server.ask("GET", "/parts").body == b"part 0\npart 1\npart 2\n"


def test_stream_is_gzipped_where_accepted(server):
    answer = server.ask("GET", "/parts", headers={"accept-encoding": "gzip"})
    assert gzip.decompress(answer.body) == b"part 0\npart 1\npart 2\n"


def test_stream_that_fails_is_cut_short_for_the_client_to_see(server):
    with server.raw(b"GET /broken-stream HTTP/1.1\r\nhost: x\r\n\r\n") as connection:
        answer = until_closed(connection)
    assert b"begun" in answer
    assert not answer.endswith(b"0\r\n\r\n")


def test_requests_are_counted_by_route(server):
    before = server.metric(
        "orrery_requests_total", route="/label/{name}/values", method="GET", status="200"
    )
    server.ask("GET", "/label/job/values")
    after = server.metric(
        "orrery_requests_total", route="/label/{name}/values", method="GET", status="200"
    )
    assert after - (before or 0) == 1


def test_client_that_leaves_is_told_of():
    begun, left = threading.Event(), threading.Event()

    async def waits(request):
        gone = asyncio.Event()

        def leave():
            left.set()
            gone.set()

        request.on_disconnect(leave)
        begun.set()
        await gone.wait()
        return Response(200)

    with Running([route("GET", "/waits", waits)]) as server:
        with server.raw(b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n"):
            assert begun.wait(10)
        assert left.wait(10)


def test_client_that_stays_is_not_called_gone():
    called = []

    async def answers(request):
        request.on_disconnect(lambda: called.append(1))
        return Response(200, b"ok")

    with Running([route("GET", "/", answers)]) as server:
        for _ in range(3):
            assert server.ask("GET", "/").body == b"ok"
    assert called == []


def test_too_many_requests_at_once_are_refused():
    begun = threading.Event()
    release = asyncio.Event()

    async def waits(_request):
        begun.set()
        await release.wait()
        return Response(200, b"waited")

    async def release_it():
        release.set()

    with (
        Running([route("GET", "/waits", waits)], requests_max=1) as server,
        server.raw(b"GET /waits HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n") as first,
    ):
        assert begun.wait(10)
        refused = server.ask("GET", "/waits")
        server.call(release_it())
        assert until_closed(first).endswith(b"waited")
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")


def test_bodies_together_are_bounded():
    with Running([], bodies_bytes_max=1000) as server:
        refused = server.ask("POST", "/echo", b"x" * 1001)
        taken = server.ask("POST", "/echo", b"x" * 1000)
    assert (refused.status, taken.status) == (503, 200)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:7070"}, 200),
        ({"host": "127.0.0.1"}, 200),
        ({"host": "127.8.9.1:1"}, 200),
        ({"host": "[::1]:7070"}, 200),
        ({"host": "metrics.example.org"}, 200),
        ({"host": "Metrics.Example.Org.:80"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "localhost.evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "evil@localhost"}, 403),
        ({"host": ""}, 403),
        ({"host": "192.168.1.4"}, 403),
        ({"host": "localhost", "origin": "http://localhost:3000"}, 200),
        ({"host": "localhost", "origin": "http://evil.example"}, 403),
        ({"host": "localhost", "origin": "null"}, 403),
        ({"host": "localhost", "origin": "file://"}, 403),
    ],
)
def test_host_and_origin(rebinding_server, headers, status):
    assert rebinding_server.ask("GET", "/small", headers=headers).status == status


@pytest.fixture(scope="module")
def rebinding_server():
    with Running(ROUTES, hosts=HostPolicy(["metrics.example.org"])) as running:
        yield running


def test_two_host_headers_are_refused(server):
    request = b"GET /small HTTP/1.1\r\nhost: localhost\r\nhost: evil\r\nconnection: close\r\n\r\n"
    with server.raw(request) as connection:
        assert until_closed(connection).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("db=x&u=me&p=secret", "db=x&u=me&p=..."),
        ("%70=secret", "%70=..."),
        ("q=select&token=orr_x", "q=select&token=..."),
        ("up=1", "up=1"),
        ("", ""),
    ],
)
def test_secrets_are_taken_out_of_logged_queries(query, shown):
    assert scrubbed(query) == shown


def test_slow_requests_are_logged_without_secrets():
    lines = io.StringIO()
    with Running(ROUTES, log=log_handler(lines), slow_seconds=0.0) as server:
        server.ask("GET", "/small?db=a&p=hunter2")
    assert 'url="/small?db=a&p=..."' in lines.getvalue()
    assert "hunter2" not in lines.getvalue()


def test_client_that_leaves_while_sending_is_counted_as_gone():
    with Running([]) as server:
        with server.raw(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc"):
            pass
        labels = {"route": "/echo", "method": "POST", "status": "499"}
        server.call(until(lambda: server.metric("orrery_requests_total", **labels) == 1))
        assert server.metric("orrery_request_bodies_active_bytes") == 0


def test_client_that_asks_first_is_told_to_go_on(server):
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\n"
    with server.raw(head + b"content-length: 3\r\n\r\n") as connection:
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert until_closed(connection).endswith(b"abc")


def test_client_that_asks_first_with_too_much_is_told_not_to_send(server):
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
    with server.raw(head + b"content-length: 300000\r\n\r\n") as connection:
        assert until_closed(connection).startswith(b"HTTP/1.1 413 ")


def test_pipelined_requests_are_answered_in_order(server):
    one = b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n"
    last = one.replace(b"host: x", b"host: x\r\nconnection: close")
    with server.raw(one + b"1" + one + b"2" + last + b"3") as connection:
        answers = until_closed(connection).split(b"HTTP/1.1 200 OK")
    assert [answer[-1:] for answer in answers[1:]] == [b"1", b"2", b"3"]


def test_settings_fill_the_limits():
    limits = http_limits(load(flags={"http_body_bytes_max": 7, "http_grace_seconds": 3}))
    assert (limits.body_bytes_max, limits.grace_seconds) == (7, 3)
