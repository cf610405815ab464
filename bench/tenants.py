"""What many tenants cost: memory of an idle one, and a small one's questions beside a big one's.

`python bench/tenants.py memory` writes some samples for each of `--tenants` tenants of `--series`
series into an engine in this process, whose clock it moves: rounds of writing, then hours in which
nobody writes. Memory is what the process holds for itself (RssAnon) over what it held before.

`python bench/tenants.py fairness` starts a server, loads a small and a big tenant, and asks the
small one's question alone, then while the big tenant asks its worst allowed query from several
connections, one after another without a pause; it prints both latencies.
"""

import argparse
import ctypes
import gc
import statistics
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

import numpy as np
import peers

from orrery.app import Engine, open_engine
from orrery.ingest.front import OwnSeries
from orrery.kernels.columns import decode_columns
from orrery.kernels.series import encode_series
from orrery.settings import Settings
from orrery.tenancy.usage import UsageSeries

SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
START_NS = 490_000 * HOUR_NS
IN_FLIGHT_MAX = 256


class SteppedClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.ns = START_NS

    def now_ns(self) -> int:
        return self.ns

    def monotonic_seconds(self) -> float:
        return self.ns / SECOND_NS

    def sleep_seconds(self, seconds: float) -> None:
        time.sleep(seconds)


# --- memory


