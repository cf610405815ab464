"""Remote write over HTTP: negotiation, and answers senders act on."""

import json

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orrery.errors import Corrupt, Denied, Excess, Exhausted, Invalid, Unavailable
from orrery.protocols.prometheus.write import PATHS, routes
from orrery.tenancy.access import Unauthenticated
from tests.kernels.prometheus_messages import TWO, request_1, request_2
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
TYPE_1 = "application/x-protobuf"
TYPE_2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
SERIES = [([("__name__", "up"), ("job", "a")], [(5, 1.0), (6, 0.0)])]
STORED = [
    ("t1", "up", "", [("job", "a")], 5_000_000, 1.0),
    ("t1", "up", "", [("job", "a")], 6_000_000, 0.0),
]
WRITTEN = "x-prometheus-remote-write-samples-written"


def snappy(body: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(body))


@pytest.fixture(scope="module")
def pool():
    with executor() as pool:
        yield pool


@pytest.fixture
def write(pool):
    def send(body, content_type=TYPE_1, *, path="/api/v1/write", encoding="snappy"):
        mounted = routes(parts(send.access, send.accept, pool, size_bytes_max=SIZE_BYTES_MAX))
        headers = {"content-type": content_type, "content-encoding": encoding}
        return answer_to(mounted, request_for("POST", path, headers=headers, body=body))

    send.access, send.accept = FakeAccess(), FakeAccept()
    return send


def error_of(response) -> str:
    return json.loads(response.body)["error"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("content_type", "request_bytes"),
    [
        (TYPE_1, request_1(SERIES)),
        ("", request_1(SERIES)),
        (TYPE_1 + ";proto=prometheus.WriteRequest", request_1(SERIES)),
        (TYPE_2, request_2(SERIES)),
        (
            'Application/X-Protobuf; charset=x; proto="io.prometheus.write.v2.Request"',
            request_2(SERIES),
        ),
    ],
)
def test_both_messages_are_stored(write, path, content_type, request_bytes):
    response = write(snappy(request_bytes), content_type, path=path)
    assert (response.status, response.body) == (204, b"")
    assert write.accept.stored == STORED
    assert write.access.asked == [("write", "prometheus")]
    headers = dict(response.headers)
    assert headers["x-orrery-acknowledgement"] == "fsynced"
    assert headers.get(WRITTEN) == ("2" if "v2" in content_type else None)


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [("snappy", snappy), ("", snappy), ("Snappy", snappy), ("zstd", cramjam.zstd.compress)],
)
def test_encodings(write, encoding, compress):
    body = bytes(compress(request_1(SERIES)))
    assert write(body, encoding=encoding).status == 204
    assert write.accept.stored == STORED


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/json", "snappy"),
        ("text/plain;proto=prometheus.WriteRequest", "snappy"),
        (TYPE_1 + ";proto=other.Request", "snappy"),
        (TYPE_1, "gzip"),
        (TYPE_1, "identity"),
        (TYPE_1, "snappy, snappy"),
    ],
)
def test_what_is_not_understood_is_415(write, content_type, encoding):
    response = write(snappy(request_1(SERIES)), content_type, encoding=encoding)
    assert response.status == 415
    assert error_of(response).startswith("cannot decode")
    assert write.accept.stored == []


@pytest.mark.parametrize(
    ("body", "content_type", "status", "cause"),
    [
        (b"\xff\xff", TYPE_1, 400, "cannot decompress snappy body of 2 bytes"),
        (snappy(b"\x0a\x05"), TYPE_1, 400, "at byte 1: the message ends inside a field"),
        (snappy(request_1(SERIES)), TYPE_2, 400, "this is a prometheus.WriteRequest"),
        (snappy(request_2(SERIES)), TYPE_1, 400, "this is an io.prometheus.write.v2.Request"),
        (snappy(b"\0" * (SIZE_BYTES_MAX + 1)), TYPE_1, 413, f"size_bytes_max {SIZE_BYTES_MAX}"),
    ],
)
def test_broken_bodies_store_nothing(write, body, content_type, status, cause):
    response = write(body, content_type)
    assert response.status == status
    assert cause in error_of(response)
    assert dict(response.headers).get(WRITTEN) == ("0" if content_type == TYPE_2 else None)
    assert write.accept.stored == []


