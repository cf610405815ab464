"""OpenTSDB's JSON over HTTP: what is stored, and what is answered in OpenTSDB's words."""

import asyncio
import gzip
import json
from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orrery.errors import Corrupt, Denied, Excess, Exhausted, Invalid, Unavailable
from orrery.ingest.contract import Written
from orrery.protocols.opentsdb.put import routes
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

SIZE_BYTES_MAX = 30_000
SECOND = 1_700_000_000
SECOND_NS = 1_000_000_000


def point(metric="sys.cpu", timestamp=SECOND, value=18, tags=None, **more):
    """A data point; what is None is left out."""
    whole = {
        "metric": metric,
        "timestamp": timestamp,
        "value": value,
        "tags": {"host": "a"} if tags is None else tags,
        **more,
    }
    return {name: given for name, given in whole.items() if given is not None}


@pytest.fixture(scope="module")
def pool():
    with executor() as pool:
        yield pool


@pytest.fixture
def put(pool):
    """Puts points (or bytes); keeps what it was made of as attributes."""

    def send(content=None, query="", *, path="/api/put", **headers):
        mounted = routes(parts(send.access, send.accept, pool, size_bytes_max=SIZE_BYTES_MAX))
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = point() if content is None else content
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return answer_to(mounted, request_for("POST", path, query=query, headers=named, body=body))

    send.access, send.accept = FakeAccess(), FakeAccept()
    return send


def answered(response):
    return response.status, json.loads(response.body)


@pytest.mark.parametrize(
    "path",
    ["/api/put", "/api/put/", "/api/v1/put", "/opentsdb/api/put", "/opentsdb/api/v1/put/"],
)
def test_a_data_point_is_stored(put, path):
    response = put(path=path)
    assert (response.status, response.body) == (204, b"")
    assert ("x-orrery-acknowledgement", "fsynced") in response.headers
    assert put.access.asked == [("write", "opentsdb")]
    stored = ("t1", "sys.cpu", "", [("host", "a")], SECOND * SECOND_NS, 18)
    assert put.accept.stored == [stored]
    assert isinstance(put.accept.stored[0][-1], int)


def test_labels_of_the_token_stand_over_tags(put):
    put.access.answer = FakeCaller("t2", (("host", "forced"), ("team", "x")))
    assert put([point(), point(value=1.5)]).status == 204
    labels = [("host", "forced"), ("team", "x")]
    assert [(one[0], one[3], one[5]) for one in put.accept.stored] == [
        ("t2", labels, 18),
        ("t2", labels, 1.5),
    ]


MIXED = [
    point(),
    point(metric="", more=1),
    point(value="x\u00e9"),
    point(tags={"host": ""}),
    point(value=7),
]
ERRORS = [
    {
        "datapoint": {
            "metric": "",
            "timestamp": SECOND,
            "value": "18",
            "tags": {"host": "a"},
        },
        "error": "Metric name was empty",
    },
    {
        "datapoint": {
            "metric": "sys.cpu",
            "timestamp": SECOND,
            "value": "x\u00e9",
            "tags": {"host": "a"},
        },
        "error": "Unable to parse value to a number",
    },
    {
        "datapoint": {
            "metric": "sys.cpu",
            "timestamp": SECOND,
            "value": "18",
            "tags": {"host": ""},
        },
        "error": "Invalid tag value with key [host]: empty string",
    },
]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("summary", {"success": 2, "failed": 3}),
        ("summary=true&sync", {"success": 2, "failed": 3}),
        ("details", {"success": 2, "failed": 3, "errors": ERRORS}),
        ("summary&details", {"success": 2, "failed": 3, "errors": ERRORS}),
        (
            "details&sync&sync_timeout=60000",
            {"success": 2, "failed": 3, "timeouts": 0, "errors": ERRORS},
        ),
    ],
)
def test_bad_data_points_leave_the_good_ones_and_are_told(put, query, expected):
    for body, headers in (
        (json.dumps(MIXED).encode(), {}),
        (gzip.compress(json.dumps(MIXED).encode()), {"content_encoding": "gzip"}),
    ):
        put.accept.stored.clear()
        assert answered(put(body, query, **headers)) == (400, expected)
        assert [one[5] for one in put.accept.stored] == [18, 7]


