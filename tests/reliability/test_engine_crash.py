"""kill -9 of an embedded engine at random moments: what was acknowledged is there afterwards.

SOAK_SECONDS says for how long (default 20).
"""

import os
import random
import signal
import subprocess
import sys
import time

from orrery.store.inspect import Inspection
from tests.reliability import crash_writer
from tests.store.cores import NativeCore

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
THREADS = 3
ACKNOWLEDGED_PER_ROUND_MAX = 400


def run_until_killed(path, starts, kill_after):
    """The last number each thread had acknowledged, or None."""
    command = [sys.executable, "-m", "tests.reliability.crash_writer", str(path)]
    last = {}
    with subprocess.Popen([*command, *map(str, starts)], stdout=subprocess.PIPE) as child:
        for count, line in enumerate(child.stdout, start=1):
            thread, number = map(int, line.split())
            last[thread] = number
            if count == kill_after:
                # What is printed until the kill arrives is read, too.
                child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    return last


def settle(found, models, numbers, last):
    """Adopts what is there, which must be all acknowledged and at most one operation more."""
    for thread in range(THREADS):
        model = models[thread]
        for number in range(numbers[thread], last.get(thread, numbers[thread] - 1) + 1):
            model = crash_writer.apply(model, thread, number)
            numbers[thread] = number + 1
        mine = {key: v for key, v in found.items() if key[0] == crash_writer.series(thread)}
        if mine != model:
            model = crash_writer.apply(model, thread, numbers[thread])
            numbers[thread] += 1
            assert mine == model
        models[thread] = model


def test_nothing_acknowledged_is_lost(tmp_path):
    chance = random.Random(7)
    models = [{} for _ in range(THREADS)]
    numbers = [0] * THREADS
    began = time.monotonic()
    rounds = 0
    while rounds < 3 or time.monotonic() - began < SOAK_SECONDS:
        last = run_until_killed(tmp_path, numbers, chance.randint(1, ACKNOWLEDGED_PER_ROUND_MAX))
        rounds += 1
        with crash_writer.open_store(tmp_path) as db:
            settle(db.read(), models, numbers, last)
            assert db.store.manifest().next_offset > 0 or rounds < 5
        rows = list(Inspection(tmp_path, kernels=NativeCore().kernels).verify())
        assert [row for row in rows if not row["ok"]] == []
