"""Many series that come and go: memory of a series, look-ups, and what a sample costs.

`python bench/churn.py` keeps `--series` series that had a sample in the last hour in an engine in
this process, with a clock that it moves: every series has a sample each `--interval` seconds, and
each minute `--churn` of the active ones end and as many begin. Lines of ten fields are made by
another process; flush, compaction and sweeping run as in a server. It prints the highest resident
memory over the series held, p99 of look-ups while writing goes on, and CPU a sample, beside that of
`--baseline` series under the same churn. A small run to see that it works:
`python bench/churn.py --series 20000 --baseline 5000 --minutes 15`.
"""

import argparse
import contextlib
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import tenants

from orrery.app import Engine, open_engine
from orrery.kernels.line_protocol import decode_line_protocol
from orrery.kernels.meter import Meter
from orrery.settings import Limits, Settings

SECOND_NS = 1_000_000_000
MIB = 1024 * 1024
FIELDS = 10
HOUR_MINUTES = 60
TENANT = "default"
LINES_PER_BODY = 1000
WATCH_SECONDS = 0.1
LOOK_UPS_PER_MINUTE = 4
FIELD_NAMES = ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "g"]


def lines_of(part: int, host_count: int) -> list[bytes]:
    """Lines of the hosts of one part, which begin and end together."""
    values = ",".join(f"usage_{name}={at * 7 + part % 5}" for at, name in enumerate(FIELD_NAMES))
    return [
        f"cpu,arch=x64,cluster=c{host % 1000},datacenter=eu-central-1{'abc'[host % 3]},"
        f"hostname=host-{part}-{host},os=Ubuntu24.04LTS,rack={host % 97},region=eu-central-1,"
        f"service={host % 20},service_environment=production,team=SF {values}".encode()
        for host in range(host_count)
    ]


def make_bodies(asked: Connection, host_count: int) -> None:
    """Answers with the lines of all parts asked for, until there is none."""
    made: dict[int, list[bytes]] = {}
    while parts := asked.recv():
        made = {part: lines for part, lines in made.items() if part >= min(parts) - 200}
        lines = []
        for part in parts:
            if part not in made:
                made[part] = lines_of(part, host_count)
            lines += made[part]
        for start in range(0, len(lines), LINES_PER_BODY):
            asked.send_bytes(b"\n".join(lines[start : start + LINES_PER_BODY]))
        asked.send_bytes(b"")


class Writer:
    """Bodies come through a pipe, one at a time: what they take is not the engine's memory."""

    def __init__(self, engine: Engine, host_count: int) -> None:
        self._engine = engine
        self._pipe, theirs = multiprocessing.Pipe()
        self._maker = multiprocessing.get_context("spawn").Process(
            target=make_bodies, args=(theirs, host_count), daemon=True
        )
        self._maker.start()
        self.sample_count = 0
        self.new_count = 0

    def write(self, parts: list[int]) -> None:
        self._pipe.send(parts)
        waiting = []
        while body := self._pipe.recv_bytes():
            now_ns = self._engine.clock.now_ns()
            batch = decode_line_protocol(body, precision_ns=1, now_ns=now_ns)
            waiting.append(self._engine.accept.write(TENANT, batch))
        for answer in waiting:
            written = answer.result(300)
            self.sample_count += written.sample_count
            self.new_count += written.new_series_count

    def close(self) -> None:
        self._pipe.send([])
        self._maker.join()


class Watch:
    """The highest resident memory, and what it was made of."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ending = threading.Event()
        self.bytes_max = 0
        self.parts_max: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.wait(WATCH_SECONDS):
            parts = memory()
            if parts["VmRSS"] > self.bytes_max:
                table = self._engine.store.table
                parts |= {"table": table.memory_bytes, "series": table.series_count}
                self.bytes_max, self.parts_max = parts["VmRSS"], parts

    def end(self) -> None:
        self._ending.set()
        self._thread.join()


def memory() -> dict[str, int]:
    rows = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    wanted = ("VmRSS:", "RssAnon:", "RssFile:")
    return {row[0][:-1]: int(row[1]) * 1024 for row in rows if row and row[0] in wanted}


def timed(seconds: list[float], work: Callable[[], int]) -> None:
    begun = time.perf_counter()
    assert work() > 0
    seconds.append(time.perf_counter() - begun)


class LookUps:
    """Label values and series of the last hour, as a dashboard asks for them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.values: list[float] = []
        self.series: list[float] = []
        self.cpu_ns = 0

    def run(self, number: int, part: int) -> None:
        begun = time.thread_time_ns()
        label = ("cluster", "datacenter", "rack", "service", "__name__")[number % 5]
        timed(self.values, lambda: self._values(label))
        host = f"host-{part}-{number % 3}"
        timed(self.series, lambda: self._series([("hostname", "=", host)]))
        cluster = f"c{number % 7}"
        name = "cpu_usage_user"
        matchers = [("__name__", "=", name), ("cluster", "=", cluster)]
        timed(self.series, lambda: self._series(matchers))
        self.cpu_ns += time.thread_time_ns() - begun

    def _range(self) -> tuple[int, int]:
        now_ns = self._engine.clock.now_ns()
        return now_ns - HOUR_MINUTES * 60 * SECOND_NS, now_ns

    def _values(self, label: str) -> int:
        low, high = self._range()
        snapshot = self._engine.store.snapshot(TENANT, low, high)
        meter = Meter(samples_max=0, series_max=0)
        return len(snapshot.label_values(TENANT, label, [], low, high, meter))

    def _series(self, matchers: list[tuple[str, str, str]]) -> int:
        low, high = self._range()
        snapshot = self._engine.store.snapshot(TENANT, low, high)
        meter = Meter(samples_max=0, series_max=0)
        return len(snapshot.select(TENANT, matchers, low, high, meter))