def test_without_details_the_first_reasons_are_told(put):
    response = put(MIXED)
    assert answered(response) == (
        400,
        {
            "error": {
                "code": 400,
                "message": "One or more data points had errors",
                "details": "data point 2: Metric name was empty; "
                "data point 3: Unable to parse value to a number; "
                "data point 4: Invalid tag value with key [host]: empty string; "
                'append "details" to the put request for all of them',
            }
        },
    )
    assert ("x-orrery-acknowledgement", "fsynced") in response.headers
    assert response.content_type == "application/json; charset=UTF-8"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("summary", {"success": 1, "failed": 0}),
        ("details", {"success": 1, "failed": 0, "errors": []}),
        (
            "details&sync&sync_timeout=1000",
            {"success": 1, "failed": 0, "timeouts": 0, "errors": []},
        ),
    ],
)
def test_success_is_told_where_it_is_asked_for(put, query, expected):
    assert answered(put(point(), query)) == (200, expected)


def test_refusals_of_the_store_count_as_failed(put):
    """A bounded list of reasons may name fewer than are refused."""

    class Listing(FakeAccept):
        def write(self, tenant, batch, *, defaults, forced):
            future: Future[Written] = Future()
            future.set_result(Written(1, 2, 2, 0, ((2, "too old"),), "fsynced", 0))
            return future

    put.accept = Listing()
    status, body = answered(put([point(), point(), point()], "details"))
    assert status == 400
    assert (body["success"], body["failed"]) == (1, 2)
    assert [error["error"] for error in body["errors"]] == ["too old"]


class Waiting(FakeAccept):
    """Does not complete."""

    def write(self, tenant, batch, *, defaults, forced):
        self.future: Future[Written] = Future()
        return self.future


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("summary", {"success": 0, "failed": 1, "timeouts": 1}),
        (
            "details",
            {"success": 0, "failed": 1, "timeouts": 1, "errors": ERRORS[:1]},
        ),
        (
            "",
            {
                "error": {
                    "code": 400,
                    "message": "The put call has timedout with 0 successful writes, "
                    "1 failed writes and 1 timed out writes.",
                    "details": "What timed out may be stored yet",
                }
            },
        ),
    ],
)
def test_a_write_that_takes_too_long_is_told(put, query, expected):
    put.accept = Waiting()
    response = put(MIXED[:2], f"{query}&sync&sync_timeout=1")
    assert answered(response) == (400, expected)


def test_a_write_that_failed_in_time_is_an_error(put):
    put.accept.failure = Unavailable("no")
    assert put(point(), "sync&sync_timeout=60000").status == 503


@pytest.mark.parametrize(
    ("body", "message", "details"),
    [
        (b"", "Missing request content", None),
        (b"[]", "No datapoints found in content", None),
        (b"metric", "The JSON must start as an object or an array", None),
        (
            b'[{"metric":1},',
            "Unable to parse the given JSON",
            "a data point is no object at byte 14, in data point 2",
        ),
    ],
)
def test_what_is_no_json_stores_nothing(put, body, message, details):
    status, answer = answered(put(body, "details"))
    expected = {"code": 400, "message": message}
    if details:
        expected["details"] = details
    assert (status, answer) == (400, {"error": expected})
    assert put.accept.stored == []


