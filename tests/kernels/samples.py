"""Reads a batch back as plain Python values, so that tests can compare it with what they wrote."""

import struct

from orrery.kernels.batch import Batch
from orrery.kernels.series import parse_series

FLOAT64, INT64, UINT64, BOOL, STRING, BYTES = 1, 2, 3, 4, 5, 6


def value_of(batch: Batch, columns: dict, at: int):
    bits = int(columns["values"][at])
    kind = int(columns["kinds"][at])
    if kind in (STRING, BYTES):
        payload = batch.payload(at)
        return payload.decode() if kind == STRING else payload
    if kind == FLOAT64:
        return struct.unpack("<d", struct.pack("<Q", bits))[0]
    if kind == INT64:
        return struct.unpack("<q", struct.pack("<Q", bits))[0]
    return bits == 1 if kind == BOOL else bits


def samples_of(batch: Batch, *, forced=()) -> list[tuple]:
    """(name, field, labels, time_ns, value) of every sample, in order."""
    columns = batch.columns()
    out, start = [], 0
    for key, end in enumerate(columns["sample_ends"].tolist()):
        name, field, labels = parse_series(batch.canonical(key, forced=forced))
        for at in range(start, end):
            time_ns = int(columns["times_ns"][at])
            out.append((name, field, labels, time_ns, value_of(batch, columns, at)))
        start = end
    return out
