"""One table: Orrery beside its peers, same data, same questions, same run (`make bench`).

Ingest cost is the server's process CPU from the first body until it rests after flush and merge,
divided by the samples it accepted. Bodies are made beforehand; the sender is this process and its
CPU is not counted. Query cost is the server's CPU per question, of all its threads in nanoseconds.
Every question is asked many times with different hosts and ranges, after one that does not count:
cold, then, where there is a result cache, the same questions again. ``--keep`` loads once and asks
again.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import peers
import tsbs

MILLION = 1_000_000
REPEATS_MAX = 58
"""Each a second before the last, and two before all: no two lie whole steps of a minute apart."""

MEASURED_NS_MIN = 500_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What one question cost; ``warm_ms`` is that of asking it again."""

    cold_ms: float
    warm_ms: float
    p50_ms: float
    p99_ms: float


@dataclass(slots=True)
class Figures:
    product: str
    protocol: str
    ingest_cpu_seconds_per_million: float = 0.0
    samples_per_second: float = 0.0
    disk_bytes_per_sample: float = 0.0
    memory_mebibytes: float = 0.0
    refusals: int = 0
    questions: dict[str, Asked] = field(default_factory=dict)


def send(instance: peers.Running, path: str, bodies: list[bytes], protocol: str) -> int:
    """Sends every body; returns how many were not answered 2xx."""
    headers = {}
    if protocol == "remote write":
        headers = {
            "Content-Encoding": "snappy",
            "Content-Type": "application/x-protobuf",
            "X-Prometheus-Remote-Write-Version": "0.1.0",
        }
    refused = 0
    for body in bodies:
        status, answer = instance.request("POST", path, body, headers)
        if status >= 300:
            refused += 1
            if refused == 1:
                print(f"  refused with {status}: {answer[:200]!r}", file=sys.stderr)
    return refused


def measure_protocols(
    product: peers.Product, workload: tsbs.Workload, options: argparse.Namespace
) -> list[Figures]:
    """One row for each protocol that the product takes and ``options`` ask for."""
    return [
        measure(product, protocol, path, workload, options)
        for protocol, path in (
            ("remote write", product.remote_write),
            ("line protocol", product.line_protocol),
        )
        if path and options.protocol in protocol
    ]


