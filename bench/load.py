"""The load of a whole platform on one machine: what rate is held while queries read.

`python bench/load.py` starts Orrery, fills the hour that the queries read, then for `--seconds`
writes `--rate` samples a second into `--series` series, half by remote write (one sample a series)
and half by lines of ten fields, while `rate` queries over that hour decode `--read-rate` stored
samples a second. Both are sent when they are due, whether or not what was sent before is answered.
Bodies are made beforehand and kept in `--work-directory`; senders are processes of their own.

`--find-rate` searches the highest rate that is held, reads in proportion. A small run to see that
it works: `python bench/load.py --series 20000 --rate 100000 --seconds 10 --fill-interval 60`.
"""

import argparse
import contextlib
import dataclasses
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import load_senders
import numpy as np
import peers
import psutil

HOUR_SECONDS = 3600
HELD_LATE_SECONDS_MAX = 2.0
HELD_ACKNOWLEDGEMENT_SECONDS_MAX = 0.5
HELD_READ_SHARE_MIN = 0.97
BEGIN_SECONDS = 1.0
SETTINGS = {
    "limits-active-series": 0,
    "limits-new-series-per-second": 0,
    "result-cache-bytes-max": 0,
}
"""One tenant brings the load of many, and what it asks is read."""
WATCH_SECONDS = 0.5


@dataclasses.dataclass(slots=True)
class Load:
    """A running server and what loads it."""

    instance: peers.Running
    remote: load_senders.Sender
    line: load_senders.Sender
    asker: load_senders.Sender
    options: argparse.Namespace
    asked_at: float = 0.0

    def metric(self, name: str) -> float:
        _, text = self.instance.request("GET", "/metrics")
        for one in text.decode().splitlines():
            if one.startswith(name + " "):
                return float(one.split()[1])
        raise LookupError(f"the server has no metric {name}")

    def fill(self) -> None:
        """One hour up to now, a sample each `--fill-interval` seconds."""
        now, interval = int(time.time()), self.options.fill_interval
        times = [second * load_senders.NS for second in range(now - HOUR_SECONDS, now, interval)]
        begun, before = time.time(), self.instance.cpu_seconds()
        for writer in (self.remote, self.line):
            writer.tell("fill", times)
        for writer in (self.remote, self.line):
            seen = writer.answer()
            if seen.refused:
                raise SystemExit(f"filling was refused: {seen.refused} {seen.first_refusal}")
        self.asked_at = now
        seconds, cpu = time.time() - begun, self.instance.cpu_seconds() - before
        count = self.metric("orrery_samples_accepted_total")
        print(
            f"filled {count / 1e6:.1f} M samples in {seconds:.0f} s: "
            f"{count / seconds / 1e6:.2f} M/s, {cpu / count * 1e9:.0f} ns of CPU each",
            flush=True,
        )


@dataclasses.dataclass(slots=True)
class Watch:
    """The server and the machine while a load runs."""

    instance: peers.Running
    memory_bytes_max: int = 0
    _ended: threading.Event = dataclasses.field(default_factory=threading.Event)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _look(self) -> None:
        while not self._ended.wait(WATCH_SECONDS):
            self.memory_bytes_max = max(self.memory_bytes_max, self.instance.memory_bytes())


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    wanted_rate: float
    written_rate: float
    wanted_read_rate: float
    read_rate: float
    waits_seconds: dict[str, list[float]]
    late_seconds: float
    refused: dict[str, dict[int, int]]
    first_refusal: str
    memory_bytes_max: int
    server_cpu: float
    sender_cpu: float
    idle_cpu: float

    @property
    def is_held(self) -> bool:
        writes = self.waits_seconds["remote"] + self.waits_seconds["line"]
        return (
            not any(self.refused.values())
            and self.late_seconds < HELD_LATE_SECONDS_MAX
            and float(np.quantile(writes, 0.99)) < HELD_ACKNOWLEDGEMENT_SECONDS_MAX
            and self.read_rate >= self.wanted_read_rate * HELD_READ_SHARE_MIN
        )

    def show(self) -> None:
        print(
            f"{'held' if self.is_held else 'NOT HELD'}: "
            f"{self.written_rate / 1e6:.3f} of {self.wanted_rate / 1e6:.3f} M samples/s written, "
            f"{self.read_rate / 1e6:.3f} of {self.wanted_read_rate / 1e6:.3f} M samples/s read; "
            f"at most {self.late_seconds:.1f} s behind at the end"
        )
        for name, waits in self.waits_seconds.items():
            low, high, most = (1000 * float(np.quantile(waits, part)) for part in (0.5, 0.99, 1))
            print(
                f"  {name:<7} {len(waits):>8} requests: p50 {low:.1f} ms, p99 {high:.1f} ms, "
                f"max {most:.0f} ms; refused {self.refused[name] or 'none'}"
            )
        print(
            f"  memory at most {self.memory_bytes_max / 2**20:.0f} MiB; CPU of the server "
            f"{self.server_cpu:.2f} cores, of the senders {self.sender_cpu:.2f}, "
            f"left {self.idle_cpu:.2f} of {psutil.cpu_count()}"
        )
        if self.first_refusal:
            print(f"  first refusal: {self.first_refusal}")
        sys.stdout.flush()


