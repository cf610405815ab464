"""The cores that engine tests run over, and what a test needs of one beside ``Kernels``: how to
make batches of (name, time, value) and how to read an answer."""

import numpy as np

from orrery.kernels.columns import decode_columns
from orrery.kernels.meter import Meter
from orrery.kernels.series import encode_series, parse_series
from orrery.store.native import NativeKernels
from tests.store.fakes import FakeBatch, FakeKernels

TIME_MIN_NS, TIME_MAX_NS = -(2**63), 2**63 - 1


class FakeCore:
    def __init__(self):
        self.kernels = FakeKernels()

    def batch(self, rows):
        return FakeBatch(list(rows))

    def read(self, snapshot, tenant):
        return {(name, time): v for (of, name, time), v in snapshot.items() if of == tenant}


class PatchableKernels(NativeKernels):
    """With attributes of its own, so that a test can step in front of one."""


class NativeCore:
    def __init__(self):
        self.kernels = PatchableKernels()

    def batch(self, rows):
        by_name = {}
        for name, time, value in rows:
            by_name.setdefault(name, []).append((time, value))
        samples = [sample for rows in by_name.values() for sample in rows]
        return decode_columns(
            [encode_series(name, "", []) for name in by_name],
            np.cumsum([0, *map(len, by_name.values())]),
            np.array([time for time, _ in samples], dtype=np.int64),
            np.array([value for _, value in samples], dtype=np.float64),
        )

    def read(self, snapshot, tenant):
        meter = Meter(samples_max=2**40, series_max=2**30, deadline_seconds=None)
        found = snapshot.select(tenant, [], TIME_MIN_NS, TIME_MAX_NS, meter)
        offsets, times, values = found.samples(0, len(found), TIME_MIN_NS, TIME_MAX_NS, meter)
        out = {}
        for at in range(len(found)):
            name, _, _ = parse_series(found.canonical(at))
            for sample in range(offsets[at], offsets[at + 1]):
                key = (name, int(times[sample]))
                assert key not in out
                out[key] = float(values[sample])
        return out


def raw_samples(snapshot, tenant):
    """{(canonical, time): (kind, bits or payload)} of everything."""
    meter = Meter(samples_max=2**40, series_max=2**30, deadline_seconds=None)
    found = snapshot.select(tenant, [], TIME_MIN_NS, TIME_MAX_NS, meter)
    out = {}
    for kind, series, times, values, *_ in found.columns(
        0, len(found), TIME_MIN_NS, TIME_MAX_NS, meter
    ):
        if isinstance(values, tuple):
            offsets, heap = values
            plain = [heap[offsets[at] : offsets[at + 1]] for at in range(len(times))]
        else:
            plain = values.view(np.uint8 if values.itemsize == 1 else np.uint64).tolist()
        for at, time, value in zip(series.tolist(), times.tolist(), plain, strict=True):
            key = (found.canonical(at), time)
            assert key not in out
            out[key] = (kind, value)
    return out


CORES = {"fake": FakeCore, "native": NativeCore}
