"""Line protocol over HTTP: where it goes, and what is answered in InfluxDB's words."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orrery.errors import Corrupt, Denied, Excess, Exhausted, Invalid, Unavailable
from orrery.protocols.influxdb.write import routes
from orrery.tenancy.access import Unauthenticated
from tests.protocols.writing import (
    FakeAccept,
    FakeAccess,
    FakeCaller,
    answer_to,
    executor,
    parts,
    request_for,
)

SIZE_BYTES_MAX = 10_000


@pytest.fixture(scope="module")
def pool():
    with executor() as pool:
        yield pool


@pytest.fixture
def write(pool):
    """Writes to the path with the query; keeps what it was made of as attributes."""

    def send(body=b"cpu,host=a value=1 1", query="db=metrics", *, path="/write", **headers):
        mounted = routes(parts(send.access, send.accept, pool, size_bytes_max=SIZE_BYTES_MAX))
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return answer_to(mounted, request_for("POST", path, query=query, headers=named, body=body))

    send.access, send.accept = FakeAccess(), FakeAccept()
    return send


def error_of(response) -> str:
    return json.loads(response.body)["error"]


@pytest.mark.parametrize(
    ("path", "query", "labels"),
    [
        ("/write", "db=metrics", []),
        ("/write", "", []),
        ("/write", "db=&rp=", []),
        ("/write", "db=metrics&rp=autogen", []),
        ("/write", "db=metrics&rp=", []),
        ("/influxdb/write", "db=telegraf", [("__db__", "telegraf")]),
        ("/write", "db=telegraf&rp=week", [("__db__", "telegraf"), ("__rp__", "week")]),
        ("/write", "db=metrics&rp=week", [("__rp__", "week")]),
        ("/write", "db=d%C3%A9&u=a&p=b&consistency=all", [("__db__", "d\u00e9")]),
        ("/api/v2/write", "org=o&bucket=metrics", []),
        ("/api/v2/write", "bucket=metrics%2Fautogen", []),
        ("/api/v2/write", "bucket=telegraf/", [("__db__", "telegraf")]),
        ("/influxdb/api/v2/write", "bucket=tele/a/b", [("__db__", "tele"), ("__rp__", "a/b")]),
    ],
)
def test_database_and_policy_are_reserved_labels(write, path, query, labels):
    response = write(query=query, path=path)
    assert (response.status, response.body) == (204, b"")
    assert ("x-orrery-acknowledgement", "fsynced") in response.headers
    assert write.access.asked == [("write", "influxdb")]
    expected = sorted([*labels, ("host", "a")])
    assert write.accept.stored == [("t1", "cpu", "", expected, 1, 1.0)]


def test_labels_of_the_token_stand_over_all_others(write):
    write.access.answer = FakeCaller("t2", (("__db__", "own"), ("host", "forced")))
    assert write(query="db=other").status == 204
    [(tenant, _, _, labels, _, _)] = write.accept.stored
    assert (tenant, labels) == ("t2", [("__db__", "own"), ("host", "forced")])


@pytest.mark.parametrize(
    ("path", "precision", "time_ns"),
    [
        ("/write", "", 7),
        ("/write", "n", 7),
        ("/write", "ns", 7),
        ("/write", "u", 7_000),
        ("/write", "us", 7_000),
        ("/write", "ms", 7_000_000),
        ("/write", "s", 7_000_000_000),
        ("/write", "m", 420_000_000_000),
        ("/write", "h", 25_200_000_000_000),
        ("/api/v2/write", "", 7),
        ("/api/v2/write", "ns", 7),
        ("/api/v2/write", "us", 7_000),
        ("/api/v2/write", "ms", 7_000_000),
        ("/api/v2/write", "s", 7_000_000_000),
    ],
)
def test_precision_scales_times(write, path, precision, time_ns):
    query = f"db=metrics&bucket=metrics&precision={precision}"
    assert write(b"cpu v=1 7", query, path=path).status == 204
    assert write.accept.stored[0][4] == time_ns


@pytest.mark.parametrize(
    ("path", "query", "status", "message"),
    [
        ("/write", "db=a&precision=d", 400, 'invalid precision "d" (use n, u, ms, s, m or h)'),
        ("/write", "db=a&consistency=some", 400, "invalid consistency level"),
        ("/write", "db=%ff", 400, "cannot read query 'db=%ff': it is not UTF-8"),
        (
            "/api/v2/write",
            "bucket=a&precision=m",
            400,
            'invalid precision "m" (use ns, us, ms or s)',
        ),
        (
            "/api/v2/write",
            "bucket=/a",
            404,
            'bucket name "/a" is in db/rp form but has an empty database',
        ),
        (
            "/api/v2/write",
            "org=o",
            404,
            'bucket name "" is missing a slash; not in "database/retention-policy" format',
        ),
    ],
)
def test_wrong_arguments_are_named(write, path, query, status, message):
    response = write(query=query, path=path)
    assert response.status == status
    body = json.loads(response.body)
    assert body.get("error", body.get("message")) == message
    assert write.accept.stored == []


def test_bad_lines_leave_the_good_ones(write):
    response = write(b"cpu value=1 1\ncpu value=\ncpu,a=1,a=2 x=1,y=2 2\ncpu value=2 2")
    assert response.status == 400
    assert json.loads(response.body) == {
        "error": "partial write: unable to parse 'cpu value=': missing field value\n"
        "unable to parse 'cpu,a=1,a=2 x=1,y=2 2': duplicate tags dropped=2",
        "rejected": [
            {"line": 2, "reason": "unable to parse 'cpu value=': missing field value"},
            {"line": 3, "reason": "unable to parse 'cpu,a=1,a=2 x=1,y=2 2': duplicate tags"},
        ],
    }
    assert ("x-orrery-acknowledgement", "fsynced") in response.headers
    [shown] = [value for name, value in response.headers if name == "x-influxdb-error"]
    assert shown.startswith("partial write: unable to parse 'cpu value=': missing field value una")
    assert len(write.accept.stored) == 2


def test_a_write_without_a_good_line_is_no_partial_write(write):
    response = write(b"cpu\nmem")
    assert response.status == 400
    assert error_of(response) == (
        "unable to parse 'cpu': missing fields\nunable to parse 'mem': missing fields"
    )
    assert write.accept.stored == []
    response = write(b"cpu,__rp__=x v=1")
    assert error_of(response).startswith("unable to parse 'cpu,__rp__=x v=1': label")


def test_version_2_has_its_own_shape(write):
    response = write(b"good v=1 1\nbad", "bucket=metrics", path="/api/v2/write")
    assert response.status == 400
    body = json.loads(response.body)
    assert body["code"] == "invalid"
    assert body["message"] == "partial write: unable to parse 'bad': missing fields dropped=1"


def test_many_refusals_are_counted(write):
    response = write(b"".join(b"bad%d\n" % number for number in range(150)) + b"good v=1")
    assert error_of(response).endswith("\nand 50 more refusals dropped=150")
    assert len(json.loads(response.body)["rejected"]) == 100


@pytest.mark.parametrize("body", [b"", b"\n\n", b"# nothing\r\n"])
def test_a_body_without_lines_is_no_error(write, body):
    response = write(body)
    assert response.status == 204
    assert response.headers == ()


def test_a_form_is_lines_too(write):
    body = b"cpu,db=x value=1 1"
    response = write(body, content_type="application/x-www-form-urlencoded")
    assert response.status == 204


def test_bodies_may_be_compressed(write):
    body = gzip.compress(b"cpu value=1 1\n" * 10)
    assert write(body, content_encoding="GZIP").status == 204
    assert len(write.accept.stored) == 10


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"cpu value=1", "gzip", 400),
        (b"cpu value=1", "br", 415),
        (gzip.compress(b"#" * (SIZE_BYTES_MAX + 1)), "gzip", 413),
        (b"#" * (SIZE_BYTES_MAX + 1), "identity", 413),
    ],
)
def test_bodies_that_cannot_be_read(write, body, encoding, status):
    response = write(body, content_encoding=encoding)
    assert response.status == status
    assert "cannot dec" in error_of(response)


EXCESS = Excess("samples_per_second", "tenant t1", 10, 11, retry_after_seconds=2.6)
PRESSURE = Excess("log_queue_bytes_max", "server", 10, 11, retry_after_seconds=2.6)


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after"),
    [
        (Invalid("no"), 400, "invalid", None),
        (Denied("no"), 403, "forbidden", None),
        (Unauthenticated("no"), 401, "unauthorized", None),
        (Exhausted("no", EXCESS), 429, "too many requests", "3"),
        (Exhausted("no"), 429, "too many requests", "1"),
        (Exhausted("no", PRESSURE), 503, "unavailable", "3"),
        (Unavailable("no"), 503, "unavailable", "1"),
        (Corrupt("no"), 500, "internal error", None),
    ],
)
@pytest.mark.parametrize("where", ["access", "error", "failure"])
def test_each_kind_of_error_has_its_status(write, error, status, code, retry_after, where):
    if where == "access":
        write.access.answer = error
    else:
        setattr(write.accept, where, error)
    for path in ("/write", "/api/v2/write"):
        response = write(query="db=metrics&bucket=metrics", path=path)
        assert response.status == status
        headers = dict(response.headers)
        assert headers["x-influxdb-error"] == "no"
        assert headers.get("retry-after") == retry_after
        body = json.loads(response.body)
        shape = {"error": "no"} if path == "/write" else {"code": code, "message": "no"}
        assert {key: body[key] for key in shape} == shape
        if isinstance(error, Exhausted) and error.excess:
            assert body["limit"] == {
                "name": error.excess.limit,
                "scope": error.excess.scope,
                "value": 10,
                "current": 11,
            }


def test_a_header_holds_one_line_of_ascii(write):
    response = write("caf\u00e9\x01 \n".encode())
    assert dict(response.headers)["x-influxdb-error"] == "unable to parse 'caf?? ': missing fields"


PARTS = [b"cpu", b",host=a", b" ", b"v=1", b's="x"', b"\n", b"\\", b'"', b"=", b"1i", b"\xff"]
LINES = st.lists(st.sampled_from(PARTS))


@settings(deadline=None)
@given(body=st.one_of(st.binary(max_size=100), LINES.map(b"".join)))
def test_any_body_is_answered(pool, body):
    mounted = routes(parts(FakeAccess(), FakeAccept(), pool, size_bytes_max=SIZE_BYTES_MAX))
    response = answer_to(mounted, request_for("POST", "/write", query="db=d", body=body))
    assert response.status in (204, 400)
