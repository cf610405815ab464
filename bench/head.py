"""What series table, record and head cost a sample: CPU time of this process, one thread.

Budgets (DESIGN section 5): a known series some tens of ns, a new one about 1,000 ns, an append at
most 35 ns. `bench/head.py --series 10000 1000000`
"""

import argparse
import resource
from collections.abc import Callable
from time import process_time_ns
from typing import TypeVar

import numpy as np

from orrery.kernels.batch import Batch
from orrery.kernels.columns import decode_columns
from orrery.kernels.head import Head
from orrery.kernels.series import encode_series
from orrery.kernels.series_table import ResolveBounds, Resolved, SeriesTable

Outcome = TypeVar("Outcome")
BATCH_SERIES = 10_000
BOUNDS = ResolveBounds(
    time_min_ns=0,
    time_max_ns=2**62,
    active_series_max=2**62,
    new_series_allowed=True,
    label_count_max=100,
    label_bytes_max=1000,
)


def canonical(number: int) -> bytes:
    labels = [
        ("arch", "x64"),
        ("datacenter", f"eu-central-1{'abc'[number // 100 % 3]}"),
        ("hostname", f"host_{number // 100}"),
        ("os", "Ubuntu16.04LTS"),
        ("rack", str(number // 100 % 97)),
        ("region", "eu-central-1"),
        ("service", str(number // 100 % 20)),
        ("service_environment", "production"),
        ("service_version", "0"),
        ("team", "SF"),
    ]
    return encode_series("cpu", f"usage_{number % 100}", labels)


def batch(series: list[bytes], time_ns: int, samples: int = 1) -> Batch:
    count = len(series)
    times_ns = np.tile(time_ns + np.arange(samples, dtype=np.int64) * 10**9, count)
    offsets = np.arange(count + 1, dtype=np.int64) * samples
    return decode_columns(series, offsets, times_ns, np.random.rand(count * samples))


class Clock:
    """Adds up CPU time by step."""

    def __init__(self) -> None:
        self.spent_ns: dict[str, int] = {}
        self.counted: dict[str, int] = {}

    def run(self, step: str, count: int, work: Callable[[], Outcome]) -> Outcome:
        start = process_time_ns()
        result = work()
        self.spent_ns[step] = self.spent_ns.get(step, 0) + process_time_ns() - start
        self.counted[step] = self.counted.get(step, 0) + count
        return result

    def show(self) -> None:
        for step, spent in self.spent_ns.items():
            print(f"  {step:<28}{spent / self.counted[step]:>9.1f} ns")


def resolve(table: SeriesTable, body: Batch) -> Resolved:
    return table.resolve("bench", body, defaults=[], forced=[], bounds=BOUNDS)


def one_round(
    clock: Clock, table: SeriesTable, heads: list[Head], chunks: list[list[bytes]], number: int
) -> None:
    is_first = number == 0
    for chunk in chunks:
        body = batch(chunk, number * 10**10 + 1)
        count = len(chunk)
        step = "register, a series" if is_first else "resolve known, a sample"
        resolved = clock.run(step, count, lambda body=body: resolve(table, body))
        step = "record with definitions" if is_first else "record, a sample"
        record = clock.run(step, count, lambda resolved=resolved: resolved.record(1))
        step = "apply, first sample" if is_first else "apply, a sample"
        clock.run(step, count, lambda resolved=resolved: heads[0].apply(resolved, number))
        if len(heads) > 1:
            step = "replay with definitions" if is_first else "replay, a sample"
            clock.run(step, count, lambda record=record: heads[1].replay(record, number))


def measure(series_count: int, rounds: int, *, shuffled: bool) -> None:
    order = np.arange(series_count)
    if shuffled:
        np.random.default_rng(1).shuffle(order)
    series = [canonical(int(number)) for number in range(series_count)]
    starts = range(0, series_count, BATCH_SERIES)
    in_order = [series[start : start + BATCH_SERIES] for start in starts]
    mixed = [[series[at] for at in order[start : start + BATCH_SERIES]] for start in starts]
    table = SeriesTable()
    heads = [Head(table), Head(SeriesTable())]
    clock = Clock()
    for number in range(rounds):
        one_round(clock, table, heads, in_order if number == 0 else mixed, number)
    print(f"{series_count:,} series x {rounds} rounds{', shuffled' if shuffled else ''}")
    clock.show()
    print(f"  {'table, a series':<28}{table.memory_bytes / series_count:>9.1f} bytes")
    held = heads[0].memory_bytes / heads[0].sample_count
    print(f"  {'head, a sample':<28}{held:>9.1f} bytes")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"  {'peak of the process':<28}{peak:>9} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args()
    for series_count in arguments.series:
        for shuffled in (False, True):
            rounds = max(arguments.rounds, min(200, 1_000_000 // series_count))
            measure(series_count, rounds, shuffled=shuffled)


if __name__ == "__main__":
    main()
