"""CPU of a question without HTTP: the handler of /query_range on one thread of this process.

    .venv/bin/python bench/handler.py STORES [QUESTION]

STORES is what ``bench/compare.py --hours 1 --protocol remote --no-questions --keep STORES`` left.
Cold asks each time for other hosts and another range, again for the same ten; the least and the
median of many stretches of ten. With PYTHONPATH another tree is measured.
"""

import asyncio
import shutil
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import tsbs

from orrery.app import open_engine, wires
from orrery.clock import SystemClock
from orrery.protocols.prometheus import query
from orrery.protocols.prometheus.parts import Parts
from orrery.server.http import Request
from orrery.settings import Settings
from orrery.telemetry import Telemetry

WORKLOAD = tsbs.Workload(1000, 1.0)
STRETCH = 10
STRETCHES = 150


def questions(name: str) -> Iterator[Request]:
    """Each of hosts and a range of its own."""
    for number in range(STRETCH * STRETCHES):
        (asked,) = (q for q in tsbs.questions(number * 37 % 990) if q.name == name)
        end = WORKLOAD.end_seconds - 10 - number
        arguments = {
            "query": asked.promql,
            "start": end - 3600 * min(1.0, asked.hours),
            "end": end,
            "step": asked.step_seconds,
        }
        text = urllib.parse.urlencode(arguments)
        yield Request("GET", "/api/v1/query_range", text, {"host": "localhost"}, b"", "127.0.0.1:1")


async def stretch_us(parts: Parts, asked: list[Request]) -> float:
    begun = time.thread_time()
    for request in asked:
        await query.ranged(parts, request)
    return (time.thread_time() - begun) / len(asked) * 1e6


async def measure(parts: Parts, name: str) -> None:
    every = list(questions(name))
    stretches = [every[first : first + STRETCH] for first in range(0, len(every), STRETCH)]
    cold = sorted([await stretch_us(parts, stretch) for stretch in stretches])
    again = sorted([await stretch_us(parts, stretches[-1]) for _ in stretches])
    for kind, taken in (("cold", cold), ("again", again)):
        print(f"{name} {kind}: {taken[0]:.0f} us at least, {taken[len(taken) // 2]:.0f} median")


def main() -> None:
    name = sys.argv[2] if len(sys.argv) > 2 else "single-groupby-1-1-1"
    with tempfile.TemporaryDirectory(prefix="orrery-bench-") as folder:
        data_dir = Path(folder) / "data"
        shutil.copytree(Path(sys.argv[1]) / "orrery-remote-write", data_dir)
        settings, telemetry, clock = Settings(), Telemetry(), SystemClock()
        engine = open_engine(data_dir, settings=settings, telemetry=telemetry, clock=clock)
        access = wires._access(engine, settings, telemetry, clock)
        parts = wires._reading(engine, access, settings, telemetry, clock)
        asyncio.run(measure(parts, name))
        engine.close()


if __name__ == "__main__":
    main()
