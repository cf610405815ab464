"""kill -9 of an embedded engine: what was acknowledged is there afterwards.

Every other life ends at a random moment, the others in each phase of the store's work by turns.
SOAK_SECONDS says for how long (default 20), SOAK_SEED repeats a run.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from orrery.ingest.receipts import Receipts
from orrery.store.verify import Verification
from tests.reliability import crash_writer
from tests.store.cores import NativeCore
from tests.store.harness import TENANT

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
THREADS = 3
ACKNOWLEDGED_MAX = 400


def run_until_killed(path: Path, starts: list[int], kill_after: int, phase: str, count: int):
    """The last number each thread had acknowledged, how often each event came, whether the
    process ended itself in its phase."""
    command = [sys.executable, "-m", "tests.reliability.crash_writer", str(path)]
    command += [phase, str(count), *map(str, starts)]
    last, events = {}, Counter()
    killed = False
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        for line in child.stdout:
            what, value = line.split()
            if what == b"event":
                events[value.decode()] += 1
                continue
            last[int(what)] = int(value)
            kill_after -= 1
            if kill_after == 0:
                # What is printed until the kill arrives is read, too.
                child.send_signal(signal.SIGKILL)
                killed = True
        assert child.wait() == -signal.SIGKILL
    return last, events, not killed


def settle(found, models, numbers, last):
    """Adopts what is there, which must be all acknowledged and at most one operation more."""
    for thread in range(THREADS):
        model = models[thread]
        for number in range(numbers[thread], last.get(thread, numbers[thread] - 1) + 1):
            model = crash_writer.apply(model, thread, number)
            numbers[thread] = number + 1
        mine = {
            key: v for key, v in found.items() if key[0].startswith(crash_writer.prefix(thread))
        }
        if mine != model:
            model = crash_writer.apply(model, thread, numbers[thread])
            numbers[thread] += 1
            assert mine == model, f"thread {thread}"
        models[thread] = model


def receipts(db):
    """Each must be readable, whatever killed its writer."""
    kept = Receipts(store=db.store, delete=db.accept.delete, objects=db.objects, clock=db.clock)
    kept.follow()
    return kept.of(TENANT)


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS * 3 + 300)
def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    seed = int(os.environ.get("SOAK_SEED", str(random.SystemRandom().randrange(10**6))))
    chance = random.Random(seed)
    models = [{} for _ in range(THREADS)]
    numbers = [0] * THREADS
    deadline = time.monotonic() + SOAK_SECONDS
    events, ended_in, operations = Counter(), Counter(), 0
    phases = [name for phase in crash_writer.PHASES for name in (phase, "any")]
    lives = 0
    while lives < len(phases) or time.monotonic() < deadline:
        phase = phases[lives % len(phases)]
        # A phase that does not come does not hold up the run.
        kill_after = chance.randint(1, ACKNOWLEDGED_MAX) if phase == "any" else 5 * ACKNOWLEDGED_MAX
        last, found, in_phase = run_until_killed(
            tmp_path, numbers, kill_after, phase, chance.randint(1, 6)
        )
        lives += 1
        events += found
        ended_in[phase] += in_phase and phase != "any"
        before = sum(numbers)
        with crash_writer.open_store(tmp_path) as db:
            settle(db.read(), models, numbers, last)
            assert all(one.id < db.store.statistics()["next_offset"] for one in receipts(db))
        operations += sum(numbers) - before
        rows = list(Verification(tmp_path, kernels=NativeCore().kernels).rows())
        assert [row for row in rows if not row["ok"]] == [], f"seed {seed}"
    assert {phase: ended_in[phase] for phase in crash_writer.PHASES if not ended_in[phase]} == {}
    assert events["flush_done"] > lives, f"seed {seed}: {events}"
    assert events["compaction_done"] > lives, f"seed {seed}: {events}"
    assert operations > lives * crash_writer.DELETE_EVERY
    sys.stderr.write(f"seed {seed}: {lives} lives, {operations} operations, {dict(events)}\n")