def measure(
    product: peers.Product,
    protocol: str,
    path: str,
    workload: tsbs.Workload,
    options: argparse.Namespace,
) -> Figures:
    figures = Figures(product.name, protocol)
    data_dir = options.folder / f"{product.name}-{protocol}".replace(" ", "-").lower()
    loaded = data_dir.with_name(f"{data_dir.name}.loaded")
    keep = options.keep is not None
    with peers.running(product, data_dir, keep=keep) as instance:
        started = time.monotonic()
        if not loaded.exists():
            load(instance, protocol, path, workload, figures)
            if keep:
                loaded.touch()
        if options.questions:
            figures.questions = ask_all(instance, workload, options)
        print(
            f"  {product.name}, {protocol}: done in {time.monotonic() - started:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    return figures


def load(
    instance: peers.Running,
    protocol: str,
    path: str,
    workload: tsbs.Workload,
    figures: Figures,
) -> None:
    """Sends everything, settles, and notes what it took."""
    make = tsbs.line_bodies if protocol == "line protocol" else tsbs.remote_write_bodies
    cpu_before = instance.cpu_seconds()
    sent_seconds = 0.0
    bodies = make(workload)
    while chunk := list(itertools.islice(bodies, 500)):
        begun = time.monotonic()
        figures.refusals += send(instance, path, chunk, protocol)
        sent_seconds += time.monotonic() - begun
    instance.settle()
    cpu = instance.cpu_seconds() - cpu_before
    figures.ingest_cpu_seconds_per_million = cpu / workload.sample_count * MILLION
    figures.samples_per_second = workload.sample_count / max(sent_seconds, 1e-9)
    figures.disk_bytes_per_sample = instance.disk_bytes() / workload.sample_count
    figures.memory_mebibytes = instance.memory_bytes() / 2**20


def ask_all(
    instance: peers.Running, workload: tsbs.Workload, options: argparse.Namespace
) -> dict[str, Asked]:
    results = {}
    for position, question in enumerate(tsbs.questions(0)):
        if options.question not in question.name:
            continue
        try:
            results[question.name] = ask_often(instance, workload, position, options.repeats)
        except (LookupError, ValueError) as error:
            print(f"  {question.name}: {error}", file=sys.stderr)
    return results


def ask_often(
    instance: peers.Running, workload: tsbs.Workload, position: int, repeats: int
) -> Asked:
    """The cost of one type of question, each time of other hosts and another range."""
    before_ns = instance.cpu_nanoseconds()
    for repeat in (REPEATS_MAX, REPEATS_MAX + 1):
        before_ns = instance.cpu_nanoseconds()
        ask(instance, workload, position, repeat)
    once_ns = max(1, instance.cpu_nanoseconds() - before_ns)
    repeats = max(repeats, min(REPEATS_MAX, MEASURED_NS_MIN // once_ns))
    cold_ms, wall_ms = asked(instance, workload, position, repeats)
    if instance.product.cold:
        # Asked past the cache so far: this fills it.
        asked(instance, workload, position, repeats, is_cold=False)
    warm_ms, _ = asked(instance, workload, position, repeats, is_cold=False)
    ordered = sorted(wall_ms)
    p99_ms = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return Asked(cold_ms, warm_ms, statistics.median(wall_ms), p99_ms)


def asked(
    instance: peers.Running,
    workload: tsbs.Workload,
    position: int,
    repeats: int,
    *,
    is_cold: bool = True,
) -> tuple[float, list[float]]:
    """CPU milliseconds a question, and how long each took."""
    before_ns = instance.cpu_nanoseconds()
    wall_ms = []
    for repeat in range(repeats):
        begun = time.monotonic()
        ask(instance, workload, position, repeat, is_cold=is_cold)
        wall_ms.append((time.monotonic() - begun) * 1000)
    return (instance.cpu_nanoseconds() - before_ns) / repeats / 1e6, wall_ms


def ask(
    instance: peers.Running,
    workload: tsbs.Workload,
    position: int,
    repeat: int,
    *,
    is_cold: bool = True,
) -> None:
    first_host = (repeat * 37 + position * 3) % workload.host_count
    question = tsbs.questions(first_host)[position]
    hours = min(question.hours, workload.hours)
    end = workload.end_seconds - 10 - repeat
    start = end - hours * 3600
    if instance.product.promql:
        instance.ask(question.promql, start, end, question.step_seconds, is_cold=is_cold)
    elif question.influxql:
        instance.ask_influxql(question.influxql, start if hours else end - 300, end)


def table(rows: list[Figures]) -> str:
    lines = [
        "| | protocol | CPU s / M values | sent at, k/s | bytes/sample | memory, MiB | refusals |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {row.product} | {row.protocol} | {row.ingest_cpu_seconds_per_million:.3f} "
        f"| {row.samples_per_second / 1000:.0f} | {row.disk_bytes_per_sample:.3f} "
        f"| {row.memory_mebibytes:.0f} | {row.refusals} |"
        for row in rows
    ]
    asked = [row for row in rows if row.questions]
    if asked:
        lines += ["", "Questions: server CPU ms cold, asked again (p50 / p99 ms cold)", ""]
        lines.append("| | " + " | ".join(row.product for row in asked) + " |")
        lines.append("|---|" + "--:|" * len(asked))
        for question in tsbs.questions(0):
            cells = [row.questions.get(question.name) for row in asked]
            shown = [
                f"{c.cold_ms:.2f}, {c.warm_ms:.2f} ({c.p50_ms:.1f} / {c.p99_ms:.1f})" if c else "-"
                for c in cells
            ]
            lines.append(f"| {question.name} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--hours", type=float, default=1.0, help="hours of data")
    parser.add_argument(
        "--repeats", type=int, default=10, help="times each question is asked at least"
    )
    parser.add_argument("--only", default="", help="products whose name holds this")
    parser.add_argument("--protocol", default="", help="protocols whose name holds this")
    parser.add_argument("--question", default="", help="questions whose name holds this")
    parser.add_argument(
        "--keep", type=Path, help="keep stores in this folder; those found there are not loaded"
    )
    parser.add_argument("--no-questions", dest="questions", action="store_false")
    options = parser.parse_args()
    workload = tsbs.Workload(options.hosts, options.hours)
    rows = []
    with tempfile.TemporaryDirectory(prefix="orrery-bench-") as folder:
        options.folder = options.keep or Path(folder)
        for product in peers.products():
            if options.only.lower() in product.name.lower():
                rows += measure_protocols(product, workload, options)
    print(f"{workload.host_count} hosts x 10 metrics x {workload.hours} h, every 10 s")
    print(table(rows))


if __name__ == "__main__":
    main()