def show(name: str, seconds: list[float]) -> None:
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1e3
    print(f"{name:<14} p50 {p50:8.1f} ms, p99 {p99:8.1f} ms of {len(seconds)}")


def run(options: argparse.Namespace, folder: Path) -> float:
    """CPU nanoseconds a sample."""
    # As many series as are active end during an hour, times the churn: they are held as well.
    active = options.series / (1 + options.churn * HOUR_MINUTES)
    part_count = round(1 / options.churn)
    host_count = max(1, round(active / part_count / FIELDS))
    clock = tenants.SteppedClock()
    settings = Settings(
        limits=Limits(active_series=0, new_series_per_second=0),
        head_bytes_max=options.head_mib * MIB,
        compaction_seconds=2.0,
        usage_seconds=0.0,
    )
    base = memory()["VmRSS"]
    with contextlib.closing(open_engine(folder, settings=settings, clock=clock)) as engine:
        writer, watch, look_ups = Writer(engine, host_count), Watch(engine), LookUps(engine)
        begun, begun_ns = time.monotonic(), time.process_time_ns()
        # A step of the minute has as many parts as fill a body.
        step = -(-LINES_PER_BODY // host_count)
        for first in range(0, part_count, step):
            writer.write(list(range(first, min(first + step, part_count))))
        cpu = (time.process_time_ns() - begun_ns) / writer.sample_count
        print(f"{writer.new_count:,} series begun, {cpu:.0f} ns of CPU each", flush=True)
        begun_ns, samples_before = time.process_time_ns(), writer.sample_count
        for minute in range(options.minutes):
            live = range(minute + 1, minute + 1 + part_count)
            for at in range(0, part_count, step):
                parts = list(live[at : at + step])
                clock.ns += 60 * SECOND_NS * len(parts) // part_count
                write_due(writer, options.interval, minute, parts)
                if not options.is_baseline and at % (part_count // LOOK_UPS_PER_MINUTE) == 0:
                    look_ups.run(minute * LOOK_UPS_PER_MINUTE + at, parts[0])
            if not options.is_baseline and minute % 10 == 9:
                report(engine, minute, watch, time.monotonic() - begun)
        engine.store.flush()
        samples = writer.sample_count - samples_before
        cpu = (time.process_time_ns() - begun_ns - look_ups.cpu_ns) / samples
        writer.close()
        watch.end()
    print(f"{samples:,} samples, {writer.new_count:,} series in all, {cpu:.0f} ns of CPU a sample")
    if not options.is_baseline:
        held = min(options.series, writer.new_count)
        print(f"{(watch.bytes_max - base) / held:.0f} bytes of RSS at the most a held series")
        print("at that time: " + ", ".join(f"{k} {v:,}" for k, v in watch.parts_max.items()))
        show("label values", look_ups.values)
        show("series", look_ups.series)
    return cpu


def write_due(writer: Writer, interval_seconds: int, minute: int, parts: list[int]) -> None:
    """In intervals longer than a minute the parts take turns."""
    if interval_seconds > 60:
        parts = [part for part in parts if (minute + part) % (interval_seconds // 60) == 0]
    for _ in range(max(1, 60 // interval_seconds) if parts else 0):
        writer.write(parts)


def report(engine: Engine, minute: int, watch: Watch, seconds: float) -> None:
    figures = engine.store.statistics()
    print(
        f"minute {minute + 1}: {seconds:.0f} s, {figures['series_count']:,} series, "
        f"{memory()['VmRSS'] / MIB:.0f} MiB (at most {watch.bytes_max / MIB:.0f}), "
        f"table {figures['series_bytes'] / MIB:.0f}, head {figures['head_bytes'] / MIB:.0f}, "
        f"{figures['block_count']:.0f} blocks",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--churn", type=float, default=0.01, help="share that ends each minute")
    parser.add_argument("--interval", type=int, default=60, help="seconds between samples")
    parser.add_argument("--head-mib", type=int, default=512)
    parser.add_argument("--baseline", type=int, default=10_000, help="series to compare with; 0")
    parser.add_argument("--is-baseline", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.baseline and not options.is_baseline:
        arguments = ["--series", str(options.baseline), "--is-baseline"]
        for name in ("minutes", "churn", "interval", "head_mib"):
            arguments += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
        print(f"{options.baseline:,} series, to compare with:", flush=True)
        subprocess.run([sys.executable, __file__, *arguments], check=True)
        print(f"{options.series:,} series:", flush=True)
    with tempfile.TemporaryDirectory(prefix="orrery-churn-") as folder:
        run(options, Path(folder) / "data")


if __name__ == "__main__":
    main()
