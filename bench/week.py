"""Bytes a sample of a week of sparse series as time brings it, in this process, on a stepped clock.

    .venv/bin/python bench/week.py [SERIES]

The data set "sparse" of bench/disk.py: a sample per five minutes of each series. Two hours at a
time are written, the clock goes on, and upkeep does what it would have done; blocks alone are
weighed.
With PYTHONPATH another tree is measured.
"""

import sys
import tempfile

import datasets
import numpy as np
from tenants import SECOND_NS, SteppedClock

from orrery.app import Engine, open_engine
from orrery.kernels.columns import decode_columns
from orrery.kernels.series import encode_series
from orrery.settings import Settings

SLICE = 24
DAY_NS = 86_400 * SECOND_NS


def upkeep(engine: Engine) -> None:
    engine.store.maintain_head()
    while engine.store.maintain_blocks():
        pass


def report(engine: Engine, name: str) -> None:
    blocks = engine.store.blocks()
    size, count = sum(b.byte_count for b in blocks), sum(b.sample_count for b in blocks)
    hours = [round((b.max_ns - b.min_ns) / 3600 / SECOND_NS) for b in blocks]
    print(f"{name}: {size / count:.4f} bytes/sample, blocks of {hours} hours")


def main() -> None:
    data = datasets.sparse(int(sys.argv[1]) / 4000 if len(sys.argv) > 1 else 0.1)
    series = [
        encode_series(
            labels["__name__"], "", sorted((k, v) for k, v in labels.items() if k[0] != "_")
        )
        for labels in data.labels
    ]
    clock = SteppedClock()
    clock.ns = int(data.times_ms.min()) * 1_000_000
    with tempfile.TemporaryDirectory(prefix="orrery-week-", dir="/var/tmp") as folder:
        settings = Settings(compaction_seconds=36_000.0, disk_free_bytes_min=0)
        engine = open_engine(folder, settings=settings, clock=clock)
        for first in range(0, data.values.shape[1], SLICE):
            part = slice(first, first + SLICE)
            clock.ns += 2 * 3600 * SECOND_NS
            offsets = np.arange(len(series) + 1, dtype=np.int64) * SLICE
            times_ns = data.times_ms[:, part].ravel() * 1_000_000
            batch = decode_columns(series, offsets, times_ns, data.values[:, part].ravel())
            engine.accept.write("default", batch).result(60)
            upkeep(engine)
        for days in (1, 20):
            clock.ns += days * DAY_NS
            upkeep(engine)
            report(engine, f"{days} days later")
        engine.close()


if __name__ == "__main__":
    main()
