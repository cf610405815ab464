"""A process to be killed: embeds the engine with tiny thresholds and writes as fast as it can.

``python -m tests.reliability.crash_writer DIRECTORY PHASE COUNT START...`` runs one thread for each
START and prints ``<thread> <number>`` after each acknowledged operation, ``event <name>`` after
each of the store's. What an operation does follows from its thread and number alone, so the
parent can say what must be there. It kills itself where it comes into PHASE for the COUNTth time.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from orrery.clock import SystemClock
from orrery.errors import OrreryError
from orrery.ingest.receipts import Receipts
from orrery.log.local import LogLimits
from orrery.model.selector import Matcher, Operator, Selector
from orrery.store.bounds import DAY_NS, HOUR_NS, StoreBounds
from orrery.store.upkeep import Upkeep
from tests.store.cores import NativeCore
from tests.store.harness import NOW_NS, TENANT, Running

BOUNDS = StoreBounds(
    head_bytes_flush=40_000,
    log_replay_bytes_max=6_000,
    block_bytes_max=200_000,
    checkpoints_max=3,
    grace_seconds=0.0,
    disk_reserve_bytes=0,
    delete_rewrite_after_ns=0,
)
LOG_LIMITS = LogLimits(segment_bytes_max=4_000)
DELETE_EVERY = 7

# The call that a phase is about to make: (what the interpreter tells of it, part of a path).
PHASES = {
    "log segment begun": ("os.rename", ".log"),
    "log trimmed": ("os.remove", ".log"),
    "block named": ("os.rename", ".block"),
    "block removed": ("os.remove", ".block"),
    "checkpoint named": ("os.rename", "/checkpoints/"),
    "checkpoint removed": ("os.remove", ".series"),
    "manifest committed": ("os.link", "/manifest/"),
    "manifest just committed": ("os.remove", "/manifest/~"),
    "manifest pruned": ("os.remove", ".json"),
    "receipt kept": ("os.rename", "/receipts/"),
}


SERIES_EVERY = 40


def prefix(thread):
    return f"m{thread}_"


def series(thread, number):
    """New ones come all the time, so that there are definitions to keep."""
    return f"{prefix(thread)}{number // SERIES_EVERY}"


def time_ns(number):
    """Spread over windows of several levels."""
    return NOW_NS + number * 1_000_000 + number % 3 * HOUR_NS * 3 - number % 2 * 5 * DAY_NS


def rows(thread, number):
    """One new sample, and a newer value for an older one."""
    older = number * 7 // 11
    return {
        (series(thread, older), time_ns(older)): float(-number),
        (series(thread, number), time_ns(number)): float(number),
    }


def deleted(number):
    """The ends of what a delete removes; both inclusive."""
    ends = time_ns(number - 3), time_ns(number - 5)
    return min(ends), max(ends)


def is_delete(number):
    return number % DELETE_EVERY == DELETE_EVERY - 1


def apply(model, thread, number):
    """What the samples of one thread are after the operation."""
    if is_delete(number):
        low, high = deleted(number)
        name = series(thread, number)
        return {k: v for k, v in model.items() if k[0] != name or not low <= k[1] <= high}
    return model | rows(thread, number)


class Killer:
    """An audit hook that ends the process as ``kill -9`` does, right before the chosen call."""

    def __init__(self, phase, count):
        self.call, self.part = phase
        self.left = count

    def __call__(self, call, arguments):
        if call == self.call and any(self.part in str(path) for path in arguments[:2]):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Telling(list):
    """Takes the place of the list of events that a test looks into."""

    def append(self, event):
        os.write(1, b"event %s\n" % event[0].encode())


def open_store(path):
    return Running(
        Path(path), NativeCore(), clock=SystemClock(), bounds=BOUNDS, log_limits=LOG_LIMITS
    )


def delete(db, receipts, thread, number):
    low, high = deleted(number)
    selector = Selector((Matcher("__name__", Operator.EQUAL, series(thread, number)),))
    receipts.delete(TENANT, selector, min_ns=low, max_ns=high)


def work(db, receipts, thread, number):
    while True:
        try:
            if is_delete(number):
                delete(db, receipts, thread, number)
            else:
                db.write(*[(*key, value) for key, value in rows(thread, number).items()])
        except OrreryError as error:
            if not any(text in str(error) for text in ("until a flush is done", "receipts_max")):
                raise
        else:
            os.write(1, b"%d %d\n" % (thread, number))
            number += 1


def follow(receipts, clock):
    while True:
        receipts.follow()
        clock.sleep_seconds(0.01)


def main(path, phase, count, *starts):
    db = open_store(path)
    db.events = Telling()
    if phase in PHASES:
        sys.addaudithook(Killer(PHASES[phase], int(count)))
    receipts = Receipts(
        store=db.store, delete=db.accept.delete, objects=db.objects, clock=db.clock, receipts_max=50
    )
    threading.Thread(target=follow, args=(receipts, db.clock), daemon=True).start()
    failures = []
    Upkeep(db.store, observe=lambda *event: failures.append(event), interval_seconds=0.001).start()
    threads = [
        threading.Thread(target=work, args=(db, receipts, thread, int(start)))
        for thread, start in enumerate(starts)
    ]
    for thread in threads:
        thread.daemon = True
        thread.start()
    while all(thread.is_alive() for thread in threads) and not failures:
        threads[0].join(0.05)
    os.write(2, f"a thread ended: {failures}\n".encode())
    os._exit(3)


if __name__ == "__main__":
    main(*sys.argv[1:])