def measured(load: Load, rate: float, read_rate: float, seconds: float) -> Outcome:
    begin = time.time() + BEGIN_SECONDS
    samples = HOUR_SECONDS / load.options.fill_interval
    load.remote.tell("hold", rate / 2, begin, seconds)
    load.line.tell("hold", rate / 2, begin, seconds)
    if read_rate:
        load.asker.tell("hold", read_rate, begin, seconds, load.asked_at, samples)
    names = ("orrery_samples_accepted_total", "orrery_query_samples_read_total")
    time.sleep(max(0.0, begin - time.time()))
    before = [load.metric(name) for name in names]
    idle, cpu = psutil.cpu_times().idle, load.instance.cpu_seconds()
    watch = Watch(load.instance)
    with watch.watching():
        seen = {"remote": load.remote.answer(), "line": load.line.answer()}
        if read_rate:
            seen["asked"] = load.asker.answer()
    took = time.time() - begin
    written, read = (load.metric(name) - was for name, was in zip(names, before, strict=True))
    return Outcome(
        wanted_rate=rate,
        written_rate=written / took,
        wanted_read_rate=read_rate,
        read_rate=read / took,
        waits_seconds={name: one.waits_seconds for name, one in seen.items()},
        late_seconds=max(one.late_seconds for one in seen.values()),
        refused={name: one.refused for name, one in seen.items()},
        first_refusal=next((one.first_refusal for one in seen.values() if one.first_refusal), ""),
        memory_bytes_max=watch.memory_bytes_max,
        server_cpu=(load.instance.cpu_seconds() - cpu) / took,
        sender_cpu=sum(one.cpu_seconds for one in seen.values()) / took,
        idle_cpu=(psutil.cpu_times().idle - idle) / took,
    )


def find_rate(load: Load, options: argparse.Namespace) -> None:
    """Halves what lies between the highest rate that was held and the lowest that was not."""
    held, failed, rate = 0.0, 0.0, options.rate
    for _ in range(options.trials):
        outcome = measured(load, rate, options.read_rate * rate / options.rate, options.seconds)
        outcome.show()
        if outcome.is_held:
            held = rate
        else:
            failed = rate
        rate = (held + failed) / 2 if failed else rate * 1.5
    print(f"highest rate held: {held / 1e6:.3f} M samples/s, for {options.seconds:.0f} s")


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=1.8e6, help="samples written a second")
    parser.add_argument("--read-rate", type=float, default=4.5e6, help="samples read a second")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--body-samples", type=int, default=2000, help="of remote write")
    parser.add_argument("--body-lines", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=8, help="of each of the two writers")
    parser.add_argument("--ask-connections", type=int, default=2)
    parser.add_argument("--fill-interval", type=int, default=10, help="seconds between samples")
    parser.add_argument("--work-directory", type=Path, help="keeps bodies; holds the data")
    parser.add_argument("--find-rate", action="store_true")
    parser.add_argument("--trials", type=int, default=7, help="of --find-rate")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    shape = load_senders.Shape(options.series, options.body_samples, options.body_lines)
    orrery = peers.with_settings(peers.products()[0], SETTINGS)
    if options.work_directory:
        options.work_directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="orrery-load-", dir=options.work_directory) as folder:
        kept = options.work_directory or Path(folder)
        with peers.running(orrery, Path(folder) / "data") as instance:
            writers = [
                load_senders.Sender(
                    load_senders.Writer, kind, shape, kept, instance.port, options.connections
                )
                for kind in ("remote", "line")
            ]
            asker = load_senders.Sender(
                load_senders.Asker, shape, instance.port, options.ask_connections
            )
            load = Load(instance, writers[0], writers[1], asker, options)
            try:
                load.fill()
                if options.find_rate:
                    find_rate(load, options)
                else:
                    measured(load, options.rate, options.read_rate, options.seconds).show()
            finally:
                for sender in (*writers, asker):
                    sender.close()


if __name__ == "__main__":
    main()
