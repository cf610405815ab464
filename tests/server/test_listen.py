import asyncio
import contextlib
import http.client
import os
import socket
import ssl
import stat
import threading

import pytest

from orrery.errors import Invalid, Unavailable
from orrery.server.http import Response
from orrery.server.listen import TcpListener, UnixListener, parse_address
from orrery.server.unix import short_path
from tests.server.running import Running, certificate, route, until, until_closed

REQUEST = b"GET /echo HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7070", ("127.0.0.1", 7070)),
        ("[::1]:7070", ("::1", 7070)),
        (":7070", ("0.0.0.0", 7070)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_address(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "localhost", "localhost:", "::1:80", "a:65536", "a:-1", "a:x"]
)
def test_address_refused(text):
    with pytest.raises(Invalid, match="cannot listen on"):
        parse_address(text)


def test_port_in_use_is_named():
    with Running([]) as first, pytest.raises(Unavailable, match=f"port {first.port}"):
        Running([], listeners=[TcpListener("127.0.0.1", first.port)]).__enter__()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /echo HTTP/1.1\r\nhost: x\r\n", b"408"),
        (b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc", b"408"),
        (b"GET /echo HTTP/1.1\r\nx: " + b"a" * 5000 + b"\r\n\r\n", b"431"),
        (b"GET /echo HTTP/1.1\r\n" + b"a: b\r\n" * 1000 + b"\r\n", b"431"),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /echo HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", b"400"),
        (b"POST /echo HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"400"),
        (
            b"POST /echo HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            b"400",
        ),
    ],
)
def test_bad_client_is_answered_and_closed(sent, status):
    with Running([], header_seconds_max=0.2, body_seconds_max=0.2) as server:
        with server.raw(sent) as connection:
            assert until_closed(connection).split(b" ")[1] == status
        assert server.ask("GET", "/echo").status == 200


def test_headers_that_never_end_are_refused():
    with Running([]) as server, server.raw(b"GET /echo HTTP/1.1\r\nx: ") as connection:
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b"a" * 1000)
        assert server.metric("orrery_connections_refused_total", reason="header_bytes_max") == 1


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n", REQUEST])
def test_idle_connection_is_closed(sent):
    limits = {"header_seconds_max": 0.2, "keep_alive_seconds": 0.2}
    with Running([], **limits) as server, server.raw(sent) as connection:
        until_closed(connection)


def test_client_that_reads_nothing_is_cut_off():
    async def endless(_request):
        async def stream():
            while True:
                yield b"x" * 100_000

        return Response(200, stream())

    with Running([route("GET", "/endless", endless)], stall_seconds_max=0.2) as server:
        with server.raw(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n") as connection:
            connection.recv(10)
            server.call(until(lambda: server.metric("orrery_connections") == 0))
        assert server.metric("orrery_connections_refused_total", reason="stall_seconds_max") == 1


def test_too_many_connections_are_refused():
    with Running([], connections_max=1) as server, server.connected() as first:
        first.request("GET", "/echo")
        first.getresponse().read()
        with server.raw() as second:
            answer = until_closed(second)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1\r\n" in answer


def test_stop_lets_a_request_finish():
    begun = threading.Event()
    release = asyncio.Event()

    async def waits(_request):
        begun.set()
        await release.wait()
        return Response(200, b"finished")

    async def release_it():
        release.set()

    sent = b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n"
    with Running([route("GET", "/waits", waits)]) as server, server.raw(sent) as connection:
        assert begun.wait(10)
        stopping = server.start_call(server.server.stop())
        server.call(release_it())
        stopping.result(10)
        assert until_closed(connection).endswith(b"finished")


def test_stop_cancels_what_outlives_the_grace():
    begun, left = threading.Event(), threading.Event()

    async def waits(request):
        request.on_disconnect(left.set)
        begun.set()
        await asyncio.Event().wait()

    routes = [route("GET", "/waits", waits)]
    sent = b"GET /waits HTTP/1.1\r\nhost: x\r\n\r\n"
    with Running(routes, grace_seconds=0.1) as server, server.raw(sent) as connection:
        assert begun.wait(10)
        server.call(server.server.stop())
        assert b" 503 " in until_closed(connection)
    assert left.is_set()


def test_unix_socket_is_for_its_owner_only(tmp_path):
    path = tmp_path / ("long" * 40) / "admin.sock"
    path.parent.mkdir()
    listeners = [TcpListener("127.0.0.1", 0), UnixListener(path)]
    with Running([], listeners=listeners):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as connection, short_path(path) as short:
            connection.connect(short)
            connection.sendall(b"GET /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert b"x-peer: unix\r\n" in until_closed(connection)
    assert os.listdir(path.parent) == []


def test_socket_file_of_a_killed_server_is_replaced(tmp_path):
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    with Running([], listeners=[TcpListener("127.0.0.1", 0), UnixListener(path)]) as server:
        assert server.server.urls[1] == f"unix:{path}"


def served_name(port, trusted):
    context = ssl.create_default_context(cafile=trusted)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        return dict(pair[0] for pair in secure.getpeercert()["subject"])["commonName"]


def test_tls(certificates):
    listener = TcpListener("127.0.0.1", 0, certificate(certificates, "first"))
    with Running([], listeners=[listener]) as server:
        context = ssl.create_default_context(cafile=certificates / "first.crt")
        connection = http.client.HTTPSConnection(
            "localhost", server.port, timeout=10, context=context
        )
        connection.request("POST", "/echo", body=b"a" * 100_000)
        assert connection.getresponse().read() == b"a" * 100_000
        connection.close()
        assert server.server.urls == (f"https://127.0.0.1:{server.port}",)


def test_tls_below_1_2_is_refused(certificates):
    listener = TcpListener("127.0.0.1", 0, certificate(certificates, "first"))
    assert listener.certificate.context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_certificate_is_read_again(certificates, tmp_path):
    for kind in ("crt", "key"):
        (tmp_path / f"live.{kind}").write_bytes((certificates / f"first.{kind}").read_bytes())
    listener = TcpListener("127.0.0.1", 0, certificate(tmp_path, "live"))
    with Running([], listeners=[listener]) as server:
        assert served_name(server.port, certificates / "first.crt") == "first"
        (tmp_path / "live.crt").write_bytes((certificates / "second.crt").read_bytes())
        server.server.reload_certificates()
        assert served_name(server.port, certificates / "first.crt") == "first", "key does not fit"
        (tmp_path / "live.key").write_bytes((certificates / "second.key").read_bytes())
        server.server.reload_certificates()
        assert served_name(server.port, certificates / "second.crt") == "second"


def test_certificate_that_is_missing_is_named(tmp_path):
    with pytest.raises(Invalid, match="cannot load certificate"):
        certificate(tmp_path, "absent")
