"""What reading costs: ns a sample for rate over sources in memory, ns a point for JSON.

    .venv/bin/python bench/window.py [--series 2000] [--hours 6]

Prints process CPU, so that other work on the machine does not show; one thread and all.
"""

import argparse
import resource
from collections.abc import Callable

import numpy as np

from orrery.kernels.aggregate import aggregate
from orrery.kernels.answer import matrix_json
from orrery.kernels.memory_source import memory_source
from orrery.kernels.meter import Meter
from orrery.kernels.series import encode_series
from orrery.kernels.snapshot import Selection, Snapshot

SECOND_NS = 1_000_000_000
SCRAPE_SECONDS = 10
ROUNDS = 3
FUNCTIONS = (
    "instant",
    "rate",
    "increase",
    "avg_over_time",
    "max_over_time",
    "quantile_over_time",
    "deriv",
)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measured_ns(work: Callable[[], object], count: int) -> float:
    """The best of a few rounds, a single one of ``count``."""
    best = float("inf")
    for _ in range(ROUNDS):
        before = cpu_seconds()
        work()
        best = min(best, cpu_seconds() - before)
    return best * 1e9 / count


def selection_of(series_count: int, sample_count: int) -> Selection:
    chance = np.random.default_rng(1)
    names = [encode_series("requests_total", "", [("i", f"{at:06}")]) for at in range(series_count)]
    times = np.tile(np.arange(sample_count) * SCRAPE_SECONDS * SECOND_NS, series_count)
    steps = chance.integers(0, 1000, (series_count, sample_count))
    values = np.cumsum(steps, axis=1).astype(np.float64) / 100
    offsets = np.arange(series_count + 1) * sample_count
    source = memory_source("t", names, offsets, times, values.reshape(-1))
    meter = Meter(samples_max=0, series_max=0)
    return Snapshot([source], []).select("t", [], -(2**62), 2**62, meter)


def window(selection: Selection, function: str, hours: int, range_seconds: int, threads: int):  # noqa: ANN201
    return selection.window(
        0,
        len(selection),
        function=function,
        start_ns=0,
        step_ns=60 * SECOND_NS,
        step_count=hours * 60,
        range_ns=range_seconds * SECOND_NS,
        offset_ns=0,
        parameters=[0.5] if function == "quantile_over_time" else [],
        meter=Meter(samples_max=0, series_max=0),
        threads=threads,
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--series", type=int, default=2000)
    arguments.add_argument("--hours", type=int, default=6)
    given = arguments.parse_args()
    sample_count = given.hours * 3600 // SCRAPE_SECONDS
    total = given.series * sample_count
    selection = selection_of(given.series, sample_count)
    print(f"{given.series} series, {total} samples each {SCRAPE_SECONDS} s, a step a minute")
    for function in FUNCTIONS:
        for range_seconds in (60, 300):
            costs = [
                measured_ns(
                    lambda f=function, r=range_seconds, n=threads: window(
                        selection, f, given.hours, r, n
                    ),
                    total,
                )
                for threads in (1, 2)
            ]
            shown = ", ".join(f"{cost:.1f}" for cost in costs)
            print(f"{function}[{range_seconds}s]: {shown} ns a sample (1, 2 threads)")
    values, present = window(selection, "rate", given.hours, 300, 2)
    index = np.arange(given.series) % 10
    cost = measured_ns(lambda: aggregate("sum", values, present, index, 10), values.size)
    print(f"sum by 10 groups: {cost:.1f} ns a point")
    labels = selection.promql_labels(0, given.series)
    for name, column in (("full precision", values), ("two decimals", np.round(values, 2))):
        cost = measured_ns(lambda c=column: matrix_json(labels, 0, 60_000, c, present), values.size)
        print(f"matrix_json, {name}: {cost:.1f} ns a point")


if __name__ == "__main__":
    main()
