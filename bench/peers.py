"""Start Orrery and the original products, one at a time, and measure their processes.

Used by bench/compare.py. Peers come from `make peers`; one that is not there is left out and said.
"""

import http.client
import shutil
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "build" / "peers"
START_SECONDS_MAX = 60
SETTLE_SECONDS_MAX = 300


@dataclass(frozen=True, slots=True)
class Product:
    """How to start one product and how to talk to it. ``command(data_dir, port)`` is its argv."""

    name: str
    binary: Path
    command: Callable[[Path, int], list[str]]
    ready: str
    remote_write: str | None = None
    line_protocol: str | None = None
    opentsdb: str | None = None
    promql: str | None = None
    cold: tuple[tuple[str, str], ...] = ()
    """Arguments that keep a result cache out of the way, where distinct questions do not."""
    influxql: str | None = None
    settle: tuple[tuple[str, str], ...] = ()
    settle_command: Callable[[Path], list[str]] | None = None
    rest_seconds: int = 3
    """For how long it must rest to count as settled."""
    settled_folder: str | None = None
    """Below the data directory: what a settled store weighs, where that is not all of it."""


@dataclass(slots=True)
class Running:
    product: Product
    process: psutil.Process
    port: int
    data_dir: Path
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        self.connection.request(method, path, body, headers or {})
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system

    def cpu_nanoseconds(self) -> int:
        """Of the threads that are there: finer than the system's ticks, for short questions."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks)

    def memory_bytes(self) -> int:
        return self.process.memory_info().rss

    def disk_bytes(self) -> int:
        folder = self.data_dir / (self.product.settled_folder or ".")
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def settle(self) -> None:
        """Flush and merge, then wait until the process rests."""
        for method, path in self.product.settle:
            self.request(method, path)
        if self.product.settle_command is not None:
            command = self.product.settle_command(self.data_dir)
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        resting = 0
        while resting < self.product.rest_seconds and time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(1)
            resting = resting + 1 if self.cpu_seconds() - before < 0.05 else 0

    def ask(
        self, promql: str, start: float, end: float, step: float, *, is_cold: bool = True
    ) -> bytes:
        if not self.product.promql:
            raise LookupError(f"{self.product.name} does not read PromQL")
        if step:
            arguments: dict[str, object] = {
                "query": promql,
                "start": start,
                "end": end,
                "step": step,
            }
            path = f"{self.product.promql}/query_range"
        else:
            arguments = {"query": promql, "time": end}
            path = f"{self.product.promql}/query"
        if is_cold:
            arguments |= dict(self.product.cold)
        status, body = self.request("GET", f"{path}?{urllib.parse.urlencode(arguments)}")
        if status != 200:
            raise ValueError(f"{self.product.name} answered {status}: {body[:300]!r}")
        return body

    def ask_influxql(self, influxql: str, start: float, end: float) -> bytes:
        window = f"time >= {int(start * 1e9)} and time < {int(end * 1e9)}"
        arguments = {"db": "metrics", "q": influxql.replace("$time", window)}
        status, body = self.request("GET", f"/query?{urllib.parse.urlencode(arguments)}")
        if status != 200 or b'"error"' in body[:200]:
            raise ValueError(f"{self.product.name} answered {status}: {body[:300]!r}")
        return body


def with_settings(product: Product, settings: dict[str, int]) -> Product:
    """Orrery with further settings, named as its flags are."""
    flags = [text for name, value in settings.items() for text in (f"--{name}", str(value))]

    def command(data_dir: Path, port: int) -> list[str]:
        return [*product.command(data_dir, port), *flags]

    return replace(product, command=command)


def _influxdb_command(binary: Path) -> Callable[[Path, int], list[str]]:
    def command(data_dir: Path, port: int) -> list[str]:
        settings = data_dir / "influxdb.conf"
        settings.write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{free_port()}"\n'
            f'[meta]\ndir = "{data_dir}/meta"\n'
            f'[data]\ndir = "{data_dir}/data"\nwal-dir = "{data_dir}/wal"\n'
            'index-version = "tsi1"\ncompact-full-write-cold-duration = "5s"\n'
            'cache-snapshot-write-cold-duration = "5s"\nquery-log-enabled = false\n'
            "[monitor]\nstore-enabled = false\n"
            f'[http]\nbind-address = "127.0.0.1:{port}"\nlog-enabled = false\n'
        )
        return [str(binary), "-config", str(settings)]

    return command


def _prometheus(name: str, binary: Path) -> Product:
    return Product(
        name,
        binary,
        lambda data_dir, port: [
            str(binary),
            f"--config.file={_write(data_dir / 'prometheus.yml', 'global: {}')}",
            f"--storage.tsdb.path={data_dir}/tsdb",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-remote-write-receiver",
            "--web.enable-admin-api",
        ],
        ready="/-/ready",
        remote_write="/api/v1/write",
        promql="/api/v1",
        settle=(("POST", "/api/v1/admin/tsdb/snapshot"),),
        settled_folder="tsdb/snapshots",
    )


def _victoria_metrics(name: str, binary: Path) -> Product:
    return Product(
        name,
        binary,
        lambda data_dir, port: [
            str(binary),
            f"-storageDataPath={data_dir}",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-retentionPeriod=100y",
            "-search.latencyOffset=0s",
        ],
        ready="/health",
        remote_write="/api/v1/write",
        line_protocol="/write",
        promql="/api/v1",
        cold=(("nocache", "1"),),
        settle=(("GET", "/internal/force_flush"), ("GET", "/internal/force_merge")),
    )


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def products() -> list[Product]:
    """Orrery first, then the peers that `make peers` could unpack."""
    orrery = ROOT / ".venv" / "bin" / "orrery"
    influxd = PEERS / "bookworm" / "usr" / "bin" / "influxd"
    every = [
        Product(
            "Orrery",
            orrery,
            lambda data_dir, port: [
                str(orrery),
                "serve",
                "--data-dir",
                str(data_dir),
                "--http",
                f"127.0.0.1:{port}",
            ],
            ready="/-/ready",
            remote_write="/api/v1/write",
            line_protocol="/write?db=metrics",
            opentsdb="/api/put",
            promql="/api/v1",
            settle_command=lambda data_dir: [str(orrery), "compact", "--data-dir", str(data_dir)],
            settled_folder="blocks",
        ),
        _victoria_metrics(
            "VictoriaMetrics 1.145", PEERS / "sid" / "usr" / "bin" / "victoria-metrics"
        ),
        _prometheus("Prometheus 3.5", PEERS / "sid" / "usr" / "bin" / "prometheus"),
        _prometheus("Prometheus 2.42", PEERS / "bookworm" / "usr" / "bin" / "prometheus"),
        _victoria_metrics(
            "VictoriaMetrics 1.79", PEERS / "bookworm" / "usr" / "bin" / "victoria-metrics"
        ),
        Product(
            "InfluxDB 1.6.7",
            influxd,
            _influxdb_command(influxd),
            ready="/ping",
            line_protocol="/write?db=metrics",
            influxql="/query",
            rest_seconds=12,
            settled_folder="data",
        ),
    ]
    return [product for product in every if product.binary.exists()]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(product: Product, data_dir: Path, *, keep: bool = False) -> Iterator[Running]:
    """The product on a data directory; stopped, and unless kept removed, afterwards."""
    data_dir.mkdir(parents=True, exist_ok=keep)
    port = free_port()
    with data_dir.with_name(f"{data_dir.name}.output").open("wb") as output:
        child = subprocess.Popen(
            product.command(data_dir, port), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            instance = Running(product, psutil.Process(child.pid), port, data_dir)
            _wait_until_ready(instance)
            yield instance
        finally:
            child.terminate()
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            if not keep:
                shutil.rmtree(data_dir, ignore_errors=True)


def _wait_until_ready(instance: Running) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        try:
            if instance.request("GET", instance.product.ready)[0] < 300:
                break
        except (ConnectionError, http.client.HTTPException):
            instance.connection.close()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{instance.product.name} was not ready in {START_SECONDS_MAX} s")
        time.sleep(0.2)
    if instance.product.influxql:
        arguments = urllib.parse.urlencode({"q": "CREATE DATABASE metrics"})
        instance.request("POST", f"/query?{arguments}")
