"""What one client can make the server hold, and what others notice of it."""

import gzip
import json
import socket
import threading
import time
import urllib.parse

import cramjam
import pytest

from tests.security.serving import QUIET, Server

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def small_server(tmp_path_factory):
    """Bounds small enough to be reached at once."""
    with Server(
        tmp_path_factory.mktemp("small") / "data",
        *QUIET,
        *("--http-body-bytes-max", str(MIB)),
        *("--http-body-decompressed-bytes-max", str(4 * MIB)),
        *("--http-bodies-bytes-max", str(8 * MIB)),
        *("--http-header-seconds-max", "0.5"),
        *("--http-body-seconds-max", "0.5"),
        *("--http-header-bytes-max", "8192"),
        *("--query-concurrent-max", "8"),
    ) as server:
        yield server


def bombs():
    zeros = b"\0" * (64 * MIB)
    return {
        "gzip": gzip.compress(zeros, 9),
        "zstd": bytes(cramjam.zstd.compress(zeros)),
        "snappy": bytes(cramjam.snappy.compress_raw(zeros[: 16 * MIB])),
        "deflate": bytes(cramjam.zlib.compress(zeros)),
    }


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "snappy", "deflate"])
def test_a_bomb_is_not_unpacked(small_server, encoding):
    body = bombs()[encoding]
    paths = ["/write", "/api/v2/write?bucket=b", "/api/v1/query"]
    if encoding in ("snappy", "zstd"):
        paths.append("/api/v1/write")
    for path in paths:
        answer = small_server.ask("POST", path, body, Content_Encoding=encoding)
        assert answer.status == 413, (path, answer.body)
        assert b"http_body_decompressed_bytes_max" in answer.body
    assert small_server.client().get("labels").status == 200


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_what_is_unpacked_counts_until_it_is_written(tmp_path, encoding):
    """Small bodies must not become more memory than all bodies together may take."""
    flags = ("--http-bodies-bytes-max", str(2 * MIB), *QUIET)
    with Server(tmp_path / "data", *flags) as server:
        body = b"\n".join(b"m,host=a value=1 %d" % (1000 + at) for at in range(60_000))
        sent = gzip.compress(body) if encoding == "gzip" else body
        answer = server.ask("POST", "/write", sent, Content_Encoding=encoding)
        assert answer.status == 413, answer.body
        assert answer.json["limit"]["name"] == "http_bodies_bytes_max"
        small = server.ask("POST", "/write", body[: body.index(b"\n")])
        assert small.status == 204
        held = "orrery_request_bodies_active_bytes 0.0"
        assert held in server.ask("GET", "/metrics").body.decode()


def test_a_bomb_in_a_bomb_is_not_unpacked(small_server):
    body = gzip.compress(gzip.compress(b"\0" * (64 * MIB), 9), 9)
    answer = small_server.ask("POST", "/api/v1/query", body, Content_Encoding="gzip, gzip")
    assert answer.status == 413
    answer = small_server.ask("POST", "/api/v1/query", body, Content_Encoding="gzip, gzip, gzip")
    assert answer.status == 415


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"408"),
        (b"POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx", b"408"),
        (
            b"POST /write HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx",
            b"408",
        ),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\nY: z\r\n", b"431"),
        (b"GET /" + b"x" * 20_000, b"431"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5000 + b"\r\n", b"431"),
        (b"", b""),
    ],
)
def test_the_slow_and_the_endless_are_cut_off(small_server, sent, status):
    with socket.create_connection(("127.0.0.1", small_server.port), timeout=20) as connection:
        connection.sendall(sent)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except ConnectionResetError:
            pass
    assert answer[9:12] == status, answer


def test_many_slow_clients_leave_room_for_others(small_server):
    connections = []
    try:
        for _ in range(300):
            connection = socket.create_connection(("127.0.0.1", small_server.port), timeout=20)
            connection.sendall(
                b"POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
            )
            connections.append(connection)
        assert small_server.client().get("labels").status == 200
    finally:
        for connection in connections:
            connection.close()


# --- data and queries that are too much


def test_a_label_explosion_stays_within_its_tenant(open_server):
    open_server.limit("exploding", active_series=100)
    exploding, quiet = open_server.client("exploding"), open_server.client("quiet")
    body = "\n".join(f"m,id={at} value=1 1000" for at in range(20_000))
    answer = exploding.write_lines(body)
    assert answer.status == 400
    assert len(answer.body) < 100_000
    labels = ",".join(f"l{at}=x" for at in range(10_000))
    assert exploding.write_lines(f"m,{labels} value=1 1000").status == 400
    assert quiet.write_lines("m value=1 1000").status == 204
    assert len(exploding.query("m")) == 100


