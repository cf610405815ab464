"""Where the server's CPU goes while it takes samples in: by phase, and by function with `perf`.

`python bench/ingest.py --protocol remote` (or `line`, `graphite` over HTTP, `graphite-tcp`) starts
Orrery on an empty directory, sends one tick that registers every series, then the rest from
`--senders` connections, then has it flushed and merged, and prints process CPU of each phase
divided by the samples it took, and by the requests: with few samples a body (`--body-samples`)
that is the fixed cost of a request. `--perf FILE` records what
follows the first tick (`perf report -i FILE --no-children` reads it).
"""

import argparse
import itertools
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import peers
import tsbs

GRAPHITE_PATH = "/graphite/metrics"
HEADERS: dict[str, dict[str, str]] = {
    "remote": {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"},
    "line": {},
    "graphite": {},
    "graphite-tcp": {},
    "opentsdb": {"Content-Type": "application/json"},
    "otlp": {"Content-Type": "application/x-protobuf"},
}
NS = 1_000_000_000


def send(instance: peers.Running, path: str, bodies: list[bytes], protocol: str) -> None:
    if protocol == "graphite-tcp":
        send_lines(int(path), bodies)
        return
    for body in bodies:
        status, answer = instance.request("POST", path, body, HEADERS[protocol])
        if status >= 300:
            raise SystemExit(f"refused with {status}: {answer[:200]!r}")


def send_lines(port: int, bodies: list[bytes]) -> None:
    """Over one connection, which is closed once all is stored."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for body in bodies:
            connection.sendall(body)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)


def send_all(
    instance: peers.Running, path: str, bodies: list[bytes], protocol: str, sender_count: int
) -> float:
    """Seconds it took; sender ``n`` has every ``sender_count``-th body from the n-th on."""
    senders = []
    for first in range(sender_count):
        own = peers.Running(instance.product, instance.process, instance.port, instance.data_dir)
        part = bodies[first::sender_count]
        senders.append(threading.Thread(target=send, args=(own, path, part, protocol)))
    begun = time.monotonic()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    return time.monotonic() - begun


def context_switches(instance: peers.Running) -> int:
    counts = instance.process.num_ctx_switches()
    return int(counts.voluntary + counts.involuntary)


def report(
    name: str,
    instance: peers.Running,
    before: tuple[float, ...],
    samples: int,
    request_count: int = 0,
) -> None:
    times = instance.process.cpu_times()
    user, system = times.user - before[0], times.system - before[1]
    written = instance.process.io_counters().write_bytes - before[2]
    switches = context_switches(instance) - before[3]
    print(
        f"{name:<10} {(user + system) / samples * NS:8.0f} ns/value "
        f"(user {user / samples * NS:.0f}, system {system / samples * NS:.0f}); "
        f"{written / samples:.1f} bytes written/value; {switches / samples * 1e6:.0f} switches/M; "
        f"{instance.memory_bytes() / 2**20:.0f} MiB",
        flush=True,
    )
    if request_count:
        each = (user + system) / request_count * 1e6
        print(f"{'':<10} {each:8.0f} us/request of {samples / request_count:.0f} values")


def now(instance: peers.Running) -> tuple[float, ...]:
    times = instance.process.cpu_times()
    written = instance.process.io_counters().write_bytes
    return times.user, times.system, written, context_switches(instance)


def bodies_of(
    workload: tsbs.Workload, *, protocol: str, body_samples: int | None
) -> Iterator[bytes]:
    if protocol.startswith("graphite"):
        return tsbs.graphite_bodies(workload, lines_per_body=body_samples or 10_000)
    if protocol == "otlp":
        count = max(1, (body_samples or 1000) // len(tsbs.FIELDS))
        return tsbs.otlp_bodies(workload, hosts_per_body=count)
    if protocol == "line":
        count = max(1, (body_samples or 10_000) // len(tsbs.FIELDS))
        return tsbs.line_bodies(workload, lines_per_body=count)
    if protocol == "opentsdb":
        return tsbs.opentsdb_bodies(workload, points_per_body=body_samples or 1000)
    return tsbs.remote_write_bodies(workload, series_per_body=body_samples or 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--protocol", choices=tuple(HEADERS), default="remote")
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--hours", type=float, default=0.5)
    parser.add_argument("--senders", type=int, default=1)
    parser.add_argument("--body-samples", type=int, help="1,000 by default, lines 10,000")
    parser.add_argument("--perf", type=Path, help="record what follows the first tick there")
    options = parser.parse_args()
    workload = tsbs.Workload(options.hosts, options.hours)
    protocol = options.protocol
    bodies = list(bodies_of(workload, protocol=protocol, body_samples=options.body_samples))
    first_count = len(bodies) // workload.tick_count
    samples = workload.sample_count
    per_tick = samples // workload.tick_count
    product = next(itertools.islice(peers.products(), 1))
    paths = {
        "line": product.line_protocol,
        "remote": product.remote_write,
        "opentsdb": product.opentsdb,
        "otlp": "/v1/metrics",
        "graphite": GRAPHITE_PATH,
        "graphite-tcp": str(peers.free_port()),
    }
    path = paths[protocol] or ""
    if protocol == "graphite-tcp":
        os.environ["ORRERY_GRAPHITE_TCP"] = f"127.0.0.1:{path}"
    with (
        tempfile.TemporaryDirectory(prefix="orrery-ingest-") as folder,
        peers.running(product, Path(folder) / "data") as instance,
    ):
        before = whole = now(instance)
        send(instance, path, bodies[:first_count], options.protocol)
        report("new series", instance, before, per_tick)
        recorder = None
        if options.perf:
            recorder = subprocess.Popen(
                f"perf record -q -g -F 1999 -o {options.perf} -p {instance.process.pid}".split()
            )
            time.sleep(1)
        before = now(instance)
        seconds = send_all(instance, path, bodies[first_count:], options.protocol, options.senders)
        report("known", instance, before, samples - per_tick, len(bodies) - first_count)
        print(f"           {(samples - per_tick) / seconds / 1000:8.0f} thousand values/s")
        before = now(instance)
        instance.settle()
        report("settling", instance, before, samples)
        if recorder is not None:
            recorder.terminate()
            recorder.wait()
        report("all", instance, whole, samples)
        print(f"{instance.disk_bytes() / samples:.3f} bytes/sample on disk")


if __name__ == "__main__":
    main()
