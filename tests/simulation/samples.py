"""Samples on their way into the engine and out of it, as the model has them."""

import numpy as np

from orrery.kernels.columns import decode_columns
from orrery.kernels.meter import Meter
from orrery.kernels.series import encode_series, parse_series


class Violation(AssertionError):
    """The store broke a promise: which one, and how."""

    def __init__(self, promise, cause):
        super().__init__(f"{promise}: {cause}")
        self.promise = promise


def within(state, tenant, low, high):
    return {k: bits for k, bits in state.items() if k[0] == tenant and low <= k[2] <= high}


def unlimited():
    return Meter(samples_max=2**40, series_max=2**30, deadline_seconds=None)


def batch_of(rows):
    by_name = {}
    for name, time, bits in rows:
        by_name.setdefault(name, []).append((time, bits))
    samples = [sample for found in by_name.values() for sample in found]
    return decode_columns(
        [encode_series(name, "", []) for name in by_name],
        np.cumsum([0, *map(len, by_name.values())]),
        np.array([time for time, _ in samples], dtype=np.int64),
        np.array([bits for _, bits in samples], dtype=np.uint64).view(np.float64),
    )


def read(snapshot, tenant, min_ns, max_ns):
    meter = unlimited()
    found = snapshot.select(tenant, [], min_ns, max_ns, meter)
    offsets, times, values = found.samples(0, len(found), min_ns, max_ns, meter)
    bits = values.view(np.uint64)
    out = {}
    for at in range(len(found)):
        name, _, _ = parse_series(found.canonical(at))
        for sample in range(offsets[at], offsets[at + 1]):
            key = (tenant, name, int(times[sample]))
            if key in out:
                raise Violation("reads differ", f"{key} is answered twice")
            out[key] = int(bits[sample])
    return out
