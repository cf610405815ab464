"""Bytes and CPU nanoseconds a value of the page encodings, on the columns of common series.

    .venv/bin/python bench/pages.py [--samples 2048] [--rounds 40] [--hosts 100]

Columns: times with and without jitter, two-decimal and whole-number walks (TSBS), counters,
mostly constant values, full-precision noise. CPU time is this process's, the best of the rounds.
Then whole blocks of the TSBS cpu-only shape (10 metrics a host, each 10 s for 13 h): bytes a
sample of the file with everything in it, flushed and compacted, and the CPU that took.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orrery import _core
from orrery.kernels import pages
from orrery.kernels.block import Block
from orrery.kernels.columns import decode_columns
from orrery.kernels.compaction import write_block
from orrery.kernels.series import encode_series

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


def compare_pages(count: int, rounds: int) -> None:
    chance = np.random.default_rng(7)
    print(f"{count} values a page; bytes/value, ns/value to encode, ns/value to decode")
    print(f"{'column':<18}{'fast':>8}{'enc':>7}{'dec':>7}{'small':>10}{'enc':>7}{'dec':>7}")
    columns: dict[str, NDArray[np.int64] | NDArray[np.float64]] = {}
    columns |= times(chance, count)
    columns |= values(chance, count)
    for name, column in columns.items():
        cells = [page_figures(column, effort, rounds) for effort in ("fast", "small")]
        fast, small = cells
        print(
            f"{name:<18}{fast[0]:8.3f}{fast[1]:7.1f}{fast[2]:7.1f}"
            f"{small[0]:10.3f}{small[1]:7.1f}{small[2]:7.1f}"
        )


def page_figures(
    column: NDArray[np.int64] | NDArray[np.float64], effort: pages.Effort, rounds: int
) -> tuple[float, float, float]:
    bits = column.view(np.uint64)

    def encode() -> bytes:
        if column.dtype == np.int64:
            return pages.encode_times(column, effort=effort)
        return pages.encode_values(FLOAT64, bits, effort=effort)

    page = encode()

    def decode() -> NDArray[np.int64] | NDArray[np.uint64]:
        if column.dtype == np.int64:
            return pages.decode_times(page)
        return pages.decode_values(FLOAT64, page)

    assert np.array_equal(decode().view(np.uint64), bits)
    count = len(column)
    return len(page) / count, best_ns(encode, rounds, count), best_ns(decode, rounds, count)


METRICS = (
    *("usage_user", "usage_system", "usage_idle", "usage_nice", "usage_iowait"),
    *("usage_irq", "usage_softirq", "usage_steal", "usage_guest", "usage_guest_nice"),
)
SAMPLES_13_HOURS = 4680


def tsbs_series(hosts: int) -> list[bytes]:
    def labels(host: int) -> list[tuple[str, str]]:
        region = f"region-{host % 9}"
        return [
            ("hostname", f"host_{host}"),
            ("region", region),
            ("datacenter", f"{region}-{host % 3}"),
            ("rack", str(host % 100)),
            ("os", ("Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10")[host % 3]),
            ("arch", ("x64", "x86")[host % 2]),
            ("team", ("SF", "NYC", "LON", "CHI")[host % 4]),
            ("service", str(host % 20)),
            ("service_version", str(host % 2)),
            ("service_environment", ("production", "staging", "test")[host % 3]),
        ]

    return [encode_series("cpu", field, labels(host)) for host in range(hosts) for field in METRICS]


def tsbs_source(hosts: int, decimals: int) -> _core.Source:
    chance = np.random.default_rng(11)
    bounds = _core.ResolveBounds(
        time_min_ns=-(2**63),
        time_max_ns=2**63 - 1,
        active_series_max=10**9,
        new_series_allowed=True,
        label_count_max=64,
        label_bytes_max=4096,
    )
    table = _core.SeriesTable()
    head = _core.Head(table)
    regular = START_NS + np.arange(SAMPLES_13_HOURS, dtype=np.int64) * 10 * SECOND_NS
    for offset, series in enumerate(tsbs_series(hosts)):
        column = np.round(walk(chance, SAMPLES_13_HOURS), decimals)
        batch = decode_columns([series], np.array([0, SAMPLES_13_HOURS]), regular, column)
        resolved = table.resolve("default", batch, defaults=[], forced=[], bounds=bounds)
        head.apply(resolved, offset)
    generation = head.freeze(10**6)
    return generation.source()


def compare_blocks(hosts: int) -> None:
    print(f"\nTSBS cpu-only, {hosts} hosts x 10 metrics x {SAMPLES_13_HOURS} samples, one block")
    print(f"{'values':<12}{'effort':<14}{'bytes/sample':>13}{'CPU ns/sample':>15}  largest parts")
    with tempfile.TemporaryDirectory() as folder:
        for decimals in (0, 2):
            source = tsbs_source(hosts, decimals)
            for effort in ("fast", "small"):
                name = f"{decimals} decimals" if decimals else "whole"
                path = Path(folder) / f"{decimals}-{effort}"
                report_block(name, [source], path, effort)
                source = Block.open(path).source(1, 1)


def report_block(name: str, sources: list[_core.Source], path: Path, effort: pages.Effort) -> None:
    before = time.process_time_ns()
    summary = write_block(
        sources, [], path, min_ns=-(2**63), max_ns=2**63 - 1, keep={}, effort=effort
    )
    spent_ns = time.process_time_ns() - before
    assert summary is not None
    count = summary.sample_count
    parts = sorted(summary.bytes_by_section.items(), key=lambda part: -part[1])[:4]
    shares = ", ".join(f"{part} {size / count:.4f}" for part, size in parts)
    label = "flush, fast" if effort == "fast" else "merge, small"
    print(
        f"{name:<12}{label:<14}{summary.file_bytes / count:13.4f}{spent_ns / count:15.1f}  {shares}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--hosts", type=int, default=100)
    arguments = parser.parse_args()
    compare_pages(arguments.samples, arguments.rounds)
    compare_blocks(arguments.hosts)


if __name__ == "__main__":
    main()
