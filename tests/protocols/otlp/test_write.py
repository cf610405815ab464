"""OTLP over HTTP: what is stored, what is refused and how that is told."""

import gzip
import json

import cramjam
import pytest
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from orrery.errors import SERVER, Corrupt, Denied, Excess, Exhausted, Invalid, Unavailable
from orrery.kernels.otlp import OtlpOptions
from orrery.protocols.otlp.write import JSON, PATHS, PROTOBUF, routes
from orrery.tenancy.access import Unauthenticated
from tests.kernels.otlp_messages import (
    DELTA,
    TIME_NS,
    exponential,
    gauge,
    histogram,
    number,
    request,
    request_of,
    resource,
    summary,
    total,
)
from tests.protocols.writing import FakeAccept, FakeAccess, answer_to, executor, parts, request_for

ONE = request_of(gauge("up", number(1.5, {"a": "b"})))


def post(body: bytes, *, accept=None, access=None, content_type=PROTOBUF, path=PATHS[0], **headers):
    accept, access = accept or FakeAccept(), access or FakeAccess()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    pool = executor()
    try:
        served = routes(
            parts(access, accept, pool, size_bytes_max=1_000_000),
            OtlpOptions(translation="UnderscoreEscapingWithSuffixes"),
        )
        sent = request_for("POST", path, headers={"content-type": content_type, **named}, body=body)
        return answer_to(served, sent), accept
    finally:
        pool.shutdown()


def partial(response) -> tuple[int, str]:
    assert response.status == 200
    told = ExportMetricsServiceResponse.FromString(response.body).partial_success
    return told.rejected_data_points, told.error_message


@pytest.mark.parametrize("path", PATHS)
def test_points_are_stored(path: str) -> None:
    response, accept = post(ONE, path=path)
    assert (response.status, response.body, response.content_type) == (200, b"", PROTOBUF)
    assert dict(response.headers)["x-orrery-acknowledgement"] == "fsynced"
    assert accept.stored == [("t1", "up", "", [("a", "b")], TIME_NS, 1.5)]


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("zstd", lambda body: bytes(cramjam.zstd.compress(body))),
    ],
)
def test_encodings_are_taken_off(encoding: str, encode) -> None:
    response, accept = post(encode(ONE), content_encoding=encoding)
    assert response.status == 200
    assert len(accept.stored) == 1


def test_json_is_answered_in_json() -> None:
    sent = request(resource(gauge("up", number(1.5, {"a": "b"}))))
    response, accept = post(MessageToJson(sent).encode(), content_type=f"{JSON}; charset=utf-8")
    assert (response.status, response.body, response.content_type) == (200, b"{}", JSON)
    assert accept.stored == [("t1", "up", "", [("a", "b")], TIME_NS, 1.5)]
    bad = request(resource(gauge("up", number(1)), total("d", number(1), temporality=DELTA)))
    response, _ = post(MessageToJson(bad).encode(), content_type=JSON)
    told = json.loads(response.body)["partialSuccess"]
    assert told["rejectedDataPoints"] == "1"
    assert "delta" in told["errorMessage"]


def test_kinds_are_kept() -> None:
    body = request_of(
        total("n", number(2**60 + 1)),
        histogram("h", [1.0], [2, 3]),
        summary("s", {0.5: 1.25}),
        gauge("gone", number(None, flags=1)),
    )
    _, accept = post(body)
    stored = {
        (name, dict(labels).get("le", dict(labels).get("quantile", ""))): value
        for _, name, _, labels, _, value in accept.stored
    }
    gone = stored.pop(("gone", ""))
    assert gone != gone
    assert stored == {
        ("n_total", ""): 2**60 + 1,
        ("h_sum", ""): 12.5,
        ("h_count", ""): 5,
        ("h_bucket", "1"): 2,
        ("h_bucket", "+Inf"): 5,
        ("s_sum", ""): 3.5,
        ("s_count", ""): 7,
        ("s", "0.5"): 1.25,
    }


def test_metadata_is_kept_once() -> None:
    one = gauge("room.temperature", number(1), unit="Cel", description="How warm.")
    body = request(resource(one, given={"a": "1"}), resource(one, given={"a": "2"}))
    _, accept = post(body.SerializeToString())
    assert accept.metadata == [("room_temperature_celsius", "gauge", "How warm.", "Cel")]


GOOD = gauge("good", number(1))
DEEP: list = []
for _ in range(20):
    DEEP = [DEEP]
