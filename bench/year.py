"""What a question over a year costs, answered from buckets and from samples.

    .venv/bin/python bench/year.py [--series 10] [--gap 60] [--rounds 5]

Counters of whole numbers with a sample every ``gap`` seconds for 365 days, rolled up to 5 minutes,
an hour and a day, compacted; each question runs in this process. CPU is the process's, the least of
the rounds; what is read counts rows of buckets as samples.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from orrery.api import Database
from orrery.app import Engine, open_engine
from orrery.client.embedded import Embedded
from orrery.languages.promql.evaluate import LOOKBACK_NS
from orrery.languages.promql.prepare import Preparations
from orrery.query.queries import Asked, Query
from orrery.settings import Limits, Settings

SECOND_NS = 1_000_000_000
HOUR_SECONDS = 3600
DAY_SECONDS = 86_400
START = 1_672_531_200
END = START + 365 * DAY_SECONDS
QUESTIONS = [
    ("sum(increase(requests[1d]))", DAY_SECONDS),
    ("max_over_time(requests[1d])", DAY_SECONDS),
    ("sum(rate(requests[6h]))", 6 * HOUR_SECONDS),
    ("sum(rate(requests[1h]))", HOUR_SECONDS),
]


def fill(engine: Engine, series: int, gap: int) -> int:
    database = Database(Embedded(engine, tenant="default"))
    chance = np.random.default_rng(1)
    days = np.arange(START, END, 7 * DAY_SECONDS)
    totals = np.zeros(series)
    for first in days:
        times = np.arange(first + gap, min(first + 7 * DAY_SECONDS, END) + 1, gap)
        for number in range(series):
            values = totals[number] + np.cumsum(chance.integers(0, 100, len(times)))
            totals[number] = values[-1]
            host = np.full(len(times), f"host{number}")
            rows = {"time": times * SECOND_NS, "value": values, "host": host}
            database.write(rows, name="requests")
    engine.store.flush()
    engine.store.compact()
    return series * (END - START) // gap


def measure(engine: Engine, text: str, step: int, *, raw_only: bool, rounds: int) -> str:
    prepared = Preparations().of(text, LOOKBACK_NS)

    def work(query: Query) -> int:
        program = prepared.answer(
            start_ns=(START + step) * SECOND_NS,
            end_ns=END * SECOND_NS,
            step_ns=step * SECOND_NS,
            cells_max=query.budget.cells_max,
        )
        query.drive(program)
        return query.budget.meter.samples_read

    asked = Asked(tenant="default", text=text, raw_only=raw_only)
    cpu_ns, read = least(lambda: engine.queries.run_here(asked, work), rounds)
    return f"{cpu_ns / 1e6:,.1f} ms, {read:,} read"


def least(work: Callable[[], int], rounds: int) -> tuple[int, int]:
    best, found = 2**62, 0
    for _ in range(rounds):
        before = time.process_time_ns()
        found = work()
        best = min(best, time.process_time_ns() - before)
    return best, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=10)
    parser.add_argument("--gap", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    settings = Settings(limits=Limits(downsampling="5m,1h,1d"), disk_free_bytes_min=0)
    with tempfile.TemporaryDirectory() as folder:
        engine = open_engine(Path(folder), settings=settings)
        try:
            count = fill(engine, arguments.series, arguments.gap)
            print(f"{count:,} samples")
            for length in (0, 300, HOUR_SECONDS, DAY_SECONDS):
                entries = [
                    e for e in engine.store.blocks() if e.resolution_ns == length * SECOND_NS
                ]
                size = sum(entry.byte_count for entry in entries)
                print(f"  resolution {length} s: {len(entries)} blocks, {size:,} bytes")
            for text, step in QUESTIONS:
                for name, raw_only in (("buckets", False), ("samples", True)):
                    cost = measure(engine, text, step, raw_only=raw_only, rounds=arguments.rounds)
                    print(f"{text} every {step} s from {name}: {cost}")
        finally:
            engine.close()


if __name__ == "__main__":
    main()
