"""How long a restart takes after kill -9, and what memory it needs.

`python bench/restart.py` starts Orrery, registers `--series` series, has them flushed, then writes
lines of ten fields until the log that no block holds is 90 % of what a replay may be
(`log_replay_bytes_max`). It kills the server with SIGKILL, starts it again, and prints the seconds
until it is ready and the most memory it took until then over what it had before it was killed.
A small run to see that it works: `python bench/restart.py --series 2000 --log-mib 4`.
"""

import argparse
import contextlib
import http.client
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import peers
import psutil

MIB = 1024 * 1024
FIELDS = 10
LINES_PER_BODY = 1000
FULL = 0.9
BYTES_PER_SAMPLE = 60
"""What the head takes at the most: it must not be full before the log is."""
FLUSH_SECONDS_MAX = 120.0
POLL_SECONDS = 0.02


def bodies_of(host_count: int) -> list[bytes]:
    """Without times: the server takes its own."""
    values = ",".join(f"usage_{field}={field * 7.5}" for field in range(FIELDS))
    lines = [
        f"cpu,arch=x64,datacenter=eu-central-1{'abc'[host % 3]},hostname=host-{host},"
        f"os=Ubuntu24.04LTS,rack={host % 97},region=eu-central-1,service={host % 20},"
        f"service_environment=production,service_version=0,team=SF {values}".encode()
        for host in range(host_count)
    ]
    starts = range(0, host_count, LINES_PER_BODY)
    return [b"\n".join(lines[start : start + LINES_PER_BODY]) for start in starts]


def metric(instance: peers.Running, name: str) -> float:
    _, text = instance.request("GET", "/metrics")
    for line in text.decode().splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise LookupError(f"the server has no metric {name}")


def send(instance: peers.Running, body: bytes) -> None:
    while True:
        status, answer = instance.request("POST", "/write?db=metrics", body)
        if status < 300:
            return
        if status not in (429, 503):
            raise SystemExit(f"refused with {status}: {answer[:200]!r}")
        time.sleep(0.1)


def fill(instance: peers.Running, bodies: list[bytes], log_bytes_wanted: float) -> float:
    """Share of the bound that the unflushed log reached."""
    for body in bodies:
        send(instance, body)
    instance.settle()
    print(f"{metric(instance, 'orrery_series'):,.0f} series, flushed", flush=True)
    while True:
        for body in bodies:
            send(instance, body)
            unflushed = metric(instance, "orrery_log_unflushed_bytes")
            if unflushed >= log_bytes_wanted:
                return unflushed


def memory_bytes(process: psutil.Process, name: str) -> int:
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def wait_until_ready(instance: peers.Running) -> None:
    while True:
        with contextlib.suppress(ConnectionError, http.client.HTTPException):
            if instance.request("GET", "/-/ready")[0] < 300:
                return
        instance.connection.close()
        if not instance.process.is_running():
            raise SystemExit("the server ended")
        time.sleep(POLL_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--log-mib", type=int, default=512, help="log_replay_bytes_max")
    options = parser.parse_args()
    product = orrery(options.log_mib * MIB)
    bodies = bodies_of(max(1, options.series // FIELDS))
    with tempfile.TemporaryDirectory(prefix="orrery-restart-") as folder:
        data_dir = Path(folder) / "data"
        with peers.running(product, data_dir, keep=True) as instance:
            unflushed = fill(instance, bodies, FULL * options.log_mib * MIB)
            steady = instance.memory_bytes()
            samples = metric(instance, "orrery_head_samples")
            print(f"{unflushed / MIB:.0f} MiB of log, {samples:,.0f} samples", flush=True)
            instance.process.send_signal(signal.SIGKILL)
            instance.process.wait()
        restart(product, data_dir, steady)


def restart(product: peers.Product, data_dir: Path, steady_bytes: int) -> None:
    port = peers.free_port()
    begun = time.monotonic()
    command = product.command(data_dir, port)
    quiet = subprocess.DEVNULL
    child = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    try:
        instance = peers.Running(product, psutil.Process(child.pid), port, data_dir)
        wait_until_ready(instance)
        seconds = time.monotonic() - begun
        cpu, peak = instance.cpu_seconds(), memory_bytes(instance.process, "VmHWM")
        read = instance.process.io_counters().read_chars
        samples = metric(instance, "orrery_head_samples")
        print(
            f"ready after {seconds:.2f} s ({cpu:.2f} s of CPU), {samples:,.0f} samples in the "
            f"head, {read / MIB:.0f} MiB read; memory {peak / MIB:.0f} MiB at the most, "
            f"{steady_bytes / MIB:.0f} before: {peak / steady_bytes:.2f}"
        )
    finally:
        child.kill()
        child.wait()


def orrery(log_bytes: int) -> peers.Product:
    """With a head that is larger than the log's samples, so that the log's bound is what binds."""
    product = peers.products()[0]
    settings = {
        "log-replay-bytes-max": log_bytes,
        "head-bytes-max": log_bytes // 24 * BYTES_PER_SAMPLE,
        "limits-active-series": 0,
        "limits-new-series-per-second": 0,
    }
    return peers.with_settings(product, settings)


if __name__ == "__main__":
    main()
