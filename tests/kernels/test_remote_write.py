"""What Google's protobuf library encodes, the decoders read."""

import struct
from contextlib import suppress

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orrery.errors import Exhausted, Invalid
from orrery.kernels.remote_write import decode_remote_write_1, decode_remote_write_2

from .prometheus_messages import ONE, TWO, request_1, request_2
from .samples import samples_of

VERSIONS = {
    "1.0": (decode_remote_write_1, request_1),
    "2.0": (decode_remote_write_2, request_2),
}
STALE_BITS = 0x7FF0000000000002

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
LABELS = st.dictionaries(TEXTS.filter(lambda text: not text.startswith("__")), TEXTS, max_size=4)
TIME_MS_MAX = (2**63 - 1) // 1_000_000
SAMPLES = st.lists(
    st.tuples(st.integers(-TIME_MS_MAX, TIME_MS_MAX), st.floats(allow_nan=False)),
    min_size=1,
    max_size=3,
)
SERIES = st.lists(st.tuples(TEXTS, LABELS, SAMPLES), max_size=4)


@pytest.mark.parametrize("version", VERSIONS)
@given(series=SERIES)
def test_what_protobuf_encodes_is_read(version, series):
    decode, request = VERSIONS[version]
    body = request(
        [([("__name__", name), *labels.items()], samples) for name, labels, samples in series]
    )
    expected = [
        (name, "", sorted(labels.items(), key=by_bytes), time_ms * 1_000_000, value)
        for name, labels, samples in series
        for time_ms, value in samples
    ]
    batch = decode(body)
    assert samples_of(batch) == expected
    assert batch.rejected == []


def by_bytes(pair: tuple[str, str]) -> bytes:
    return pair[0].encode()


@pytest.mark.parametrize("version", VERSIONS)
@given(body=st.binary(max_size=200))
def test_any_bytes_give_a_batch_or_an_error(version, body):
    decode, _ = VERSIONS[version]
    try:
        batch = decode(body)
    except Invalid:
        return
    assert batch.sample_count >= batch.key_count


@pytest.mark.parametrize("version", VERSIONS)
@given(data=st.data())
def test_a_damaged_body_gives_a_batch_or_an_error(version, data):
    decode, request = VERSIONS[version]
    body = bytearray(request([([("__name__", "up"), ("job", "a")], [(1, 2.0), (3, 4.0)])] * 3))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        batch = decode(bytes(body))
    except Invalid:
        return
    for key in range(batch.key_count):
        with suppress(Invalid):
            batch.canonical(key)


@pytest.mark.parametrize("version", VERSIONS)
def test_staleness_markers_keep_their_bits(version):
    decode, request = VERSIONS[version]
    stale = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
    batch = decode(request([([("__name__", "up")], [(1, stale)])]))
    assert batch.columns()["values"].tolist() == [STALE_BITS]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([("job", "a")], "no label __name__"),
        ([("__name__", "up"), ("a", "1"), ("a", "2")], 'label "a" is given twice'),
        ([("__name__", "up"), ("__db__", "x")], 'label "__db__" is reserved'),
        ([("__name__", "up"), ("", "x")], "name is empty"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_labels_that_cannot_be_are_named(version, labels, reason):
    decode, request = VERSIONS[version]
    batch = decode(request([(labels, [(1, 1.0)])]))
    with pytest.raises(Invalid, match=reason):
        batch.canonical(0)


@pytest.mark.parametrize(("messages", "decode", "request_name"), [
    (ONE, decode_remote_write_1, "WriteRequest"),
    (TWO, decode_remote_write_2, "Request"),
])  # fmt: skip
def test_exemplars_are_refused_by_name(messages, decode, request_name):
    request = messages[request_name]()
    series = request.timeseries.add()
    if request_name == "Request":
        request.symbols.extend(["", "__name__", "up"])
        series.labels_refs.extend([1, 2])
    else:
        series.labels.add(name="__name__", value="up")
    series.samples.add(timestamp=1, value=1.0)
    series.exemplars.add(timestamp=1, value=2.0)
    series.exemplars.add(timestamp=2, value=2.0)
    batch = decode(request.SerializeToString())
    assert batch.sample_count == 1
    assert [reason for _, reason in batch.rejected] == [
        "cannot store 2 exemplars (the first in series 1 of the request): not supported yet",
    ]


def test_metadata_is_kept():
    body = request_1(
        [],
        [
            {"metric_family_name": "up", "type": 2, "help": "Is it?", "unit": ""},
            {"metric_family_name": "new", "type": 99},
        ],
    )
    assert decode_remote_write_1(body).metadata == [
        ("up", "gauge", "Is it?", ""),
        ("new", "unknown", "", ""),
    ]


def test_metadata_of_2_0_is_kept():
    request = TWO["Request"](symbols=["", "__name__", "up", "Is it?", "ratio"])
    series = request.timeseries.add(labels_refs=[1, 2])
    series.metadata.type = 2
    series.metadata.help_ref = 3
    series.metadata.unit_ref = 4
    batch = decode_remote_write_2(request.SerializeToString())
    assert batch.metadata == [("up", "gauge", "Is it?", "ratio")]
    assert batch.key_count == 0


def test_the_bound_holds_before_decoding():
    body = cramjam.snappy.compress_raw(request_1([([("__name__", "up")], [(1, 1.0)])] * 100))
    size = len(cramjam.snappy.decompress_raw(body))
    assert decode_remote_write_1(bytes(body), encoding="snappy").sample_count == 100
    with pytest.raises(Exhausted, match=f"size_bytes_max {size - 1}"):
        decode_remote_write_1(bytes(body), encoding="snappy", size_bytes_max=size - 1)
