"""Bytes and CPU nanoseconds a value of the page encodings, on the columns of common series.

    .venv/bin/python bench/pages.py [--samples 720] [--rounds 40]

Columns: times with and without jitter, two-decimal and whole-number walks (TSBS cpu-only), counters,
mostly constant values, full-precision noise. CPU time is this process's, the best of the rounds.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from orrery.kernels import pages

FLOAT64 = 1
START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000


def walk(chance: np.random.Generator, count: int) -> NDArray[np.float64]:
    """TSBS' cpu walk: normal steps, kept inside 0 to 100."""
    out = np.empty(count)
    value = chance.uniform(0, 100)
    for at, step in enumerate(chance.normal(size=count)):
        value = min(100.0, max(0.0, value + step))
        out[at] = value
    return out


def times(chance: np.random.Generator, count: int) -> dict[str, NDArray[np.int64]]:
    regular = START_NS + np.arange(count, dtype=np.int64) * 10 * SECOND_NS
    jitter = chance.integers(-3_000_000, 3_000_000, count) // 1_000_000 * 1_000_000
    gaps = regular + np.cumsum(chance.random(count) < 0.005) * 10 * SECOND_NS
    return {"times regular": regular, "times gaps": gaps, "times jitter ms": regular + jitter}


def values(chance: np.random.Generator, count: int) -> dict[str, NDArray[np.float64]]:
    whole = walk(chance, count)
    steps = chance.poisson(40, count).astype(np.float64)
    mostly = np.where(chance.random(count) < 0.01, 2.0, 1.0)
    return {
        "walk whole": np.rint(whole),
        "walk 2 decimals": np.round(whole, 2),
        "counter": np.cumsum(steps),
        "mostly constant": mostly,
        "constant": np.ones(count),
        "memory bytes": np.rint(5e9 + np.cumsum(chance.normal(size=count) * 50)) * 4096,
        "noise full": chance.normal(size=count),
        "walk full": whole,
    }


def best_ns(call: Callable[[], object], rounds: int, count: int) -> float:
    repeats = max(1, 20_000 // count)
    best = float("inf")
    for _ in range(rounds):
        before = time.process_time_ns()
        for _ in range(repeats):
            call()
        best = min(best, (time.process_time_ns() - before) / repeats / count)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=720)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    count, rounds = arguments.samples, arguments.rounds
    chance = np.random.default_rng(7)
    print(f"{count} values a page; bytes/value, ns/value to encode, ns/value to decode")
    print(f"{'column':<18}{'fast':>8}{'enc':>7}{'dec':>7}{'small':>10}{'enc':>7}{'dec':>7}")
    columns: dict[str, NDArray[np.int64] | NDArray[np.float64]] = {}
    columns |= times(chance, count)
    columns |= values(chance, count)
    for name, column in columns.items():
        cells = []
        for effort in ("fast", "small"):
            if column.dtype == np.int64:
                encode = lambda c=column, e=effort: pages.encode_times(c, effort=e)  # noqa: E731
                decode = lambda p=encode(): pages.decode_times(p)  # noqa: E731
            else:
                bits = column.view(np.uint64)
                encode = lambda b=bits, e=effort: pages.encode_values(FLOAT64, b, effort=e)  # noqa: E731
                decode = lambda p=encode(): pages.decode_values(FLOAT64, p)  # noqa: E731
            assert np.array_equal(decode().view(np.uint64), column.view(np.uint64))
            size = len(encode()) / count
            cells.append((size, best_ns(encode, rounds, count), best_ns(decode, rounds, count)))
        fast, small = cells
        print(
            f"{name:<18}{fast[0]:8.3f}{fast[1]:7.1f}{fast[2]:7.1f}"
            f"{small[0]:10.3f}{small[1]:7.1f}{small[2]:7.1f}"
        )


if __name__ == "__main__":
    main()
