"""Has anything become dearer? Ratios to a peer in the same run, against those recorded here
(`make bench-check`).

A machine's speed cancels out of a ratio, and so does most of what else runs on it. Every figure is
measured in `--rounds` rounds, Orrery and the peer by turns; its ratio is the median, its noise half
of the widest spread between two rounds, relative to it. A figure has regressed where it lies above
the recorded one by more than the noise of both together and NOISE_MIN. The exit code is 1 then.
`--record` writes bench/recorded.json anew; commit it with the change that earned it.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import compare
import peers
import tsbs

RECORDED = Path(__file__).with_name("recorded.json")
NOISE_MIN = 0.10
"""Two runs of one binary differ by as much."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Orrery's figure by the peer's: below 1 it is cheaper. ``noise`` is relative."""

    ratio: float
    noise: float


def figures(rows: list[compare.Figures]) -> Iterator[tuple[str, float]]:
    """Every figure that is compared, by a name that stays."""
    for row in rows:
        yield f"ingest CPU, {row.protocol}", row.ingest_cpu_seconds_per_million
        yield f"bytes/sample, {row.protocol}", row.disk_bytes_per_sample
        yield f"memory, {row.protocol}", row.memory_mebibytes
        for name, asked in row.questions.items():
            yield f"question CPU, {row.protocol}: {name}", asked.cold_ms


def measure_round(
    peer: peers.Product, own: peers.Product, workload: tsbs.Workload, options: argparse.Namespace
) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="orrery-bench-") as folder:
        options.folder = Path(folder)
        of_peer = dict(figures(compare.measure_protocols(peer, workload, options)))
        of_own = dict(figures(compare.measure_protocols(own, workload, options)))
    return {name: of_own[name] / of_peer[name] for name in of_own if of_peer.get(name)}


def summed_up(rounds: list[dict[str, float]]) -> dict[str, Ratio]:
    ratios = {}
    for name in rounds[0]:
        values = [one[name] for one in rounds if name in one]
        median = statistics.median(values)
        ratios[name] = Ratio(round(median, 3), round((max(values) - min(values)) / 2 / median, 3))
    return ratios


def verdict(recorded: Ratio | None, now: Ratio) -> str:
    if recorded is None:
        return "not recorded"
    change = now.ratio / recorded.ratio - 1
    if abs(change) <= max(recorded.noise + now.noise, NOISE_MIN):
        return ""
    return f"{change:+.0%} REGRESSED" if change > 0 else f"{change:+.0%} better"


def table(recorded: dict[str, Ratio], now: dict[str, Ratio], peer: str) -> list[str]:
    lines = [f"| Orrery / {peer} | recorded | now | noise | |", "|---|--:|--:|--:|---|"]
    for name, ratio in now.items():
        before = recorded.get(name)
        shown = f"{before.ratio:.2f}" if before else "-"
        lines.append(
            f"| {name} | {shown} | {ratio.ratio:.2f} | {ratio.noise:.0%} "
            f"| {verdict(before, ratio)} |"
        )
    lines += [f"| {name} | | | | not measured now |" for name in recorded if name not in now]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--hours", type=float, default=1.0, help="hours of data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=10, help="times each question is asked")
    parser.add_argument("--peer", default="VictoriaMetrics 1.145")
    parser.add_argument("--protocol", default="", help="protocols whose name holds this")
    parser.add_argument("--question", default="", help="questions whose name holds this")
    parser.add_argument("--no-questions", dest="questions", action="store_false")
    parser.add_argument("--record", action="store_true", help="what is measured is what holds")
    options = parser.parse_args()
    options.keep = None
    products = {product.name: product for product in peers.products()}
    if options.peer not in products:
        raise SystemExit(f"cannot compare with {options.peer!r}: only {', '.join(products)} exist")
    workload = tsbs.Workload(options.hosts, options.hours)
    now = summed_up(
        [
            measure_round(products[options.peer], products["Orrery"], workload, options)
            for _ in range(options.rounds)
        ]
    )
    if options.record:
        RECORDED.write_text(
            json.dumps({name: asdict(ratio) for name, ratio in now.items()}, indent=2) + "\n"
        )
    recorded = {}
    if RECORDED.exists():
        kept = json.loads(RECORDED.read_text())
        recorded = {name: Ratio(**ratio) for name, ratio in kept.items()}
    lines = table(recorded, now, options.peer)
    print("\n".join(lines))
    if any(line.endswith("REGRESSED |") for line in lines):
        sys.exit("some figures regressed beyond the noise")


if __name__ == "__main__":
    main()
