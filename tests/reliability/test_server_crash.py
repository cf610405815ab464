"""kill -9 at random moments, many times: whatever was acknowledged is there afterwards.

Thresholds are tiny, so that flushes, compactions and manifest commits happen all the time. Each
writer remembers what the server acknowledged (written and deleted) and what it only asked for;
after each restart the store must hold all of the first and nothing but the two together.
SOAK_SECONDS says for how long (default 20).
"""

import http.client
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.compat.conftest import free_port
from tests.reliability import remote_write

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
ORRERY = str(Path(sys.executable).with_name("orrery"))
START_SECONDS = 1_700_000_000
SERIES_PER_WRITER = 40
SETTINGS = """
head_bytes_max = 1_048_576
log_replay_bytes_max = 1_048_576
log_segment_bytes_max = 1_048_576
compaction_seconds = 0.2
object_grace_seconds = 1.0
disk_free_bytes_min = 0
[limits]
samples_per_second = 0
"""


@dataclass(slots=True)
class Memory:
    """What one writer knows: sample key (series, second) to value."""

    acknowledged: dict[tuple[int, int], float] = field(default_factory=dict)
    unanswered: dict[tuple[int, int], float] = field(default_factory=dict)
    maybe_deleted: set[tuple[int, int]] = field(default_factory=set)
    next_second: int = START_SECONDS


class Writer(threading.Thread):
    """Writes and now and then deletes, one request at a time, until the server is gone."""

    def __init__(self, name: str, memory: Memory, port: int, chance: random.Random) -> None:
        super().__init__(name=name)
        self.memory = memory
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.chance = chance

    def run(self) -> None:
        try:
            while True:
                if self.chance.random() < 0.03 and self.memory.acknowledged:
                    self.delete()
                else:
                    self.write()
        except (OSError, http.client.HTTPException):
            return
        finally:
            self.connection.close()

    def write(self) -> None:
        memory = self.memory
        seconds = range(memory.next_second, memory.next_second + self.chance.randint(1, 20))
        memory.next_second = seconds.stop
        sent = {
            (series, second): float(self.chance.randint(0, 10**6))
            for second in seconds
            for series in range(SERIES_PER_WRITER)
        }
        memory.unanswered.update(sent)
        path, body, headers = self.encoded(sent)
        self.connection.request("POST", path, body, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status in (200, 204):
            for key, value in sent.items():
                memory.acknowledged[key] = memory.unanswered.pop(key, value)
        else:
            assert answer.status in (429, 503), (answer.status, text)

    def encoded(self, sent: dict[tuple[int, int], float]) -> tuple[str, bytes, dict[str, str]]:
        if self.name.endswith("line"):
            lines = [
                f"{self.name},series={series} value={value} {second * 10**9}"
                for (series, second), value in sent.items()
            ]
            return "/write", "\n".join(lines).encode(), {}
        series_samples: dict[int, list[tuple[int, float]]] = {}
        for (series, second), value in sent.items():
            series_samples.setdefault(series, []).append((second * 1000, value))
        body = remote_write.body(
            ({"__name__": self.name, "series": str(series)}, samples)
            for series, samples in series_samples.items()
        )
        return "/api/v1/write", body, remote_write.HEADERS

    def delete(self) -> None:
        memory = self.memory
        series = self.chance.randrange(SERIES_PER_WRITER)
        low = self.chance.randint(START_SECONDS, memory.next_second)
        high = low + self.chance.randint(0, 200)
        doomed = {
            key
            for known in (memory.acknowledged, memory.unanswered)
            for key in known
            if key[0] == series and low <= key[1] <= high
        }
        memory.maybe_deleted |= doomed
        arguments = urllib.parse.urlencode(
            {"match[]": f'{self.name}{{series="{series}"}}', "start": low, "end": high}
        )
        self.connection.request("POST", f"/api/v1/admin/tsdb/delete_series?{arguments}")
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status in (204, 503), (answer.status, text)
        if answer.status == 204:
            memory.maybe_deleted -= doomed
            for key in doomed:
                memory.acknowledged.pop(key, None)
                # Deleted for certain: it may not come back.
                memory.unanswered.pop(key, None)


class Orrery:
    """One life of the server on the data directory."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        (folder / "orrery.toml").write_text(SETTINGS)
        self.output = folder / "output"
        command = [ORRERY, "serve", "--config", str(folder / "orrery.toml")]
        command += ["--data-dir", str(folder / "data"), "--http", f"127.0.0.1:{self.port}"]
        with self.output.open("ab") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.request("/-/ready")[0] == 200:
                    return
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
        raise AssertionError(f"not ready: {self.output.read_text()[-3000:]}")

    def request(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def samples(self, name: str, end_second: int) -> dict[tuple[int, int], float]:
        window = end_second - START_SECONDS + 10
        arguments = urllib.parse.urlencode({"query": f"{name}[{window}s]", "time": end_second})
        status, body = self.request(f"/api/v1/query?{arguments}")
        assert status == 200, body
        return {
            (int(row["metric"]["series"]), int(at)): float(value)
            for row in json.loads(body)["data"]["result"]
            for at, value in row["values"]
        }


def check(server: Orrery, name: str, memory: Memory) -> None:
    found = server.samples(name, memory.next_second)
    certain = {k: v for k, v in memory.acknowledged.items() if k not in memory.maybe_deleted}
    lost = [key for key in certain if key not in found]
    altered = [key for key, value in certain.items() if found.get(key, value) != value]
    possible = {**memory.unanswered, **memory.acknowledged}
    invented = [key for key, value in found.items() if possible.get(key) != value]
    assert (lost[:5], altered[:5], invented[:5]) == ([], [], []), (
        f"{name}: {len(lost)} lost, {len(altered)} altered, {len(invented)} invented "
        f"of {len(certain)} acknowledged"
    )
    # What the restart settled is settled: present or absent from now on.
    memory.acknowledged = dict(found)
    memory.unanswered = {}
    memory.maybe_deleted = set()


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS * 3 + 300)
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    seed = int(os.environ.get("SOAK_SEED", str(random.SystemRandom().randrange(10**6))))
    chance = random.Random(seed)
    memories = {name: Memory() for name in ("crash_line", "crash_remote", "other_line")}
    deadline = time.monotonic() + SOAK_SECONDS
    kills = 0
    while time.monotonic() < deadline or kills < 3:
        server = Orrery(tmp_path)
        for name, memory in memories.items():
            check(server, name, memory)
        writers = [
            Writer(name, memory, server.port, random.Random(chance.random()))
            for name, memory in memories.items()
        ]
        for writer in writers:
            writer.start()
        time.sleep(chance.uniform(0.1, 2.5))
        server.process.kill()
        server.process.wait()
        kills += 1
        for writer in writers:
            writer.join(60)
            assert not writer.is_alive()
        if sum(len(memory.acknowledged) for memory in memories.values()) > 1_000_000:
            # Checking reads everything back: begin anew before that takes all the time.
            shutil.rmtree(tmp_path / "data")
            memories = {name: Memory() for name in memories}
    server = Orrery(tmp_path)
    for name, memory in memories.items():
        check(server, name, memory)
    total = sum(len(memory.acknowledged) for memory in memories.values())
    server.process.terminate()
    assert server.process.wait(60) == 0, server.output.read_text()[-2000:]
    verified = subprocess.run(
        [ORRERY, "verify", "--data-dir", str(tmp_path / "data")], capture_output=True, text=True
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert total > 0, f"seed {seed}: nothing was acknowledged in {kills} lives"