@pytest.mark.parametrize(
    ("query", "cause"),
    [
        ("jsonp=f", "'jsonp'"),
        ("method_override=put", "'method_override'"),
        ("serializer=xml", "'xml'"),
        ("sync&sync_timeout=soon", "'soon'"),
        ("sync_timeout=-1", "'-1'"),
        ("sync_timeout=99999999999", "'99999999999'"),
    ],
)
def test_wrong_arguments_are_named(put, query, cause):
    status, answer = answered(put(point(), query))
    assert status == 400
    assert cause in answer["error"]["message"]
    assert put.accept.stored == []


def test_a_serializer_that_is_there_may_be_asked_for(put):
    assert put(point(), "serializer=json&unknown=1&sync_timeout=5").status == 204


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"[]", "gzip", 400),
        (b"[]", "br", 415),
        (gzip.compress(b" " * (SIZE_BYTES_MAX + 1)), "gzip", 413),
        (b" " * (SIZE_BYTES_MAX + 1), "identity", 413),
    ],
)
def test_bodies_that_cannot_be_read(put, body, encoding, status):
    response = put(body, content_encoding=encoding)
    assert response.status == status
    assert json.loads(response.body)["error"]["message"].startswith("cannot dec")


EXCESS = Excess("samples_per_second", "tenant t1", 10, 11, retry_after_seconds=2.6)
PRESSURE = Excess("log_queue_bytes_max", "server", 10, 11, retry_after_seconds=2.6)


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (Invalid("no: why"), 400, None),
        (Denied("no: why"), 403, None),
        (Unauthenticated("no: why"), 401, None),
        (Exhausted("no: why", EXCESS), 429, "3"),
        (Exhausted("no: why"), 429, "1"),
        (Exhausted("no: why", PRESSURE), 503, "3"),
        (Unavailable("no: why"), 503, "1"),
        (Corrupt("no: why"), 500, None),
    ],
)
@pytest.mark.parametrize("where", ["access", "error", "failure"])
def test_each_kind_of_error_has_its_status(put, error, status, retry_after, where):
    if where == "access":
        put.access.answer = error
    else:
        setattr(put.accept, where, error)
    response = put()
    body = json.loads(response.body)["error"]
    assert (response.status, body["code"]) == (status, status)
    assert (body["message"], body["details"]) == ("no", "why")
    headers = dict(response.headers)
    assert headers.get("retry-after") == retry_after
    assert ("www-authenticate" in headers) == isinstance(error, Unauthenticated)
    assert ("limit" in body) == (isinstance(error, Exhausted) and error.excess is not None)


PIECES = [
    b'{"metric":"m"',
    b',"timestamp":1',
    b',"value":2',
    b',"tags":{"a":"b"}',
    b"}",
    b"[",
    b"]",
]
PIECES += [b",", b'"', b":", b"null", b"1e999", b"\xff", b"\\"]


@settings(deadline=None)
@given(
    body=st.one_of(st.binary(max_size=100), st.lists(st.sampled_from(PIECES)).map(b"".join)),
    query=st.sampled_from(["", "details", "summary"]),
)
def test_any_body_is_answered(pool, body, query):
    mounted = routes(parts(FakeAccess(), FakeAccept(), pool, size_bytes_max=SIZE_BYTES_MAX))
    response = answer_to(mounted, request_for("POST", "/api/put", query=query, body=body))
    assert response.status in (200, 204, 400)
    if response.status != 204:
        json.loads(response.body)


def test_what_was_not_waited_for_is_settled(pool):
    """Its failure is nobody's, and must not be complained of."""
    complaints: list[dict] = []
    accept = Waiting()
    [route] = [
        one
        for one in routes(parts(FakeAccess(), accept, pool, size_bytes_max=SIZE_BYTES_MAX))
        if one.path == "/api/put"
    ]
    body = json.dumps(point()).encode()

    async def serve() -> int:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        response = await route.handler(
            request_for("POST", "/api/put", query="sync&sync_timeout=1", body=body)
        )
        accept.future.set_exception(Unavailable("no"))
        await asyncio.wait(set(route.handler.pending))
        return response.status

    assert asyncio.run(serve()) == 400
    assert complaints == []
