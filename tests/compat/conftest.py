"""The original products, started beside Orrery. `make peers` unpacks them; without them: skips."""

import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PEERS = Path(__file__).parents[2] / "build" / "peers"
READY_SECONDS_MAX = 60


def peer(suite: str, program: str) -> str:
    path = PEERS / suite / "usr" / "bin" / program
    if not path.exists():
        pytest.skip(f"{program} of {suite} is not there (make peers)")
    return str(path)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Server:
    """A started program and how to reach it."""

    process: "subprocess.Popen[bytes]"
    port: int
    output: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, names, answer.read()
        finally:
            connection.close()

    def api(self, path: str, **arguments: str | float) -> Any:
        """The JSON answer of Prometheus' API, errors too."""
        query = urllib.parse.urlencode(arguments)
        return json.loads(self.request("GET", f"/api/v1/{path}?{query}")[2])

    def wait_until_ready(self, path: str) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if self.request("GET", path)[0] < 300:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.1)
        raise AssertionError(f"not ready: {self.output.read_text()[-2000:]}")


class Programs:
    """Starts programs for one test and stops them after it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Server] = []

    def start(self, name: str, command: list[str], port: int, ready: str) -> Server:
        server = self.spawn(name, command, port)
        server.wait_until_ready(ready)
        return server

    def spawn(self, name: str, command: list[str], port: int = 0) -> Server:
        """A program that is not asked whether it is ready: it only sends, or speaks no HTTP."""
        output = self.folder / f"{name}.output"
        with output.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        server = Server(process, port, output)
        self.started.append(server)
        return server

    def orrery(self, *options: str, name: str = "orrery", port: int | None = None) -> Server:
        port = port or free_port()
        command = [
            str(Path(sys.executable).with_name("orrery")),
            "serve",
            "--data-dir",
            str(self.folder / name),
            "--http",
            f"127.0.0.1:{port}",
            *options,
        ]
        return self.start(name, command, port, "/-/ready")

    def node_exporter(self) -> Server:
        port = free_port()
        program = peer("bookworm", "prometheus-node-exporter")
        command = [program, f"--web.listen-address=127.0.0.1:{port}"]
        return self.start("node-exporter", command, port, "/metrics")

    def prometheus(
        self, suite: str, configuration: str, *options: str, port: int | None = None
    ) -> Server:
        port = port or free_port()
        folder = self.folder / f"prometheus-{suite}"
        folder.mkdir()
        file = folder / "prometheus.yml"
        file.write_text(configuration)
        command = [
            peer(suite, "prometheus"),
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            *options,
        ]
        return self.start(f"prometheus-{suite}", command, port, "/-/ready")

    def stop(self) -> None:
        for server in reversed(self.started):
            server.process.terminate()
        for server in self.started:
            try:
                server.process.wait(20)
            except subprocess.TimeoutExpired:
                server.process.kill()
                server.process.wait()


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    started = Programs(tmp_path)
    yield started
    started.stop()
    shutil.rmtree(tmp_path, ignore_errors=True)