def held_bytes() -> int:
    """Anonymous memory, after what is free was given back."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("cannot read RssAnon of /proc/self/status")


def write_round(engine: Engine, tenants: range, series_count: int) -> None:
    """One sample for every series of every tenant, at the clock's time."""
    series = [
        encode_series("load", "", [("core", str(number // 5)), ("mode", f"m{number % 5}")])
        for number in range(series_count)
    ]
    times_ns = np.full(series_count, engine.clock.now_ns(), dtype=np.int64)
    offsets = np.arange(series_count + 1, dtype=np.int64)
    batch = decode_columns(series, offsets, times_ns, np.arange(series_count, dtype=np.float64))
    waiting = []
    for number in tenants:
        waiting.append(engine.accept.write(f"tenant-{number}", batch))
        if len(waiting) >= IN_FLIGHT_MAX:
            for answer in waiting:
                answer.result(60)
            waiting.clear()
    for answer in waiting:
        answer.result(60)


def pass_time(engine: Engine, clock: SteppedClock, hours: float) -> None:
    """Moves the clock and does what upkeep would have done meanwhile."""
    clock.ns += int(hours * HOUR_NS)
    engine.store.flush()
    while engine.store.maintain_blocks():
        pass
    # Somebody is always there; the rest is let go of when anybody comes.
    write_round(engine, range(1), 1)


def memory(options: argparse.Namespace) -> None:
    clock = SteppedClock()
    with tempfile.TemporaryDirectory(prefix="orrery-tenants-") as folder:
        engine = open_engine(
            folder, settings=Settings(compaction_seconds=3600.0, disk_free_bytes_min=0), clock=clock
        )
        usage = UsageSeries(
            admission=engine.admission,
            active_series=engine.store.table.active_series,
            write=OwnSeries(accept=engine.accept),
            clock=clock,
        )
        write_round(engine, range(64), options.series)
        usage.write()
        pass_time(engine, clock, 1)
        before = held_bytes()

        def report(name: str) -> None:
            held = held_bytes() - before
            print(
                f"{name:<28} {held / 2**20:8.0f} MiB {held / options.tenants:10.0f} bytes a tenant"
                f"   ({engine.store.table.series_count} series in "
                f"{engine.store.table.memory_bytes / 2**20:.0f} MiB, {len(engine.store.blocks())} "
                f"blocks, {engine.admission.active_count()} tenants counted)",
                flush=True,
            )

        for number in range(options.rounds):
            write_round(engine, range(options.tenants), options.series)
            if options.usage:
                usage.write()
            report(f"round {number + 1}, written")
            pass_time(engine, clock, 0.5)
        report("flushed")
        for hours in (2, 2, 24):
            pass_time(engine, clock, hours)
            report(f"idle for {hours} h more")
        for _ in range(options.others):
            write_round(engine, range(64), options.series)
            clock.ns += 15 * SECOND_NS
        pass_time(engine, clock, 2)
        report("others wrote meanwhile")
        engine.close()


# --- fairness

SMALL, BIG = "small", "big"
QUESTION = "sum by (host) (rate(load[5m]))"


def load(instance: peers.Running, tenant: str, series_count: int, minutes: int) -> int:
    """Counters every 15 s that end now; the time they end at, in seconds."""
    end = int(time.time()) // 15 * 15
    for tick in range(minutes * 4, -1, -1):
        at_ns = (end - tick * 15) * SECOND_NS
        for first in range(0, series_count, 10_000):
            numbers = range(first, min(first + 10_000, series_count))
            lines = [
                f"load,host=h{n // 10},core={n % 10} value={n - tick} {at_ns}" for n in numbers
            ]
            body = "\n".join(lines).encode()
            status, answer = instance.request("POST", "/write", body, {"X-Scope-OrgID": tenant})
            if status >= 300:
                raise SystemExit(f"refused with {status}: {answer[:200]!r}")
    return end


def ask(instance: peers.Running, tenant: str, promql: str, end: int, seconds: int) -> int:
    arguments = {"query": promql, "start": end - seconds, "end": end, "step": 15}
    path = f"/api/v1/query_range?{urllib.parse.urlencode(arguments)}"
    status, _ = instance.request("GET", path, None, {"X-Scope-OrgID": tenant})
    return status


def latencies_ms(instance: peers.Running, end: int, count: int) -> list[float]:
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        status = ask(instance, SMALL, QUESTION, end, 1800)
        taken.append((time.perf_counter() - begun) * 1000)
        if status != 200:
            raise SystemExit(f"the small tenant's question was answered {status}")
    return sorted(taken)


def fairness(options: argparse.Namespace) -> None:
    product = peers.products()[0]
    with (
        tempfile.TemporaryDirectory(prefix="orrery-tenants-") as folder,
        peers.running(product, Path(folder) / "data") as instance,
    ):
        end = load(instance, SMALL, 50, 60)
        load(instance, BIG, options.big_series, 60)
        latencies_ms(instance, end, 20)
        alone = latencies_ms(instance, end, options.questions)
        ending = threading.Event()
        answers: list[int] = []

        def press() -> None:
            own = peers.Running(
                instance.product, instance.process, instance.port, instance.data_dir
            )
            while not ending.is_set():
                answers.append(ask(own, BIG, "sum(rate(load[1h]))", end, 3600))

        askers = [threading.Thread(target=press) for _ in range(options.askers)]
        for asker in askers:
            asker.start()
        time.sleep(1)
        pressed = latencies_ms(instance, end, options.questions)
        ending.set()
        for asker in askers:
            asker.join()
        for name, taken in (("alone", alone), ("beside the big one", pressed)):
            p99 = taken[min(len(taken) - 1, int(len(taken) * 0.99))]
            print(f"{name:<20} p50 {statistics.median(taken):7.2f} ms   p99 {p99:7.2f} ms")
        ratio = statistics.median(pressed) / statistics.median(alone)
        print(
            f"ratio of medians {ratio:.2f}; the big tenant's queries were answered {len(answers)}"
            f" times, by {sorted(set(answers))}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(required=True)
    of_memory = parts.add_parser("memory")
    of_memory.add_argument("--tenants", type=int, default=100_000)
    of_memory.add_argument("--series", type=int, default=50)
    of_memory.add_argument("--rounds", type=int, default=3)
    of_memory.add_argument("--others", type=int, default=500, help="rounds of 64 busy tenants")
    of_memory.add_argument("--no-usage", dest="usage", action="store_false")
    of_memory.set_defaults(run=memory)
    of_fairness = parts.add_parser("fairness")
    of_fairness.add_argument("--big-series", type=int, default=50_000)
    of_fairness.add_argument("--askers", type=int, default=8)
    of_fairness.add_argument("--questions", type=int, default=200)
    of_fairness.set_defaults(run=fairness)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
