"""Samples on their way into the engine and out of it, as the model has them."""

import numpy as np

from orrery.kernels.columns import decode_columns
from orrery.kernels.meter import Meter
from orrery.kernels.series import encode_series, parse_series
from orrery.kernels.sides import NO_ELEVATION, NO_POSITION, NO_START_TIME

NO_SIDE = (NO_START_TIME, NO_POSITION, NO_ELEVATION)


class Violation(AssertionError):
    """The store broke a promise: which one, and how."""

    def __init__(self, promise, cause):
        super().__init__(f"{promise}: {cause}")
        self.promise = promise


def within(state, tenant, low, high):
    return {k: bits for k, bits in state.items() if k[0] == tenant and low <= k[2] <= high}


def unlimited():
    return Meter(samples_max=2**40, series_max=2**30, deadline_seconds=None)


def side_of(number):
    """Side columns of some samples: all, one or none of them, so that merges meet all mixtures."""
    present = ((7, 1 << 62, -12), (number, NO_POSITION, NO_ELEVATION), (NO_START_TIME, number, 0))
    return present[number % 3] if number % 5 < 2 else NO_SIDE


def batch_of(rows):
    by_name = {}
    for name, time, (bits, side) in rows:
        by_name.setdefault(name, []).append((time, bits, *side))
    samples = [sample for found in by_name.values() for sample in found]
    times, bits, starts, positions, elevations = zip(*samples, strict=True)
    sides = {}
    if any(side != NO_SIDE for _, _, (_, side) in rows):
        sides = {
            "start_times_ns": np.array(starts, dtype=np.int64),
            "positions": np.array(positions, dtype=np.uint64),
            "elevations_mm": np.array(elevations, dtype=np.int64),
        }
    return decode_columns(
        [encode_series(name, "", []) for name in by_name],
        np.cumsum([0, *map(len, by_name.values())]),
        np.array(times, dtype=np.int64),
        np.array(bits, dtype=np.uint64).view(np.float64),
        **sides,
    )


def read(snapshot, tenant, min_ns, max_ns):
    meter = unlimited()
    found = snapshot.select(tenant, [], min_ns, max_ns, meter)
    names = [parse_series(found.canonical(at))[0] for at in range(len(found))]
    out = {}
    for _, series, times, values, *sides in found.columns(0, len(found), min_ns, max_ns, meter):
        columns = [series.tolist(), times.tolist(), values.view(np.uint64).tolist()]
        columns += [
            [none] * len(times) if side is None else side.tolist()
            for side, none in zip(sides, NO_SIDE, strict=True)
        ]
        for at, time, bits, *side in zip(*columns, strict=True):
            key = (tenant, names[at], time)
            if key in out:
                raise Violation("reads differ", f"{key} is answered twice")
            out[key] = bits, tuple(side)
    return out