@pytest.mark.parametrize(
    "promql",
    [
        "(" * 5000 + "up" + ")" * 5000,
        "-" * 20_000 + "1",
        "abs(" * 3000 + "up" + ")" * 3000,
        "up" + "[1h:1s]" * 500,
        "+".join(["up"] * 20_000),
        'up{a=~"' + "(" * 3000 + "x" + ")" * 3000 + '"}',
        'up{a=~"(x{1000}){1000}{1000}"}',
        'up{a=~"((a*)*)*b"}',
        'up{a=~"' + "|".join("x" * 10 for _ in range(20_000)) + '"}',
        'label_replace(up, "x", "$1", "y", "(x{1000}){1000}")',
        "{" + ",".join(f'a{at}="x"' for at in range(5000)) + "}",
        "1" * 100_000,
        '"' + "\\u0041" * 50_000 + '"',
        "up offset 99999999999999999y",
        "vector(1) or " * 3000 + "vector(1)",
        "\x00",
        "{",
    ],
)
def test_a_question_meant_to_hurt_is_answered_soon(open_server, promql):
    client = open_server.client("deep")
    begun = time.process_time()
    answer = client.ask("POST", "/api/v1/query", f"query={quote(promql)}".encode(), **FORM)
    assert answer.status in (200, 400, 422), answer.body[:300]
    assert client.get("labels").status == 200
    assert time.process_time() - begun < 5


FORM = {"Content_Type": "application/x-www-form-urlencoded"}


def quote(text):
    return urllib.parse.quote(text, safe="")


@pytest.fixture(scope="module")
def heavy(small_server):
    """A tenant with enough samples to keep a query busy for long."""
    client = small_server.client("heavy")
    for block in range(20):
        lines = "\n".join(
            f"m,id={series} value={at} {1000 + 50 * block + at}"
            for series in range(100)
            for at in range(50)
        )
        assert client.write_lines(lines).status == 204
    return client


HEAVY = "sum(max_over_time(sum_over_time({__name__=~'.+'}[10m])[6h:100ms]))"


def test_one_tenant_does_not_hold_up_another(small_server, heavy):
    threads = [
        threading.Thread(target=lambda: heavy.get("query", ("query", HEAVY), ("time", "2000")))
        for _ in range(12)
    ]
    small_server.limit("heavy", query_seconds=3)
    for thread in threads:
        thread.start()
    quiet = small_server.client("quiet")
    begun = time.monotonic()
    for _ in range(5):
        assert quiet.get("query", ("query", "vector(1)")).status == 200
    seconds = time.monotonic() - begun
    for thread in threads:
        thread.join()
    assert seconds < 3, seconds


def test_a_query_ends_when_its_client_leaves(small_server, heavy):
    small_server.limit("heavy", query_seconds=100)
    before = cancelled(small_server)
    with small_server.connected() as connection:
        connection.request(
            "GET",
            f"/api/v1/query?query={quote(' + '.join([HEAVY] * 8))}&time=2000",
            headers={"X-Scope-OrgID": "heavy"},
        )
        time.sleep(0.1)
    deadline = time.monotonic() + 10
    while cancelled(small_server) == before:
        assert time.monotonic() < deadline


def cancelled(server):
    for line in server.ask("GET", "/metrics").body.decode().splitlines():
        if line.startswith("orrery_queries_total") and 'outcome="cancelled"' in line:
            return float(line.split()[-1])
    return 0.0


def test_errors_tell_nothing_of_the_machine(open_server):
    directory = str(open_server.directory).encode()
    open_server.client("told-nothing-of").write_lines("m v=1 1000")
    for method, path, body in [
        ("POST", "/write", b"bad line"),
        ("POST", "/api/v1/write", b"\xff" * 100),
        ("GET", "/api/v1/query?query=" + "%00", None),
        ("GET", "/api/admin/v1/tenants/told-nothing-of", None),
        ("GET", "/nowhere", None),
        ("PUT", "/write", b""),
    ]:
        answer = open_server.ask(method, path, body)
        assert answer.status >= 400
        for told in (directory, b"Traceback", b"told-nothing-of", b".py", b"site-packages"):
            assert told not in answer.body, answer.body
        assert json.loads(answer.body)
