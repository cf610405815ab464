"""Everything at once: writers, deletes, flushes, compactions, sweeps and readers, over restarts.

Each reader knows before it looks what had been acknowledged, and after it has looked what might
have been taken away meanwhile: what it sees must lie between. SOAK_SECONDS says for how long.
"""

import contextlib
import itertools
import os
import threading
import time
from dataclasses import dataclass, field

import pytest

from orrery.clock import SystemClock
from orrery.errors import Unavailable
from orrery.kernels.meter import Meter
from orrery.kernels.series import parse_series
from orrery.log.local import LogLimits
from orrery.store.bounds import HOUR_NS, StoreBounds
from orrery.store.upkeep import Upkeep
from tests.store.cores import TIME_MAX_NS, TIME_MIN_NS, NativeCore
from tests.store.harness import NOW_NS, Running

pytestmark = pytest.mark.soak

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "10"))
LIFE_SECONDS = 3.0
WRITERS = 2
READERS = 2
CHURN_NAMES = 600
CHURN_STEP = 40
DELETE_EVERY = 5
BOUNDS = StoreBounds(
    head_bytes_flush=300_000,
    head_bytes_max=3_000_000,
    log_replay_bytes_max=40_000,
    block_bytes_max=300_000,
    checkpoints_max=3,
    grace_seconds=0.05,
    disk_reserve_bytes=0,
    delete_rewrite_after_ns=0,
)


def time_of(number):
    """Spread over windows, so that one flush makes several blocks."""
    return NOW_NS + number * 1_000_000 + number % 3 * 3 * HOUR_NS


@dataclass
class Counter:
    """Samples 0, 1, 2... of one series. Those up to ``written`` are acknowledged; a delete of all
    up to ``deleting`` was asked for, one of all up to ``deleted`` was acknowledged."""

    tenant: str
    name: str
    written: int = -1
    deleting: int = -1
    deleted: int = -1

    def check(self, before, found):
        """``before``: what was known when the read began."""
        least, most = before.written, self.written + 1
        gone_least, gone_most = before.deleted, self.deleting
        assert all(found[number] == number for number in found)
        assert not [number for number in found if number <= gone_least], "a delete came undone"
        assert not [number for number in found if number > most], "a sample came too early"
        missing = [n for n in range(gone_most + 1, least + 1) if n not in found]
        assert not missing, f"{self.name}: acknowledged and not there: {missing[:5]}"

    def copy(self):
        # In this order: each of them only ever grows.
        deleted = self.deleted
        return Counter(self.tenant, self.name, self.written, self.deleting, deleted)


