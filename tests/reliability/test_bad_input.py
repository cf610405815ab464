"""Bad input of each kind at each door of a running server: the exact status, an error that names
the place, and a server that goes on answering."""

import gzip
import json
import socket
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import cramjam
import pytest

from tests.kernels.prometheus_messages import request_1, with_histograms
from tests.reliability import remote_write
from tests.reliability.serving import Orrery

SETTINGS = """
disk_free_bytes_min = 0
http_body_bytes_max = 1_000_000
http_body_decompressed_bytes_max = 4_000_000
http_header_bytes_max = 8192
[limits]
label_count = 30
label_bytes = 200
sample_future_seconds = 600
"""
SECOND = 1_700_000_000
GOOD = f"good,series=1 value=1 {SECOND}000000000"
PROTOBUF = remote_write.HEADERS
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BOMB = b"\0" * 5_000_000
READ = "/api/v1/query"
RANGE = "/api/v1/query_range"
DELETE = "/api/v1/admin/tsdb/delete_series"
WRITE = "/api/v1/write"


def proto(*series: tuple[dict[str, str], list[tuple[int, float]]]) -> bytes:
    return remote_write.body(series)


def labels(count: int) -> dict[str, str]:
    return {"__name__": "many", **{f"l{number:04}": "x" for number in range(count)}}


def held(histogram: dict[str, object]) -> bytes:
    series = [([("__name__", "m")], [])]
    return with_histograms(request_1(series), 1, [{**histogram, "timestamp": SECOND * 1000}])


def snappy(content: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(content))


@dataclass(frozen=True, slots=True)
class Case:
    status: int
    place: str
    method: str
    path: str
    body: bytes | str | None = None
    headers: dict[str, str] = field(default_factory=dict)


def line(status: int, place: str, body: bytes | str, path: str = "/write", **headers: str) -> Case:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Case(status, place, "POST", path, body, named)


def put(status: int, place: str, body: bytes | str, **headers: str) -> Case:
    return line(status, place, body, "/api/put", **headers)


def data_point(**changed: object) -> str:
    whole = {"metric": "m", "timestamp": SECOND, "value": 1, "tags": {"a": "b"}, **changed}
    return json.dumps(whole)


def remote(status: int, place: str, body: bytes, **headers: str) -> Case:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Case(status, place, "POST", WRITE, body, {**PROTOBUF, **named})


def gts(status: int, place: str, body: bytes | str, path: str = "update", **headers: str) -> Case:
    return line(status, place, body, f"/api/v0/{path}", **headers)


def get(status: int, place: str, path: str, **headers: str) -> Case:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Case(status, place, "GET", path, None, named)


def otlp(status: int, place: str, body: bytes | str, **headers: str) -> Case:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Case(status, place, "POST", "/v1/metrics", body, {**JSON, **named})


def points(*attributes: dict[str, object], time: object = f"{SECOND}000000000") -> str:
    """A request with one data point."""
    point = {"timeUnixNano": time, "asDouble": 1.5, "attributes": attributes}
    metric = {"name": "room", "gauge": {"dataPoints": [point]}}
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]})


def attribute(key: str, value: str) -> dict[str, object]:
    return {"key": key, "value": {"stringValue": value}}


