"""Payloads of native histograms through their Python door; encoding is tested in Rust."""

from pathlib import Path

import pytest

from orrery.errors import Corrupt
from orrery.kernels.histogram import decode_histogram, histogram_json
from orrery.kernels.remote_write import decode_remote_write_1, decode_remote_write_2
from tests.kernels import histograms
from tests.kernels.prometheus_messages import request_1, request_2, with_histograms

GOLDEN = Path(__file__).parents[1] / "golden" / "formats" / "histogram_v1.bin"
SERIES = [([("__name__", "latency")], [])]
WIRES = {1: (request_1, decode_remote_write_1), 2: (request_2, decode_remote_write_2)}

SHOWN = {
    "integer": (1, 2, 0.001, 2.0, 12.0, 18.5, [-2, -1, 3], [1, 3, 2], [0], [4], []),
    "float": (-1, 3, 0.0, 0.5, 4.5, -1.25, [1, 2], [1.5, 2.5], [], [], []),
    "custom": (-53, 0, 0.0, 0.0, 6.0, 21.0, [0, 1, 2], [1, 2, 3], [], [], [1.0, 5.0]),
}


def payloads(version: int) -> list[bytes]:
    request, decode = WIRES[version]
    sent = [histograms.at(one, 1000) for one in histograms.ALL.values()]
    batch = decode(with_histograms(request(SERIES), version, sent))
    assert batch.rejected == []
    return [batch.payload(at) for at in range(batch.sample_count)]


def golden() -> list[bytes]:
    content, found = GOLDEN.read_bytes(), []
    while content:
        size = int.from_bytes(content[:4], "little")
        found.append(content[4 : 4 + size])
        content = content[4 + size :]
    return found


def flat(payload: bytes) -> tuple:
    *numbers, positive, negative, bounds = decode_histogram(payload)
    sides = [column.tolist() for side in (positive, negative) for column in side]
    return (*numbers, *sides, bounds)


@pytest.mark.parametrize("version", WIRES)
def test_payloads_are_written_as_version_1(version: int) -> None:
    assert payloads(version) == golden()


def test_payloads_of_version_1_are_still_read() -> None:
    assert [flat(one) for one in golden()] == list(SHOWN.values())


@pytest.mark.parametrize("damage", [b"", b"\x02\x00", golden()[0][:-1], golden()[0] + b"\x00"])
def test_what_is_no_payload_is_corrupt(damage: bytes) -> None:
    with pytest.raises(Corrupt):
        decode_histogram(damage)


def test_json() -> None:
    assert histogram_json(3.0, 1.5, [(3, -0.5, 0.5, 3.0)]) == (
        b'{"count":"3","sum":"1.5","buckets":[[3,"-0.5","0.5","3"]]}'
    )


@pytest.mark.parametrize("version", WIRES)
@pytest.mark.parametrize(("change", "cause"), [
    ({"schema": 9}, "schema 9 is none of"),
    ({"count_int": 13}, "its buckets hold 12 observations, its count is 13"),
    ({"positive_deltas": [1, 2]}, "have room for 3 buckets, it has 2"),
])  # fmt: skip
def test_one_that_is_not_valid_is_refused_alone(version: int, change: dict, cause: str) -> None:
    request, decode = WIRES[version]
    wrong = {**histograms.INTEGER, **change}
    sent = [histograms.at(one, 1000) for one in (wrong, histograms.FLOAT)]
    batch = decode(with_histograms(request(SERIES), version, sent))
    assert batch.sample_count == 1
    [(line, reason)] = batch.rejected
    assert line == 1
    assert reason.startswith("cannot store a histogram of series 1 of the request: ")
    assert cause in reason
