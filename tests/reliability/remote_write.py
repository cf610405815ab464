"""A remote write 1.0 encoder in plain Python, for tests that write as Prometheus does."""

import struct
from collections.abc import Iterable, Mapping

import cramjam


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _message(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _series(labels: Mapping[str, str], samples: Iterable[tuple[int, float]]) -> bytes:
    pairs = b"".join(
        _message(1, _message(1, key.encode()) + _message(2, value.encode()))
        for key, value in sorted(labels.items())
    )
    points = b"".join(
        _message(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(time_ms))
        for time_ms, value in samples
    )
    return _message(1, pairs + points)


def body(series: Iterable[tuple[Mapping[str, str], Iterable[tuple[int, float]]]]) -> bytes:
    """The snappy body of one request; samples are (milliseconds, value)."""
    content = b"".join(_series(labels, samples) for labels, samples in series)
    return bytes(cramjam.snappy.compress_raw(content))


HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
