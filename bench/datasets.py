"""The data of bench/disk.py: labels, times and values of many series, and bodies to send them.

Every data set is made from a seed (or a recording), so that each product gets the same samples.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cramjam
import numpy as np
import scrapes
import tsbs
from numpy.typing import NDArray

DAY_SECONDS = 86_400
SLICE_SECONDS = 7_200
"""Bodies come two hours at a time, as time would bring them."""
SERIES_PER_BODY = 100
Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class DataSet:
    labels: list[Labels]
    times_ms: NDArray[np.int64]
    """Of every series (one row), or of each (as many rows as series); rising."""
    values: NDArray[np.float64]
    """(series, times); NaN where there is no sample."""

    @property
    def sample_count(self) -> int:
        return int(np.count_nonzero(~np.isnan(self.values)))

    @property
    def end_ms(self) -> int:
        return int(self.times_ms.max())


def regular_ms(days: float, interval_seconds: int) -> NDArray[np.int64]:
    count = int(days * DAY_SECONDS / interval_seconds)
    return (tsbs.START_SECONDS + np.arange(count)[np.newaxis] * interval_seconds) * 1000


def walks(
    chance: np.random.Generator, shape: tuple[int, int], *, start: float, step: float
) -> NDArray[np.float64]:
    firsts = chance.uniform(-1, 1, (shape[0], 1)) * start
    walked: NDArray[np.float64] = firsts + np.cumsum(chance.normal(0, step, shape), axis=1)
    return walked


def sensors(count: int, name: str) -> list[Labels]:
    return [
        {"__name__": name, "site": f"site-{at % 20:02}", "device": f"device-{at:05}"}
        for at in range(count)
    ]


def tsbs_cpu_only(scale: float) -> DataSet:
    """TSBS: hosts of ten whole-numbered metrics that walk within 0..100, every 10 s, two days."""
    workload = tsbs.Workload(host_count=max(1, int(100 * scale)), hours=48)
    ticks = [values for _, values in workload.ticks()]
    values = np.stack(ticks, axis=-1).reshape(-1, len(ticks)).astype(np.float64)
    labels = [
        {"__name__": f"cpu_{metric}", **host} for host in workload.hosts() for metric in tsbs.FIELDS
    ]
    return DataSet(labels, regular_ms(2, 10), values)


def two_decimals(scale: float) -> DataSet:
    """Gauges of two decimals, every 15 s, two days: temperatures, prices."""
    times = regular_ms(2, 15)
    shape = (int(1000 * scale), times.shape[1])
    values = np.round(walks(np.random.default_rng(1), shape, start=100, step=0.5), 2)
    return DataSet(sensors(shape[0], "temperature_celsius"), times, values)


def doubles(scale: float) -> DataSet:
    """Walks in which every bit of the double is used, every 15 s, two days: computed ratios."""
    times = regular_ms(2, 15)
    shape = (int(300 * scale), times.shape[1])
    values = 50 + walks(np.random.default_rng(2), shape, start=50, step=0.5)
    return DataSet(sensors(shape[0], "utilization_ratio"), times, values)


def mostly_constant(scale: float) -> DataSet:
    """Levels that change once in a thousand samples, every 15 s, two days: limits, states."""
    chance = np.random.default_rng(3)
    times = regular_ms(2, 15)
    shape = (int(2000 * scale), times.shape[1])
    changes = np.cumsum(chance.random(shape) < 0.001, axis=1)
    levels = chance.integers(0, 5, shape[0])[:, np.newaxis]
    return DataSet(sensors(shape[0], "queue_limit"), times, ((levels + changes) % 5) * 64.0)


def sparse(scale: float) -> DataSet:
    """One sample per 5 minutes, each series in a phase of its own, a week: one-decimal sensors."""
    chance = np.random.default_rng(4)
    grid = regular_ms(7, 300)
    shape = (int(4000 * scale), grid.shape[1])
    phases = chance.integers(0, 300_000, (shape[0], 1))
    values = np.round(20 + walks(chance, shape, start=5, step=0.3), 1)
    return DataSet(sensors(shape[0], "humidity_percent"), grid + phases, values)


def node_exporter(recording: Path, hosts: int = 10) -> DataSet:
    """A recording as the scrape of several hosts: the same values, each host in its own phase."""
    recorded = scrapes.load(recording)
    counters = [parse_name(name) for name in recorded.names]
    chance = np.random.default_rng(5)
    grid = regular_ms(1, 1)[0, 0] + np.arange(len(recorded.late_ms)) * scrapes.SCRAPE_MS
    labels, times, values = [], [], []
    for host in range(hosts):
        phase = chance.integers(0, scrapes.SCRAPE_MS)
        shift = host * len(grid) // hosts
        own = grid + phase + np.roll(recorded.late_ms, shift)
        target = {"job": "node", "instance": f"host-{host}:9100"}
        for series, column in zip(counters, recorded.values, strict=True):
            labels.append(series | target)
            times.append(own)
            # A host is the recording begun elsewhere, so that no two hosts change together.
            values.append(np.concatenate([column[shift:], column[:shift]]))
    return DataSet(labels, np.stack(times), np.stack(values))


def parse_name(text: str) -> Labels:
    name, _, rest = text.partition("{")
    pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', rest)
    return {"__name__": name, **{key: value for key, value in pairs if value}}


DATA_SETS: dict[str, Callable[[float], DataSet]] = {
    "TSBS cpu-only": tsbs_cpu_only,
    "two-decimal gauges": two_decimals,
    "full-precision doubles": doubles,
    "mostly constant": mostly_constant,
    "sparse": sparse,
}


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + _varint(value >> 7)


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _samples(times_ms: NDArray[np.int64], values: NDArray[np.float64]) -> bytes:
    """Samples of remote write; milliseconds of our days take six bytes of varint."""
    out = np.empty((len(times_ms), 18), np.uint8)
    out[:, 0], out[:, 1], out[:, 2], out[:, 11] = 2 << 3 | 2, 16, 1 << 3 | 1, 2 << 3
    out[:, 3:11] = np.ascontiguousarray(values, "<f8").view(np.uint8).reshape(-1, 8)
    for byte in range(6):
        more = 0x80 if byte < 5 else 0
        out[:, 12 + byte] = times_ms >> 7 * byte & 0x7F | more
    return out.tobytes()


def remote_write_bodies(data: DataSet) -> Iterator[bytes]:
    """Snappy bodies of remote write 1.0: two hours of a hundred series in each."""
    names = [
        b"".join(
            _message(1, _message(1, key.encode()) + _message(2, value.encode()))
            for key, value in sorted(labels.items())
        )
        for labels in data.labels
    ]
    times = np.broadcast_to(data.times_ms, data.values.shape)
    first_ms, last_ms = int(times.min()), int(times.max())
    for from_ms in range(first_ms, last_ms + 1, SLICE_SECONDS * 1000):
        to_ms = from_ms + SLICE_SECONDS * 1000
        for first in range(0, len(names), SERIES_PER_BODY):
            parts = []
            for at in range(first, min(first + SERIES_PER_BODY, len(names))):
                begin, end = np.searchsorted(times[at], (from_ms, to_ms))
                inside = data.values[at, begin:end]
                there = ~np.isnan(inside)
                if there.any():
                    samples = _samples(times[at, begin:end][there], inside[there])
                    parts.append(_message(1, names[at] + samples))
            if parts:
                yield bytes(cramjam.snappy.compress_raw(b"".join(parts)))
