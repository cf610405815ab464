"""What reading a block costs: CPU ns a sample from the mapped file to a window function's answer.

    .venv/bin/python bench/reading.py [--hosts 100] [--rounds 5]

A block of the TSBS cpu-only shape (13 hours, compacted), read on one thread: windows that lie side
by side, windows that overlap, and the last sample of every series, which is CPU us a series.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pages

from orrery.kernels.block import Block
from orrery.kernels.meter import Meter
from orrery.kernels.snapshot import Selection, Snapshot

SECOND_NS = 1_000_000_000
EVERYTHING = (-(2**62), 2**62)
HOUR_SECONDS = 3600


def unlimited() -> Meter:
    return Meter(samples_max=0, series_max=0)


def spent_ns(
    selection: Selection,
    function: str,
    *,
    range_seconds: int,
    step_seconds: int,
    steps: tuple[int, int],
    rounds: int,
) -> int:
    """The least of the rounds; ``steps`` are the first one, in seconds, and how many."""
    best = 2**62
    for _ in range(rounds):
        before = time.process_time_ns()
        selection.window(
            0,
            len(selection),
            function=function,
            start_ns=pages.START_NS + steps[0] * SECOND_NS,
            step_ns=step_seconds * SECOND_NS,
            step_count=steps[1],
            range_ns=range_seconds * SECOND_NS,
            offset_ns=0,
            parameters=[],
            meter=unlimited(),
            threads=1,
        )
        best = min(best, time.process_time_ns() - before)
    return best


def measure(selection: Selection, rounds: int) -> None:
    sample_count = len(selection) * pages.SAMPLES_13_HOURS
    hours = {"range_seconds": HOUR_SECONDS, "step_seconds": HOUR_SECONDS}
    minutes = {"range_seconds": 300, "step_seconds": 15}
    for function in ("avg_over_time", "max_over_time", "rate"):
        apart = spent_ns(selection, function, **hours, steps=(HOUR_SECONDS, 13), rounds=rounds)
        over = spent_ns(selection, function, **minutes, steps=(300, 3100), rounds=rounds)
        print(
            f"{function}: {apart / sample_count:.1f} ns a sample by the hour, "
            f"{over / sample_count:.1f} over 5 minutes each 15 s"
        )
    last_seconds = (pages.SAMPLES_13_HOURS - 1) * 10
    last = spent_ns(
        selection,
        "instant",
        range_seconds=300,
        step_seconds=60,
        steps=(last_seconds, 1),
        rounds=rounds,
    )
    print(f"the last sample: {last / len(selection) / 1000:.2f} us a series")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tsbs.block"
        pages.report_block("whole", [pages.tsbs_source(options.hosts, 0)], path, "small")
        snapshot = Snapshot([Block.open(path).source(1, 1)], [])
        selection = snapshot.select("default", [], *EVERYTHING, unlimited())
        measure(selection, options.rounds)


if __name__ == "__main__":
    main()
