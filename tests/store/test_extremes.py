"""Values, times and names at their ends keep every bit: in the head, over a replay, in a flushed
block, in a compacted one, and over a restart from each."""

import contextlib

import numpy as np
import pytest

from orrery.kernels.columns import decode_columns
from orrery.kernels.line_protocol import decode_line_protocol
from orrery.kernels.remote_write import decode_remote_write_1, decode_remote_write_2
from orrery.kernels.series import encode_series, parse_series
from tests.kernels.prometheus_messages import request_1, request_2
from tests.store.cores import NativeCore, raw_samples
from tests.store.harness import NOW_NS, TENANT, Running

STALE, QUIET, NEGATIVE = 0x7FF0000000000002, 0x7FF8000000000001, 0xFFF8DEADBEEF0001
FLOATS = [STALE, QUIET, NEGATIVE, 1 << 63, 0, 1, 0x7FF << 52, 0xFFF << 52, 0x7FEFFFFFFFFFFFFF]
FLOATS += [0x3FB999999999999A, 0x4005BF0A8B145769, STALE, 0x4024000000000000]


def through_everything(path, batches):
    """What is there in each state of its life."""
    core = NativeCore()

    @contextlib.contextmanager
    def opened():
        with Running(path, core) as db:
            yield db

    with opened() as db:
        for batch in batches:
            written = db.accept.write(TENANT, batch).result(30)
            assert written.rejected == ()
        yield "head", raw_samples(db.store.snapshot(TENANT), TENANT)
    with opened() as db:
        yield "replayed", raw_samples(db.store.snapshot(TENANT), TENANT)
        db.store.flush()
        yield "flushed", raw_samples(db.store.snapshot(TENANT), TENANT)
    with opened() as db:
        yield "opened", raw_samples(db.store.snapshot(TENANT), TENANT)
        db.store.compact()
        yield "compacted", raw_samples(db.store.snapshot(TENANT), TENANT)
        assert all(block.level > 0 for block in db.store.blocks())
    with opened() as db:
        yield "opened again", raw_samples(db.store.snapshot(TENANT), TENANT)


def check(path, batches, expected):
    for state, found in through_everything(path, batches):
        assert found == expected, state


@pytest.mark.parametrize(
    ("decode", "encode"),
    [(decode_remote_write_1, request_1), (decode_remote_write_2, request_2)],
)
def test_every_bit_of_a_float_from_remote_write(tmp_path, decode, encode):
    labels = [("__name__", "up"), ("job", "a")]
    first_ms = NOW_NS // 1_000_000
    samples = [(first_ms + at, float(np.uint64(bits).view(np.float64))) for at, bits in
               enumerate(FLOATS * 40)]  # fmt: skip
    # Google's library is given doubles, and may quieten a NaN: its bytes are put right.
    body = encode([(labels, samples)])
    stale, quiet = (STALE).to_bytes(8, "little"), (STALE | 1 << 51).to_bytes(8, "little")
    body = body.replace(quiet, stale)
    series = encode_series("up", "", [("job", "a")])
    expected = {
        (series, (first_ms + at) * 1_000_000): ("float64", bits)
        for at, bits in enumerate(FLOATS * 40)
    }
    check(tmp_path, [decode(body)], expected)


def test_times_at_their_ends(tmp_path):
    times = [-(2**63), -(2**63) + 1, -1, 0, 1, NOW_NS, 2**62, 2**63 - 2, 2**63 - 1]
    series = encode_series("t", "", [])
    batch = decode_columns(
        [series], [0, len(times)], np.array(times), np.arange(len(times), dtype=np.float64)
    )
    bits = np.arange(len(times), dtype=np.float64).view(np.uint64).tolist()
    expected = {(series, time): ("float64", value) for time, value in zip(times, bits, strict=True)}
    check(tmp_path, [batch], expected)


def test_kinds_at_their_ends_and_mixed_in_one_series(tmp_path):
    lines = {
        1: (f"{-(2**63)}i", ("int64", 1 << 63)),
        2: (f"{2**63 - 1}i", ("int64", 2**63 - 1)),
        3: (f"{2**64 - 1}u", ("uint64", 2**64 - 1)),
        4: ("0u", ("uint64", 0)),
        5: ("true", ("bool", 1)),
        6: ("false", ("bool", 0)),
        7: ('""', ("string", b"")),
        8: ('"ü\\"\\\\"', ("string", 'ü"\\'.encode())),
        9: ("-0.0", ("float64", 1 << 63)),
        10: ("1e308", ("float64", int(np.float64(1e308).view(np.uint64)))),
        11: (f'"{"x" * 65536}"', ("string", b"x" * 65536)),
        12: ("5i", ("int64", 5)),
    }
    body = "\n".join(f"m,host=a f={text} {time}" for time, (text, _) in lines.items()).encode()
    batch = decode_line_protocol(body, precision_ns=1, now_ns=0)
    assert batch.rejected == []
    # The later write wins, whatever its kind.
    again = decode_line_protocol(b'm,host=a f="now text" 12', precision_ns=1, now_ns=0)
    series = encode_series("m", "f", [("host", "a")])
    expected = {(series, time): value for time, (_, value) in lines.items()}
    expected[series, 12] = ("string", b"now text")
    check(tmp_path, [batch, again], expected)


def test_names_at_their_ends(tmp_path):
    names = [
        encode_series("none", "", []),
        encode_series("many", "", [(f"label{n:04}", f"value{n}") for n in range(1000)]),
        encode_series("long", "f", [("k", "v" * 65536), ("é\0\n", "\0")]),
        encode_series("x" * 65536, "", []),
    ]
    batch = decode_columns(names, [0, 1, 2, 3, 4], np.full(4, NOW_NS), np.full(4, 1.0))
    one = int(np.float64(1.0).view(np.uint64))
    check(tmp_path, [batch], {(name, NOW_NS): ("float64", one) for name in names})
    assert len(parse_series(names[1])[2]) == 1000