CASES = {
    # --- any door
    "unknown path": get(404, "/nowhere", "/nowhere"),
    "wrong method on write": get(405, "POST", "/write"),
    "wrong method on read": Case(405, "GET", "DELETE", READ),
    "wrong host": get(403, "evil.example", READ, Host="evil.example"),
    "wrong origin": get(403, "evil.example", READ, Origin="http://evil.example"),
    "tenant with a slash": get(400, "a/b", f"{READ}?query=1", X_Scope_OrgID="a/b"),
    "two tenants": get(400, "a|b", f"{READ}?query=1", X_Scope_OrgID="a|b"),
    "tenant too long": get(400, "tenant", f"{READ}?query=1", X_Scope_OrgID="t" * 2000),
    "body too long": line(413, "1000000", "x" * 1_000_001),
    "path with a bad escape": get(404, "%zz", "/%zz"),
    # --- Warp 10
    "warp 10 line without a value": gts(500, "Missing value", "1// c{}"),
    "warp 10 line with a bad value": gts(500, "line 2: Parse error", "1// c{} 1\n2// c{} x"),
    "warp 10 line with a bad location": gts(500, "location", "1/48.1:200/ c{} 1"),
    "warp 10 line with a multi-value": gts(500, "multi-values", "1// c{} [1 2]"),
    "warp 10 line in the far future": gts(500, "future", f"{2**52}// c{{}} 1"),
    "warp 10 line that is no UTF-8": gts(500, "UTF-8", b"1// c{a=\xff} 1"),
    "warp 10 line with too many labels": gts(
        500, "30", "// c{" + ",".join(f"l{n}=x" for n in range(40)) + "} 1"
    ),
    "warp 10 bomb": gts(413, "4000000", gzip.compress(BOMB), Content_Type="application/gzip"),
    "warp 10 gzip cut short": gts(
        500, "gzip", gzip.compress(b"1// c{} 1" * 99)[:-9], Content_Type="application/gzip"
    ),
    "warp 10 encoding": gts(415, "br", "1// c{} 1", Content_Encoding="br"),
    "warp 10 metadata without attributes": gts(400, "no attributes", "c{}", "meta"),
    "warp 10 fetch without a time": get(400, "now/timespan", "/api/v0/fetch?selector=c%7B%7D"),
    "warp 10 fetch with a bad expression": get(
        400, "unclosed", "/api/v0/fetch?selector=~(%7B%7D&now=now&count=1"
    ),
    "warp 10 find with an unknown argument": get(
        400, "nonsense", "/api/v0/find?selector=c%7B%7D&nonsense=1"
    ),
    "warp 10 delete of everything unasked": get(
        400, "deleteall", "/api/v0/delete?selector=c%7B%7D"
    ),
    # --- line protocol
    "line without fields": line(400, "unable to parse", "cpu,host=a"),
    "line without fields in version 2": line(
        400, "unable to parse", "cpu,host=a", "/api/v2/write?org=o&bucket=b"
    ),
    "line with a bad value": line(400, "value=abc", f"cpu value=abc {SECOND}"),
    "line with an open string": line(400, "unbalanced quotes", 'cpu value="abc'),
    "line with a bad time": line(400, "bad timestamp", "cpu value=1 soon"),
    "line with a time beyond 64 bits": line(400, "9223372036854775808", f"c v=1 {2**63}"),
    "line in the far future": line(400, "future", f"cpu value=1 {2**62}"),
    "line that is no UTF-8": line(400, "UTF-8", b"cpu,host=\xff\xfe value=1"),
    "line with a tag twice": line(400, "duplicate", f"cpu,a=1,a=2 value=1 {SECOND}"),
    "line with too many tags": line(
        400, "30", "cpu," + ",".join(f"t{n}=x" for n in range(40)) + " value=1"
    ),
    "line with a long tag": line(400, "200", f"cpu,host={'h' * 300} value=1"),
    "line with an unknown precision": line(400, "parsecs", GOOD, "/write?precision=parsecs"),
    "broken gzip": line(400, "gzip", b"\x1f\x8b broken", Content_Encoding="gzip"),
    "gzip cut short": line(
        400, "gzip", gzip.compress(GOOD.encode() * 99)[:-9], Content_Encoding="gzip"
    ),
    "gzip bomb": line(413, "4000000", gzip.compress(BOMB), Content_Encoding="gzip"),
    "deflate bomb": line(413, "4000000", zlib.compress(BOMB), Content_Encoding="deflate"),
    "zstd bomb": line(413, "4000000", bytes(cramjam.zstd.compress(BOMB)), Content_Encoding="zstd"),
    "unknown encoding": line(415, "brotli", GOOD, Content_Encoding="brotli"),
    # --- OpenTSDB
    "data point of no JSON": put(400, "byte 1", "{metric}"),
    "data point cut short": put(400, "data point 1", '{"metric":"m"'),
    "data points in a string": put(400, "object or an array", '"metric"'),
    "no data points": put(400, "No datapoints", "[]"),
    "data point without tags": put(400, "Missing tags", data_point(tags={})),
    "data point with a word for a value": put(400, "to a number", data_point(value="much")),
    "data point with an object for a value": put(400, "value is an object", data_point(value={})),
    "data point without a time": put(400, "Invalid timestamp", data_point(timestamp=None)),
    "data point beyond time": put(400, "bad timestamp", data_point(timestamp=10**15)),
    "data point in the far future": put(400, "future", data_point(timestamp=2**32 - 1)),
    "data point too large to be a number": put(400, "Infinity", data_point(value="1e999")),
    "data point that is no UTF-8": put(
        400, "UTF-8", b'{"metric":"\xff","timestamp":1,"value":1,"tags":{"a":"b"}}'
    ),
    "data point with a reserved tag": put(400, "reserved", data_point(tags={"__db__": "x"})),
    "data point with too many tags": put(
        400, "30", data_point(tags={f"t{number}": "x" for number in range(40)})
    ),
    "data point with very many tags": put(
        400, "label", data_point(tags={f"t{number}": "x" for number in range(40_000)})
    ),
    "data point with a long tag": put(400, "200", data_point(tags={"host": "h" * 300})),
    "data point nested deep": put(400, "deeper", data_point(x=json.loads("[" * 99 + "]" * 99))),
    "data point nested very deep": put(400, "deeper", '{"x":' + "[" * 400_000),
    "more bad data points than are told": put(400, "rejected_max", f"[{'{},' * 20_000}{{}}]"),
    "data points of a gzip bomb": put(413, "4000000", gzip.compress(BOMB), Content_Encoding="gzip"),
    "data points of an unknown encoding": put(415, "brotli", "[]", Content_Encoding="brotli"),
    "rollups": Case(501, "raw data points", "POST", "/api/rollup", "[]"),
    "put by GET": get(405, "POST", "/api/put"),
    # --- remote write
    "broken snappy": remote(400, "snappy", b"\xff\xff\xff"),
    "snappy bomb": remote(413, "4000000", snappy(BOMB)),
    "broken zstd": remote(400, "zstd", b"nothing", Content_Encoding="zstd"),
    "broken protobuf": remote(400, "cannot decode", snappy(b"\x0a\xff\xff\xff\xff\x0f")),
    "protobuf of a wrong type": remote(400, "cannot decode", snappy(b"\x08\x01\x0a\x01")),
    "histogram that counts what it does not hold": remote(
        400, "its count is 3", snappy(held({"count_int": 3}))
    ),
    "histogram with a span that has no end": remote(
        400,
        "4294967295",
        snappy(held({"count_int": 1, "positive_spans": [{"offset": 0, "length": 2**32 - 1}]})),
    ),
    "wrong content type": remote(415, "text/csv", b"", Content_Type="text/csv"),
    "unknown message": remote(415, "x.Y", b"", Content_Type="application/x-protobuf;proto=x.Y"),
    "unknown encoding of remote write": remote(415, "lz4", b"", Content_Encoding="lz4"),
    "series without a name": remote(400, "name", proto(({"a": "b"}, [(SECOND * 1000, 1.0)]))),
    "series with an empty label name": remote(
        400, "label", proto(({"__name__": "m", "": "b"}, [(SECOND * 1000, 1.0)]))
    ),
    "series with too many labels": remote(400, "30", proto((labels(40), [(SECOND * 1000, 1.0)]))),
    "series with very many labels": remote(
        400, "label", proto((labels(5000), [(SECOND * 1000, 1.0)]))
    ),
    "series with a long label": remote(
        400, "200", proto(({"__name__": "m", "a": "b" * 300}, [(SECOND * 1000, 1.0)]))
    ),
    "sample in the far future": remote(400, "future", proto(({"__name__": "m"}, [(2**42, 1.0)]))),
    "sample beyond 64 bits of nanoseconds": remote(
        400, "time", proto(({"__name__": "m"}, [(2**62, 1.0)]))
    ),
    # --- OTLP
    "OTLP that is no JSON": otlp(400, "line 1 column 1", "up 1"),
    "OTLP of another shape": otlp(400, "an array in resource_metrics", '{"resourceMetrics": 1}'),
    "OTLP nested too deep": otlp(400, "EOF", '{"x":' + "[" * 100_000),
    "OTLP with a bad number": otlp(400, "time_unix_nano", points(time="soon")),
    "OTLP without a time": otlp(400, "time_unix_nano is missing", points(time=0)),
    "OTLP in the far future": otlp(400, "future", points(time=2**62)),
    "OTLP with too many attributes": otlp(
        400, "30", points(*(attribute(f"a{n}", "x") for n in range(40)))
    ),
    "OTLP with very many attributes": otlp(
        400, "attributes_max 1024", points(*(attribute(f"a{n}", "x") for n in range(2000)))
    ),
    "OTLP with a long attribute": otlp(400, "200", points(attribute("a", "x" * 300))),
    "OTLP with a reserved label": otlp(400, "__rp__", points(attribute("__rp__", "x"))),
    "OTLP in an unknown encoding": otlp(415, "br", points(), Content_Encoding="br"),
    "OTLP bomb": otlp(413, "4000000", gzip.compress(BOMB), Content_Encoding="gzip"),
    "OTLP in broken gzip": otlp(400, "gzip", b"\x1f\x8b broken", Content_Encoding="gzip"),
    # --- PromQL
    "no query": get(400, "query", READ),
    "empty query": get(400, "query", f"{READ}?query="),
    "query that does not parse": get(400, "1:6", f"{READ}?query=sum(("),
    "unknown function": get(400, "frobnicate", f"{READ}?query=frobnicate(up)"),
    "bad regex": get(400, "query", f"{READ}?query=up%7Ba%3D~%22(%22%7D"),
    "bad time": get(400, "time", f"{READ}?query=up&time=yesterday"),
    "NaN time": get(400, "time", f"{READ}?query=up&time=NaN"),
    "infinite time": get(400, "time", f"{READ}?query=up&time=%2BInf"),
    "time beyond 64 bits": get(400, "time", f"{READ}?query=up&time=1e30"),
    "bad timeout": get(400, "timeout", f"{READ}?query=up&timeout=soon"),
    "query that is no UTF-8": get(400, "query", f"{READ}?query=%ff"),
    "query nested too deep": get(400, "query", f"{READ}?query={'(' * 3000}up{')' * 3000}"),
    "range without a start": get(400, "start", f"{RANGE}?query=up&end=2&step=1"),
    "range without an end": get(400, "end", f"{RANGE}?query=up&start=2&step=1"),
    "range without a step": get(400, "step", f"{RANGE}?query=up&start=1&end=2"),
    "end before start": get(400, "end", f"{RANGE}?query=up&start=2&end=1&step=1"),
    "zero step": get(400, "step", f"{RANGE}?query=up&start=1&end=2&step=0"),
    "negative step": get(400, "step", f"{RANGE}?query=up&start=1&end=2&step=-1"),
    "NaN step": get(400, "step", f"{RANGE}?query=up&start=1&end=2&step=NaN"),
    "infinite step": get(400, "step", f"{RANGE}?query=up&start=1&end=2&step=Inf"),
    "too many steps": get(400, "11,000", f"{RANGE}?query=up&start=1&end=20000&step=1"),
    "matrix over a range": get(400, "range", f"{RANGE}?query=up[5m]&start=1&end=2&step=1"),
    "form that is no UTF-8": Case(400, "query", "POST", READ, b"query=%ff", FORM),
    # --- the rest of the API
    "series without a matcher": get(400, "match[]", "/api/v1/series"),
    "series with a bad matcher": get(400, "match[]", "/api/v1/series?match[]=%7Ba"),
    "series with an empty matcher": get(400, "match[]", "/api/v1/series?match[]=%7B%7D"),
    "bad limit": get(400, "limit", "/api/v1/labels?limit=-1"),
    "bad label name": get(400, "label", "/api/v1/label/%ff/values"),
    "delete without a matcher": Case(400, "match[]", "POST", DELETE),
    "delete by a bad matcher": Case(400, "match[]", "POST", f"{DELETE}?match[]=up%7B"),
    "delete in a bad range": Case(400, "start", "POST", f"{DELETE}?match[]=up&start=x"),
    "delete backwards": Case(400, "end", "POST", f"{DELETE}?match[]=up&start=9&end=3"),
    "delete by GET": get(405, "POST", f"{DELETE}?match[]=up"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orrery]:
    with Orrery(tmp_path_factory.mktemp("server"), SETTINGS) as running:
        assert running.write(GOOD)[0] == 204
        yield running
        # Nothing that came in was an error of the server's own.
        assert running.events()["request_failed"] == 0, running.said()[-3000:]
        running.stop()


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_by_name(server: Orrery, name: str) -> None:
    case = CASES[name]
    status, body = server.ask(case.method, case.path, case.body, case.headers)
    assert (status, case.place in body.decode()) == (case.status, True), (status, body[:500])
    if case.path.startswith("/api/v0/"):
        # Warp 10 answers with text.
        assert body.strip()
    else:
        told = json.loads(body)
        assert told.get("error") or told.get("message")
    assert server.samples("good", SECOND, SECOND + 1) == {(1, SECOND): 1.0}


def raw(server: Orrery, content: bytes) -> bytes:
    """What comes back before the server closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(content)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


RAW = {
    "no HTTP": (b"\x16\x03\x01 hello\r\n\r\n", b"400"),
    "headers too long": (
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"431",
    ),
    "line too long": (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"431"),
    "bad length": (b"POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", b"400"),
    "bad chunk": (
        b"POST /write HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"400",
    ),
    "length and chunks": (
        b"POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"400",
    ),
}


@pytest.mark.parametrize("name", RAW)
def test_what_is_no_request_is_answered_and_closed(server: Orrery, name: str) -> None:
    content, status = RAW[name]
    answer = raw(server, content)
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:300]
    assert server.samples("good", SECOND, SECOND + 1) == {(1, SECOND): 1.0}


def test_good_lines_among_bad_ones_are_kept_and_the_bad_ones_named(server: Orrery) -> None:
    at = SECOND + 5
    status, body = server.write(
        f"kept,series=1 value=1 {at}000000000\nbad\nkept,series=2 value=2 {at}000000000\nworse x"
    )
    assert status == 400
    told = json.loads(body)
    assert "partial write" in told["error"]
    assert [row["line"] for row in told["rejected"]] == [2, 4]
    assert server.samples("kept", at - 1, at + 1) == {(1, at): 1.0, (2, at): 2.0}