REFUSED = {
    "delta sum": (total("bad", number(1), number(2), temporality=DELTA), 2, "delta"),
    "sum without temporality": (total("bad", number(1), temporality=0), 1, "temporality 0"),
    "delta histogram": (histogram("bad", [1], [1, 2], temporality=DELTA), 1, "delta"),
    "exponential histograms": (exponential("bad", 3), 3, "exponential histograms are not"),
    "no time": (gauge("bad", number(1, time_ns=0)), 1, "time_unix_nano is missing"),
    "time beyond 63 bits": (gauge("bad", number(1, time_ns=2**63)), 1, "does not fit 63 bits"),
    "no value": (gauge("bad", number(None)), 1, "it has no value"),
    "no name": (gauge("", number(1)), 1, "nothing of its name is left"),
    "a name of underscores": (gauge("_._", number(1)), 1, "nothing of its name is left"),
    "reserved label": (gauge("bad", number(1, {"__db__": "x"})), 1, '"__db__" is reserved'),
    "le of its own": (histogram("bad", [1], [1, 2], {"le": "5"}), 1, 'an attribute \\"le\\"'),
    "too few counts": (histogram("bad", [1, 2], [1, 2]), 1, "2 bucket counts, not one more"),
    "bounds that fall": (histogram("bad", [2, 1], [1, 2, 3]), 1, "do not ascend at 1"),
    "a bound that is none": (histogram("bad", [float("nan")], [1, 2]), 1, "ascend at NaN"),
    "counts beyond 64 bits": (
        histogram("bad", [1], [2**63, 2**63], count=1), 1, "exceed 64 bits"
    ),
    "too many labels": (
        histogram("bad", list(range(400)), [1] * 401, {f"k{n}": 1 for n in range(200)}),
        1,
        "point_labels_max 65536",
    ),
    "deep attributes": (gauge("bad", number(1, {"deep": DEEP})), 1, "depth_max 16"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_stored_is_named_and_the_rest_is_stored(name: str) -> None:
    metric, count, cause = REFUSED[name]
    response, accept = post(request_of(GOOD, metric))
    rejected, message = partial(response)
    assert (rejected, [row[1] for row in accept.stored if row[1] == "good"]) == (count, ["good"])
    assert cause.replace("\\", "") in message.replace("\\", "")
    assert "data point 2" in message or "data points 2 to" in message
    if name in ("reserved label", "no name", "le of its own"):
        return
    response, accept = post(request_of(metric))
    assert response.status == 400
    assert f"{count} data points rejected" in response.body.decode("utf-8", "replace")
    assert accept.stored == []


def test_exemplars_are_told_of_without_a_point_being_rejected() -> None:
    point = number(1)
    point.exemplars.add(as_double=1.0, time_unix_nano=TIME_NS)
    response, accept = post(request_of(total("n", point)))
    assert partial(response) == (
        0,
        "cannot store 1 exemplars (the first in data point 1 of the request): not supported yet",
    )
    assert len(accept.stored) == 1


def test_many_refusals_are_counted_all_and_named_some() -> None:
    points = [number(1, time_ns=0) for _ in range(5000)]
    rejected, message = partial(post(request_of(GOOD, gauge("bad", *points)))[0])
    assert rejected == 5000
    assert message.endswith("and 990 more reasons")


def test_an_empty_request_is_a_success() -> None:
    assert post(b"")[0].status == 200
    assert post(b"{}", content_type=JSON)[0].body == b"{}"


def excess(scope: str) -> Excess:
    return Excess("samples_per_second", scope, 1, 2, retry_after_seconds=3.0)


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (Invalid("x"), 400, 3, None),
        (Unauthenticated("x"), 401, 16, None),
        (Denied("x"), 403, 7, None),
        (Exhausted("x", excess("tenant")), 429, 8, "3"),
        (Exhausted("x", excess(SERVER)), 503, 14, "3"),
        (Unavailable("x"), 503, 14, "1"),
        (Corrupt("x"), 500, 13, None),
    ],
)
@pytest.mark.parametrize("content_type", [JSON, PROTOBUF])
def test_errors_are_statuses_of_the_specification(
    error, status: int, code: int, retry: str | None, content_type: str
) -> None:
    body = b"{}" if content_type == JSON else b""
    for told in (
        post(ONE, access=FakeAccess(error), content_type=content_type)[0],
        post(ONE if content_type == PROTOBUF else JSON_ONE, accept=FakeAccept(error=error),
             content_type=content_type)[0],
    ):  # fmt: skip
        assert (told.status, told.content_type) == (status, content_type)
        assert dict(told.headers).get("retry-after") == retry
        if content_type == JSON:
            assert json.loads(told.body) == {"code": code, "message": "x"}
        else:
            assert told.body == b"\x08" + bytes([code]) + b"\x12\x01x"
    assert body in (b"", b"{}")


JSON_ONE = MessageToJson(request(resource(GOOD))).encode()


@pytest.mark.parametrize(
    ("headers", "cause"),
    [
        ({"content_type": "text/plain"}, b"text/plain"),
        ({"content_type": ""}, b"cannot decode content type"),
        ({"content_encoding": "br"}, b"'br'"),
        ({"content_encoding": "snappy"}, b"'snappy'"),
    ],
)
def test_other_types_and_encodings_are_named(headers: dict[str, str], cause: bytes) -> None:
    response, _ = post(ONE, **headers)
    assert response.status == 415
    assert cause in response.body


NESTED = b'{"arrayValue":{"values":[' * 200


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b'{"resourceMetrics": 5}', "expected an array in resource_metrics at line 1 column 21"),
        (b'{"resourceMetrics": [', "EOF"),
        (b"[]", "expected an object"),
        (b'{"resourceMetrics": []} x', "trailing characters"),
        (b'{"resourceMetrics": [], "resource_metrics": []}', "resource_metrics is given twice"),
        (b'{"resourceMetrics":[{"resource":{"attributes":[{"value":' + NESTED, "recursion limit"),
    ],
)
def test_broken_json_names_the_place(body: bytes, cause: str) -> None:
    response, _ = post(body, content_type=JSON)
    assert response.status == 400
    assert cause in json.loads(response.body)["message"]


def test_too_large_bodies_name_the_limit() -> None:
    response, _ = post(gzip.compress(b"\0" * 1_000_001), content_encoding="gzip")
    assert response.status == 413
    assert b"http_body_decompressed_bytes_max" in response.body
    grown = json.dumps(
        {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"histogram": {"dataPoints": [
            {"explicitBounds": [0] * 300_000}]}}]}]}]}
    )  # fmt: skip
    response, _ = post(grown.replace(" ", "").encode(), content_type=JSON)
    assert response.status == 413
