"""Graphite's lines and pickles against what carbon makes of them, in plain Python."""

import math
import pickle
import struct
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orrery.errors import Exhausted, Invalid
from orrery.kernels.graphite import decode_graphite_lines, decode_graphite_pickles

from .samples import samples_of

NOW_NS = 1_700_000_000_123_456_789
SECOND_NS = 1_000_000_000
TOKEN = b"orr_" + b"a1B" * 14 + b"z"


def time_ns(word: str) -> int:
    """Cut off behind the nanosecond, as the decoder does; -1 is now."""
    return NOW_NS if int(float(word)) == -1 else int(Decimal(word) * SECOND_NS)


def oracle(line: str):
    """One sample, None for a blank line or NaN, ValueError where carbon refuses."""
    if not line.split():
        return None
    path, value, time = line.split()
    if "_" in value + time or float(time) != float(time) or math.isinf(float(time)):
        raise ValueError(line)
    name, *segments = path.split(";")
    tags = [tuple(segment.split("=", 1)) for segment in segments]
    sample = (name, "", sorted(tags), time_ns(time), float(value))
    if not -(2**63) <= sample[3] < 2**63:
        raise ValueError(line)
    return None if math.isnan(sample[-1]) else sample


PARTS = st.text("abcé_-:0.", min_size=1, max_size=6)
TAGS = st.lists(st.tuples(PARTS, PARTS), max_size=3, unique_by=lambda pair: pair[0])
PATHS = st.builds(
    lambda name, tags: name + "".join(f";{tag}={value}" for tag, value in tags), PARTS, TAGS
)
VALUES = st.one_of(
    st.floats().map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(["nan", "-inf", "+1.5", "1.", ".5", "1e3", "x", "1_0", "0x1", "", "-"]),
)
TIMES = st.one_of(
    st.integers(-3, 2**32).map(str),
    st.integers(0, 10**15).map(lambda ms: str(Decimal(ms) / 1000)),
    st.sampled_from(["-1.5", "N", "nan", "1e400", "1700000000.", ""]),
)
BLANKS = st.sampled_from([" ", "\t", "  ", " \t "])


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(PATHS, VALUES, TIMES, BLANKS), max_size=5),
    ending=st.sampled_from(["\n", "\r\n", "\n\n"]),
)
def test_lines_are_what_carbon_reads(rows, ending):
    lines = [blank.join((path, value, time)) for path, value, time, blank in rows]
    expected, refused = [], 0
    for line in lines:
        try:
            sample = oracle(line)
        except (ValueError, OverflowError):
            refused += 1
        else:
            expected += [sample] * (sample is not None)
    body = ending.join(lines).encode()
    batch, of_tokens, _ = decode_graphite_lines(body, now_ns=NOW_NS)
    assert samples_of(batch) == expected
    assert (len(batch.rejected), of_tokens) == (refused, [])


def framed(*payloads: bytes) -> bytes:
    return b"".join(struct.pack("!L", len(payload)) + payload for payload in payloads)


NUMBERS = st.one_of(st.floats(allow_nan=False), st.integers(-(2**70), 2**70))
DATAPOINTS = st.tuples(PATHS, st.tuples(st.integers(-3, 2**33), NUMBERS))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@settings(max_examples=60, deadline=None)
@given(batches=st.lists(st.lists(DATAPOINTS, max_size=4), max_size=3), as_lists=st.booleans())
def test_pickles_are_what_python_wrote(protocol, batches, as_lists):
    payloads = [
        pickle.dumps([[path, list(pair)] for path, pair in rows] if as_lists else rows, protocol)
        for rows in batches
    ]
    expected = []
    for path, (time, value) in (row for rows in batches for row in rows):
        name, *segments = path.split(";")
        tags = sorted(tuple(segment.split("=", 1)) for segment in segments)
        expected.append((name, "", tags, time_ns(str(time)), float(value)))
    batch, of_tokens, nan_count = decode_graphite_pickles(framed(*payloads), now_ns=NOW_NS)
    assert samples_of(batch) == expected
    assert (batch.rejected, of_tokens, nan_count) == ([], [], 0)


@settings(max_examples=60, deadline=None)
@given(text=st.text(min_size=1, max_size=20), protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_texts_of_every_protocol(text, protocol):
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    if set(text) & set(';{}"') or text.startswith("orr_"):
        return
    payload = pickle.dumps([(text, (1, 2.0))], protocol)
    batch, _, _ = decode_graphite_pickles(framed(payload), now_ns=NOW_NS)
    assert samples_of(batch) == [(text, "", [], SECOND_NS, 2.0)]


class Attack:
    def __reduce__(self):
        return (print, ("called",))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_call_something_is_refused(protocol, capsys):
    payload = pickle.dumps([("a", (1, Attack()))], protocol)
    batch, _, _ = decode_graphite_pickles(framed(payload), now_ns=NOW_NS)
    ((number, reason),) = batch.rejected
    assert (number, batch.sample_count) == (1, 0)
    assert reason == "cannot read a pickle: it imports a name, which is not allowed"
    assert capsys.readouterr().out == ""


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(content):
    decode_graphite_lines(content, now_ns=NOW_NS, tokens_max=2)
    decode_graphite_pickles(framed(content), now_ns=NOW_NS, tokens_max=2)


def test_tokens_part_batches():
    body = TOKEN + b"@.a;x=1 1 1\nb 2 2\norr_x@.c 3 3\n"
    batch, of_tokens, _ = decode_graphite_lines(body, now_ns=NOW_NS, tokens_max=2)
    assert samples_of(batch) == [("b", "", [], 2 * SECOND_NS, 2.0)]
    assert [token for token, _ in of_tokens] == [TOKEN, b"orr_x"]
    assert samples_of(of_tokens[0][1]) == [("a", "", [("x", "1")], SECOND_NS, 1.0)]
    refused, _, _ = decode_graphite_lines(body, now_ns=NOW_NS)
    assert len(refused.rejected) == 2
    assert TOKEN.decode()[4:] not in str(refused.rejected)


def test_a_bomb_is_refused():
    import gzip

    with pytest.raises(Exhausted):
        decode_graphite_lines(
            gzip.compress(b"\n" * 1_000_000),
            now_ns=NOW_NS,
            encoding="gzip",
            size_bytes_max=1000,
        )


def test_a_pickle_that_is_cut_off_is_invalid():
    with pytest.raises(Invalid, match="cut off"):
        decode_graphite_pickles(framed(b"].")[:-1], now_ns=NOW_NS)