def test_a_partial_write_keeps_what_is_good_and_counts(write):
    request = TWO["Request"].FromString(
        request_2([*SERIES, ([("__name__", "x"), ("a", "1"), ("a", "2")], [(1, 1.0)])])
    )
    request.timeseries[0].histograms.add(timestamp=1, count_int=3)
    request.timeseries[1].exemplars.add(timestamp=1, value=1.0)
    response = write(snappy(request.SerializeToString()), TYPE_2)
    assert response.status == 400
    assert write.accept.stored == STORED
    message = error_of(response)
    assert message.startswith("partial write: 2 samples written, 1 samples refused: ")
    for part in ("its count is 3", "1 exemplars", 'label "a" is given twice'):
        assert part in message
    assert json.loads(response.body)["rejected"][0]["series"] == 1
    headers = dict(response.headers)
    assert headers[WRITTEN] == "2"
    assert headers["x-prometheus-remote-write-histograms-written"] == "0"
    assert headers["x-prometheus-remote-write-exemplars-written"] == "0"
    assert headers["x-orrery-acknowledgement"] == "fsynced"


def test_nothing_written_is_no_partial_write(write):
    response = write(snappy(request_1([([("job", "a")], [(1, 1.0)])])))
    assert response.status == 400
    assert error_of(response).startswith("nothing written: 0 samples written, 1 samples refused")


def test_metadata_alone_is_kept(write):
    row = {"metric_family_name": "up", "type": 2, "help": "Is it?", "unit": ""}
    assert write(snappy(request_1([], [row]))).status == 204
    assert write.accept.metadata == [("up", "gauge", "Is it?", "")]


def test_an_empty_request_is_no_error(write):
    write.accept.error = Unavailable("nobody should ask")
    assert write(snappy(b"")).status == 204


def test_forced_labels_reach_every_series(write):
    write.access.answer = FakeCaller("t2", (("job", "forced"),))
    write.accept.acknowledgement = "memory"
    response = write(snappy(request_1(SERIES)))
    assert dict(response.headers)["x-orrery-acknowledgement"] == "memory"
    assert {(tenant, *labels) for tenant, _, _, labels, *_ in write.accept.stored} == {
        ("t2", ("job", "forced"))
    }


EXCESS = Excess("samples_per_second", "tenant t1", 10, 11, retry_after_seconds=2.6)
PRESSURE = Excess("log_queue_bytes_max", "server", 10, 11, retry_after_seconds=2.6)


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (Invalid("no"), 400, None),
        (Denied("no"), 403, None),
        (Unauthenticated("no"), 401, None),
        (Exhausted("no", EXCESS), 429, "3"),
        (Exhausted("no"), 429, "1"),
        (Exhausted("no", PRESSURE), 503, "3"),
        (Unavailable("no"), 503, "1"),
        (Corrupt("no"), 500, None),
    ],
)
@pytest.mark.parametrize("where", ["access", "error", "failure"])
def test_each_kind_of_error_has_its_status(write, error, status, retry_after, where):
    if where == "access":
        write.access.answer = error
    else:
        setattr(write.accept, where, error)
    response = write(snappy(request_2(SERIES)), TYPE_2)
    assert response.status == status
    assert error_of(response) == "no"
    headers = dict(response.headers)
    assert headers.get("retry-after") == retry_after
    assert headers.get(WRITTEN) == (None if where == "access" else "0")
    limit = json.loads(response.body).get("limit")
    assert limit == (
        {"name": error.excess.limit, "scope": error.excess.scope, "value": 10, "current": 11}
        if isinstance(error, Exhausted) and error.excess
        else None
    )


@settings(deadline=None)
@given(body=st.binary(max_size=100), content_type=st.sampled_from([TYPE_1, TYPE_2]))
def test_any_body_is_answered(pool, body, content_type):
    mounted = routes(parts(FakeAccess(), FakeAccept(), pool, size_bytes_max=SIZE_BYTES_MAX))
    for sent in (body, snappy(body)):
        headers = {"content-type": content_type, "content-encoding": "snappy"}
        request = request_for("POST", "/api/v1/write", headers=headers, body=sent)
        assert answer_to(mounted, request).status in (204, 400, 413)
