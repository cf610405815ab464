"""Short questions side by side: this tree, another one, VictoriaMetrics; server CPU a question.

    .venv/bin/python bench/compare.py --hours 1 --protocol remote --no-questions --keep STORES
    .venv/bin/python bench/questions.py STORES [--before SRC] [--rounds 5] [--each 20]

STORES is what compare.py left there; SRC is the ``src`` folder of another tree, built. All
servers run at once and take turns, question type by question type, so that whatever else the
machine does meets all of them. "Cold" asks for hosts and a range of their own, past
VictoriaMetrics' result cache; "again" asks the same once more. Least and median of the rounds.
"""

import argparse
import os
import random
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import compare
import peers
import tsbs

SHORT = ("single-groupby", "cpu-max-all", "high-cpu-1")
WORKLOAD = tsbs.Workload(1000, 1.0)
Server = tuple[str, peers.Product, str | None]
"""(name, product, where Python finds Orrery)"""


def servers(options: argparse.Namespace) -> Iterator[Server]:
    known = {product.name: product for product in peers.products()}
    orrery = known["Orrery"]
    if options.before is not None:
        yield "before", orrery, str(options.before.resolve())
    yield "now", orrery, None
    victoria = next((name for name in known if name.startswith("VictoriaMetrics 1.1")), None)
    if victoria is not None:
        yield victoria, known[victoria], None


def start(stack: ExitStack, stores: Path, folder: Path, server: Server) -> peers.Running:
    name, product, source = server
    kept = f"{product.name}-remote-write".replace(" ", "-").lower()
    data_dir = folder / name.replace(" ", "-")
    shutil.copytree(stores / kept, data_dir)
    if source is not None:
        os.environ["PYTHONPATH"] = source
    try:
        return stack.enter_context(peers.running(product, data_dir, keep=True))
    finally:
        os.environ.pop("PYTHONPATH", None)


def cost_ms(instance: peers.Running, position: int, repeats: range, *, is_cold: bool) -> float:
    before_ns = instance.cpu_nanoseconds()
    for repeat in repeats:
        compare.ask(instance, WORKLOAD, position, repeat, is_cold=is_cold)
    return (instance.cpu_nanoseconds() - before_ns) / len(repeats) / 1e6


def measure(instances: dict[str, peers.Running], options: argparse.Namespace) -> None:
    types = [
        (position, question.name)
        for position, question in enumerate(tsbs.questions(0))
        if question.name.startswith(SHORT) and options.question in question.name
    ]
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for turn in range(options.rounds + 1):
        repeats = range(turn * options.each, (turn + 1) * options.each)
        for position, question in types:
            for name, instance in random.sample(sorted(instances.items()), len(instances)):
                cold = cost_ms(instance, position, repeats, is_cold=True)
                if instance.product.cold:
                    cost_ms(instance, position, repeats, is_cold=False)
                again = cost_ms(instance, position, repeats, is_cold=False)
                # The first turn warms up.
                found.setdefault((question, name), []).extend([(cold, again)] if turn else [])
    print("| least, median | " + " | ".join(f"{n}: cold | again" for n in instances) + " |")
    print("|---|" + "--:|--:|" * len(instances))
    for _, question in types:
        cells = [
            f"{min(one):.2f}, {statistics.median(one):.2f}"
            for name in instances
            for one in zip(*found[question, name], strict=True)
        ]
        print(f"| {question} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stores", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--each", type=int, default=20, help="questions of a type in a round")
    parser.add_argument("--question", default="", help="types whose name holds this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orrery-bench-") as folder, ExitStack() as stack:
        instances = {
            server[0]: start(stack, options.stores, Path(folder), server)
            for server in servers(options)
        }
        measure(instances, options)


if __name__ == "__main__":
    main()
