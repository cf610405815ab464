"""Points as Prometheus remote write 1.0: how values that are not finite travel, since line
protocol has none; for ``client.remote``."""

import struct

import numpy as np

from orrery.client.columns import Name, Points
from orrery.errors import Invalid

MILLISECOND_NS = 1_000_000
TIME_SERIES, LABEL, SAMPLE = b"\x0a", b"\x0a", b"\x12"
VARINT_MASK = 2**64 - 1


def encode(points: Points) -> bytes:
    """A ``WriteRequest`` in snappy's block format."""
    if (points.times_ns % MILLISECOND_NS).any():
        raise Invalid(
            "cannot write values that are not finite over HTTP: their times must be whole "
            "milliseconds"
        )
    times_ms = (points.times_ns // MILLISECOND_NS).tolist()
    values = points.values.astype(np.float64).tolist()
    parts = []
    for position, name in enumerate(points.series):
        first, last = points.offsets[position : position + 2].tolist()
        samples = zip(times_ms[first:last], values[first:last], strict=True)
        body = labels_of(name) + b"".join(
            sized(SAMPLE, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time_ms))
            for time_ms, value in samples
        )
        parts.append(sized(TIME_SERIES, body))
    return snappy_literals(b"".join(parts))


def labels_of(name: Name) -> bytes:
    if name.field:
        raise Invalid(
            f"cannot write values that are not finite over HTTP to field {name.field!r}: "
            "remote write knows no fields"
        )
    pairs = sorted((("__name__", name.name), *name.labels))
    return b"".join(
        sized(LABEL, sized(b"\x0a", key.encode()) + sized(b"\x12", value.encode()))
        for key, value in pairs
    )


def sized(tag: bytes, content: bytes) -> bytes:
    return tag + varint(len(content)) + content


def varint(number: int) -> bytes:
    """Negative numbers as protobuf's int64 has them: ten bytes of two's complement."""
    number &= VARINT_MASK
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def snappy_literals(content: bytes) -> bytes:
    """Valid snappy that compresses nothing: one literal with a length of four bytes."""
    if not content:
        return varint(0)
    return varint(len(content)) + b"\xfc" + struct.pack("<I", len(content) - 1) + content
