"""kill -9 at random moments, many times: whatever was acknowledged is there afterwards.

Thresholds are tiny, so that flushes, compactions and manifest commits happen all the time. Each
writer remembers what the server acknowledged (written and deleted) and what it only asked for;
after each restart the store must hold all of the first and nothing but the two together.
SOAK_SECONDS says for how long (default 20).
"""

import http.client
import os
import random
import shutil
import sys
import threading
import time
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.reliability import remote_write
from tests.reliability.serving import Orrery, verify

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
START_SECONDS = 1_700_000_000
SERIES_PER_WRITER = 40


@dataclass(slots=True)
class Memory:
    """What one writer knows: sample key (series, second) to value."""

    acknowledged: dict[tuple[int, int], float] = field(default_factory=dict)
    unanswered: dict[tuple[int, int], float] = field(default_factory=dict)
    maybe_deleted: set[tuple[int, int]] = field(default_factory=set)
    next_second: int = START_SECONDS
    written_count: int = 0
    deleted_count: int = 0


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
            memory.written_count += len(sent)
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
            memory.deleted_count += 1
            memory.maybe_deleted -= doomed
            for key in doomed:
                memory.acknowledged.pop(key, None)
                # Deleted for certain: it may not come back.
                memory.unanswered.pop(key, None)


def check(server: Orrery, name: str, memory: Memory) -> None:
    found = server.samples(name, START_SECONDS - 1, memory.next_second)
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
    kills = written = deleted = 0
    events: Counter[str] = Counter()
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
        server.kill()
        kills += 1
        events += server.events()
        for writer in writers:
            writer.join(60)
            assert not writer.is_alive()
        if sum(len(memory.acknowledged) for memory in memories.values()) > 1_000_000:
            # Checking reads everything back: begin anew before that takes all the time.
            written += sum(memory.written_count for memory in memories.values())
            deleted += sum(memory.deleted_count for memory in memories.values())
            shutil.rmtree(tmp_path / "data")
            memories = {name: Memory() for name in memories}
    server = Orrery(tmp_path)
    for name, memory in memories.items():
        check(server, name, memory)
    server.stop()
    assert verify(tmp_path / "data") == (0, [])
    written += sum(memory.written_count for memory in memories.values())
    deleted += sum(memory.deleted_count for memory in memories.values())
    told = f"seed {seed}: {kills} kills, {written} samples, {deleted} deletes, {dict(events)}"
    sys.stderr.write(f"{told}\n")
    for happened in (written, deleted, events["flush_done"], events["compaction_done"]):
        assert happened > 0, told
