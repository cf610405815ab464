"""Points encoded in plain Python come back from the decoder as they were."""

import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orrery.errors import Exhausted, Invalid
from orrery.kernels.line_protocol import decode_line_protocol

from .samples import samples_of

NOW_NS = 1_700_000_000_123_456_789


def decode(body: bytes, **more):
    return decode_line_protocol(body, **{"precision_ns": 1, "now_ns": NOW_NS, **more})


def escaped(text: str, characters: str) -> str:
    return re.sub(f"([{characters}])", r"\\\1", text)


def encoded_value(value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"{value}i"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def encoded(name, tags, fields, time_ns) -> str:
    key = "".join(
        [escaped(name, ", "), *(f",{escaped(k, ',= ')}={escaped(v, ',= ')}" for k, v in tags)]
    )
    values = ",".join(f"{escaped(k, ',= ')}={encoded_value(v)}" for k, v in fields)
    return f"{key} {values} {time_ns}\n"


# A backslash before a separator has no spelling in the protocol, and a line starts with its name.
CHARACTERS = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='\\"#')
TEXTS = st.text(CHARACTERS, min_size=1, max_size=8)
TAG_KEYS = TEXTS.filter(lambda text: text != "time" and not text.startswith("__"))
VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.text(st.characters(exclude_categories=("Cs",))),
)
POINTS = st.tuples(
    TEXTS,
    st.lists(st.tuples(TAG_KEYS, TEXTS), max_size=4, unique_by=lambda pair: pair[0]),
    st.lists(st.tuples(TEXTS.filter(lambda text: text != "time"), VALUES), min_size=1, max_size=4),
    st.integers(-(2**63) + 2, 2**63 - 2),
)


@given(st.lists(POINTS, max_size=5))
def test_points_come_back_as_they_were(points):
    batch = decode("".join(encoded(*point) for point in points).encode())
    assert batch.rejected == []
    expected = [
        (name, "" if field == "value" else field, sorted(tags, key=by_bytes), time_ns, value)
        for name, tags, fields, time_ns in points
        for field, value in fields
    ]
    assert list(map(bits, samples_of(batch))) == list(map(bits, expected))


def by_bytes(pair: tuple[str, str]) -> bytes:
    return pair[0].encode()


def bits(sample: tuple) -> tuple:
    """Minus zero is not zero."""
    value = sample[-1]
    kept = struct.pack("<d", value) if isinstance(value, float) else value
    return (*sample[:-1], type(value), kept)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_batch(body):
    batch = decode(body)
    assert batch.key_count == batch.sample_count


def test_bad_lines_leave_the_good_ones():
    batch = decode(b"cpu,host=a usage=1 1\ncpu,host=a\n\n# note\ncpu,host=b usage=2,value=3u 2")
    assert batch.rejected == [(2, "unable to parse 'cpu,host=a': missing fields")]
    assert samples_of(batch) == [
        ("cpu", "usage", [("host", "a")], 1, 1.0),
        ("cpu", "usage", [("host", "b")], 2, 2.0),
        ("cpu", "", [("host", "b")], 2, 3),
    ]


def test_forced_labels_stand_over_tags():
    batch = decode(b"cpu,team=x v=1 1")
    [(_, _, labels, _, _)] = samples_of(batch, forced=[("team", "a"), ("__db__", "d")])
    assert labels == [("__db__", "d"), ("team", "a")]


def test_a_reason_never_quotes_a_whole_long_line():
    batch = decode(b"cpu " + b"x" * 100_000)
    assert len(batch.rejected[0][1]) < 1000


def test_encodings_are_taken_off_within_the_bound():
    import gzip

    body = gzip.compress(b"cpu v=1 1\n" * 100)
    assert decode(body, encoding="gzip", size_bytes_max=1000).sample_count == 100
    with pytest.raises(Exhausted, match="size_bytes_max 999"):
        decode(body, encoding="gzip", size_bytes_max=999)


def test_a_body_of_bad_lines_is_refused_whole():
    with pytest.raises(Invalid, match="rejected_max 10000"):
        decode(b"bad\n" * 10_001)
