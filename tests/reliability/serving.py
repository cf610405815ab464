"""One life of a real server on a data directory: started, asked, stopped or killed."""

import http.client
import json
import re
import resource
import subprocess
import sys
import time
import urllib.parse
from collections import Counter
from pathlib import Path

from tests.compat.conftest import free_port

ORRERY = str(Path(sys.executable).with_name("orrery"))
START_SECONDS_MAX = 60
TINY = """
head_bytes_max = 1_048_576
log_replay_bytes_max = 1_048_576
log_segment_bytes_max = 1_048_576
compaction_seconds = 0.2
object_grace_seconds = 1.0
disk_free_bytes_min = 0
[limits]
samples_per_second = 0
"""


class Refused(Exception):
    """The server did not start; the text is what it printed."""


class Orrery:
    """``folder / "data"`` is its directory; ``with`` stops it as a service manager does."""

    def __init__(self, folder: Path, settings: str = TINY) -> None:
        self.port = free_port()
        self.data = folder / "data"
        self.output = folder / "output"
        (folder / "orrery.toml").write_text(settings)
        command = [ORRERY, "serve", "--config", str(folder / "orrery.toml")]
        command += ["--data-dir", str(self.data), "--http", f"127.0.0.1:{self.port}"]
        with self.output.open("ab") as file:
            self.position = file.tell()
            self.began = time.monotonic()
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        self._wait()
        self.start_seconds = time.monotonic() - self.began

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.ask("GET", "/-/ready")[0] == 200:
                    return
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
        self.kill()
        raise Refused(self.said())

    def said(self) -> str:
        """What this life printed."""
        with self.output.open("rb") as file:
            file.seek(self.position)
            return file.read().decode("utf-8", "replace")

    def events(self) -> Counter[str]:
        return Counter(re.findall(r"event=(\w+)", self.said()))

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def write(self, lines: str, **headers: str) -> tuple[int, bytes]:
        return self.ask("POST", "/write", lines.encode(), headers)

    def delete(self, selector: str, **more: object) -> int:
        arguments = urllib.parse.urlencode({"match[]": selector, **more})
        return self.ask("POST", f"/api/v1/admin/tsdb/delete_series?{arguments}")[0]

    def compact(self) -> list[dict[str, object]]:
        """Over the admin socket, by the command a person types."""
        command = [ORRERY, "compact", "--json", "--data-dir", str(self.data)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def query(self, query: str, at_second: float) -> tuple[int, dict[str, object]]:
        arguments = urllib.parse.urlencode({"query": query, "time": at_second})
        status, body = self.ask("GET", f"/api/v1/query?{arguments}")
        return status, json.loads(body)

    def samples(self, selector: str, start_second: int, end_second: int) -> dict:
        """{(value of ``series``, second): value} of the half-open range before ``end_second``."""
        query = f"{selector}[{end_second - start_second + 1}s]"
        status, answer = self.query(query, end_second)
        assert status == 200, answer
        return {
            (int(row["metric"]["series"]), int(at)): float(value)
            for row in answer["data"]["result"]
            for at, value in row["values"]
        }

    def limit_file_bytes(self, byte_count: int) -> None:
        """From now on no file of the process grows past this: its disk is full."""
        resource.prlimit(
            self.process.pid, resource.RLIMIT_FSIZE, (byte_count, resource.RLIM_INFINITY)
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> float:
        """SIGTERM; how many seconds it took. It must leave without an error."""
        began = time.monotonic()
        self.process.terminate()
        assert self.process.wait(60) == 0, self.said()[-3000:]
        return time.monotonic() - began

    def __enter__(self) -> "Orrery":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()


def inspect(data: Path, part: str) -> list[dict[str, object]]:
    command = [ORRERY, "inspect", part, "--json", "--data-dir", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def verify(data: Path) -> tuple[int, list[dict[str, object]]]:
    """The exit code of ``orrery verify`` and its rows about damage."""
    command = [ORRERY, "verify", "--json", "--data-dir", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, [row for row in rows if not row["ok"]]