@dataclass
class Life:
    """One opening of the store and the threads around it."""

    db: Running
    number: int
    counters: list = field(default_factory=list)
    failures: list = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)
    reads: int = 0

    def run(self, work, *arguments):
        def guarded():
            try:
                work(*arguments)
            except BaseException as error:
                self.failures.append(error)
                self.ending.set()

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def write(self, *rows, tenant):
        while True:
            try:
                return self.db.write(*rows, tenant=tenant)
            except Unavailable as error:
                if "until a flush is done" not in str(error):
                    raise
                self.db.clock.sleep_seconds(0.001)

    def write_counter(self, thread):
        kept = Counter(f"tenant-{thread}", f"kept-{self.number}-{thread}")
        cut = Counter(f"tenant-{thread}", f"cut-{self.number}-{thread}")
        self.counters += [kept, cut]
        for number in itertools.count():
            if self.ending.is_set():
                return
            rows = [(counter.name, time_of(number), float(number)) for counter in (kept, cut)]
            self.write(*rows, tenant=kept.tenant)
            kept.written = cut.written = number
            if number % DELETE_EVERY == DELETE_EVERY - 1:
                self.delete(cut, number - 2)

    def delete(self, counter, number):
        """All up to ``number``; times do not ascend with numbers, so one by one."""
        for one in range(counter.deleted + 1, number + 1):
            counter.deleting = one
            self.db.delete(counter.name, time_of(one), time_of(one), tenant=counter.tenant)
            counter.deleted = one

    def write_churn(self, tenant):
        """Series come and go: references pass from one tenant to another."""
        for number in itertools.count():
            if self.ending.is_set():
                return
            names = [(number * CHURN_STEP + n) % CHURN_NAMES for n in range(CHURN_STEP)]
            rows = [(f"{tenant}-{name}", time_of(number), 1.0) for name in names]
            self.write(*rows, tenant=tenant)

    def sweep(self):
        while not self.ending.is_set():
            self.db.store.table.sweep(2**63 - 1)
            self.db.clock.sleep_seconds(0.002)

    def read_counters(self):
        while not self.ending.is_set():
            for counter in list(self.counters):
                self.check(counter)

    def check(self, counter):
        before = counter.copy()
        found = self.samples(counter)
        counter.check(before, found)
        self.reads += 1

    def samples(self, counter):
        meter = Meter(samples_max=2**40, series_max=2**30, deadline_seconds=None)
        selection = self.db.store.snapshot().select(
            counter.tenant, [("__name__", "=", counter.name)], TIME_MIN_NS, TIME_MAX_NS, meter
        )
        assert len(selection) <= 1
        if not len(selection):
            return {}
        assert parse_series(selection.canonical(0))[0] == counter.name
        _, times, values = selection.samples(0, 1, TIME_MIN_NS, TIME_MAX_NS, meter)
        assert all(times[1:] > times[:-1])
        assert [time_of(int(value)) for value in values] == list(times)
        return {int(value): int(value) for value in values}

    def read_churn(self):
        """No tenant ever sees a series of another."""
        meter = Meter(samples_max=2**40, series_max=2**30, deadline_seconds=None)
        while not self.ending.is_set():
            for tenant in ("ant", "bee"):
                snapshot = self.db.store.snapshot()
                found = snapshot.select(tenant, [], TIME_MIN_NS, TIME_MAX_NS, meter)
                names = [parse_series(found.canonical(at))[0] for at in range(len(found))]
                assert all(name.startswith(f"{tenant}-") for name in names), tenant
                assert len(set(names)) == len(names)
                values = snapshot.label_values(
                    tenant, "__name__", [], TIME_MIN_NS, TIME_MAX_NS, meter
                )
                assert all(value.startswith(f"{tenant}-") for value in values), tenant


def open_store(path):
    return Running(
        path,
        NativeCore(),
        clock=SystemClock(),
        bounds=BOUNDS,
        log_limits=LogLimits(segment_bytes_max=20_000),
    )


def live(life, failed):
    """All threads at once for a while; what upkeep reports as failed is a failure."""

    def observe(event, fields):
        if event.endswith("_failed"):
            failed.append((event, fields))

    upkeep = Upkeep(life.db.store, observe=observe, interval_seconds=0.005)
    upkeep.start()
    threads = [life.run(life.write_counter, n) for n in range(WRITERS)]
    threads += [life.run(life.write_churn, tenant) for tenant in ("ant", "bee")]
    threads += [life.run(life.read_counters) for _ in range(READERS)]
    threads += [life.run(life.read_churn), life.run(life.sweep)]
    life.ending.wait(LIFE_SECONDS)
    life.ending.set()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    upkeep.stop()


def test_readers_see_what_was_acknowledged(tmp_path):
    earlier, failed = [], []
    began = time.monotonic()
    events = []
    for number in itertools.count():
        with contextlib.closing(open_store(tmp_path)) as db:
            life = Life(db, number)
            for counter in earlier:
                life.check(counter)
            live(life, failed)
            assert life.failures == []
            assert failed == []
            assert life.reads > 0
            earlier += life.counters
            for counter in earlier:
                life.check(counter)
            events += [event for event, _ in db.events]
        if time.monotonic() - began >= SOAK_SECONDS:
            break
    assert {"flush_done", "compaction_done", "files_removed"} <= set(events)
    with contextlib.closing(open_store(tmp_path)) as db:
        db.store.flush()
        db.store.compact()
        for counter in earlier:
            Life(db, -1).check(counter)
