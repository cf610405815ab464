"""The whole engine in one thread on a fake clock and a simulated disk, moved step by step.

The production code runs as it is: what threads do in a server, the writer of the log and the two
of upkeep, are steps here. After every step the store is held against the model.
"""

import contextlib
import errno
import os
import random
import struct
from dataclasses import dataclass

from orrery.errors import Corrupt, OrreryError, Unavailable
from orrery.log.local import LogLimits
from orrery.model.selector import Matcher, Operator, Selector
from orrery.store.bounds import DAY_NS, HOUR_NS, MINUTE_NS, StoreBounds
from tests.simulation.damage import DamageSteps
from tests.simulation.disk import Killed, SimulatedDisk
from tests.simulation.faults import FaultyKernels, FaultyObjects
from tests.simulation.model import Delete, Model, Write, difference, visible
from tests.simulation.samples import Violation, batch_of, read, side_of, unlimited, within
from tests.store.harness import FakeClock, Running

TENANTS = ("ant", "bee", "cat")
RETENTION_DAYS = {"bee": 2.0}
TIME_MIN_NS, TIME_MAX_NS = -(2**63), 2**63 - 1
STALE_NAN_BITS = 0x7FF0000000000002

STEPS = {
    "write": 30,
    "write_memory": 5,
    "delete": 4,
    "log": 24,
    "flush": 6,
    "compact": 10,
    "compact_all": 1,
    "wait": 6,
    "read": 8,
    "restart": 1,
    "kill": 2,
    "kill_soon": 4,
    "power_cut": 2,
    "power_cut_soon": 4,
    "fail_disk": 4,
    "fill_disk": 2,
    "fail_objects": 3,
    "heal": 6,
    "damage": 3,
    "repair": 2,
    "drop": 1,
}


@dataclass(frozen=True)
class Step:
    kind: str
    seed: int


def plan(seed: int, count: int) -> list[Step]:
    """Steps carry chance of their own, so that taking one out leaves the others as they were."""
    chance = random.Random(seed)
    kinds = chance.choices(list(STEPS), list(STEPS.values()), k=count)
    return [Step(kind, chance.getrandbits(32)) for kind in kinds]


class World(DamageSteps):
    """One run. ``seed`` chooses the engine's settings; each step brings its own chance."""

    def __init__(self, path, seed):
        chance = random.Random(seed)
        self.path = path
        self.chance = random.Random(seed + 1)
        self.clock = FakeClock()
        self.disk = SimulatedDisk(path, self.chance)
        self.objects = FaultyObjects(None, self.chance)
        self.models = [Model()]
        self.written = {}
        self.damaged = None
        self.queue = []
        self.number = 0
        self.power_fails = False
        self.is_excused = False
        self.is_faulty = False
        self.events = []
        self.bounds = StoreBounds(
            head_bytes_flush=chance.choice((20_000, 60_000, 2**30)),
            log_replay_bytes_max=chance.choice((800, 5_000, 2**30)),
            block_bytes_max=chance.choice((3_000, 200_000)),
            checkpoints_max=chance.choice((1, 3)),
            grace_seconds=300.0,
            series_idle_ns=chance.choice((HOUR_NS, 4 * HOUR_NS)),
            sweep_interval_seconds=600.0,
            delete_rewrite_after_ns=chance.choice((0, HOUR_NS)),
            disk_reserve_bytes=0,
        )
        self.log_limits = LogLimits(
            segment_bytes_max=chance.choice((300, 1_500, 10_000)),
            group_records_max=chance.choice((1, 3, 100)),
        )
        self.db = None
        self.open()

    # --- lives

    def open(self):
        """Starts the engine; where the disk fails meanwhile, it stays down."""
        try:
            self.db = self._run()
        except Unavailable as error:
            self.db = None
            self._excuse(error)
            # A process that could not start has ended.
            self.disk.end_process()
            return
        except Corrupt as error:
            raise Violation("no damage was done", repr(error)) from error
        self._settle()

    def _run(self):
        return Running(
            self.path,
            _Core(FaultyKernels(self.disk)),
            clock=self.clock,
            disk=self.disk,
            threaded=False,
            bounds=self.bounds,
            log_limits=self.log_limits,
            wrap_objects=self._wrap,
            retention_days=RETENTION_DAYS.get,
        )

    def _wrap(self, inner):
        self.objects.inner = inner
        return self.objects

    def _settle(self):
        """What came up is one of the states that may."""
        # A failed sync may lose what was acknowledged from memory, as a power cut does.
        forgot = self.power_fails or self.disk.has_forgotten
        states = [state for model in self.models for state in model.after(power_cut=forgot)]
        self.power_fails = self.disk.has_forgotten = False
        self.models = [
            Model(state, state) for at, state in enumerate(states) if state not in states[:at]
        ]
        self.check("after a start")

    def end(self, *, power_cut):
        """The process is gone, or the machine is."""
        for operation, _ in self.queue:
            self.each(lambda model, failed=operation: model.failed(failed))
        self.queue.clear()
        if self.db is not None:
            self.events += self.db.events
            self.db.directory.close()
        self.db = None
        self.power_fails |= power_cut
        if power_cut:
            self.disk.cut_power()
        else:
            self.disk.end_process()

    # --- steps

    def run(self, step):
        self.chance.seed(step.seed)
        if self.objects.inner is not None and self.chance.random() < 0.5:
            with contextlib.suppress(OrreryError):
                self.objects.deliver()
        if self.db is None:
            self.open()
            if self.db is None and step.kind not in ("heal", "kill", "power_cut"):
                return
        getattr(self, f"step_{step.kind}")()
        if self.db is not None:
            self.check()

    def do(self, step):
        """``run``, and the end of the process where it came upon one."""
        try:
            self.run(step)
        except Killed:
            self.end(power_cut=self.power_pending)
            self.power_pending = False

    power_pending = False

    def step_write(self, *, durable=True):
        tenant = self.chance.choice(TENANTS)
        rows = {}
        for _ in range(self.chance.randint(1, 6)):
            self.number += 1
            rows[self._series(), self._time_ns()] = self._bits(), side_of(self.number + len(rows))
        operation = Write(tenant, tuple((*key, value) for key, value in rows.items()), durable)
        batch = batch_of(operation.rows)
        self._enter(operation, lambda: self.db.accept.write(tenant, batch, durable=durable))

    def step_write_memory(self):
        self.step_write(durable=False)

    def step_delete(self):
        tenant, name = self.chance.choice(TENANTS), self._series()
        ends = sorted((self._time_ns(), self._time_ns()))
        if self.chance.random() < 0.2:
            ends = [TIME_MIN_NS, TIME_MAX_NS]
        operation = Delete(tenant, name, *ends)
        selector = Selector((Matcher("__name__", Operator.EQUAL, name),))
        self._enter(
            operation,
            lambda: self.db.accept.delete(tenant, selector, min_ns=ends[0], max_ns=ends[1]),
        )

    def _enter(self, operation, call):
        """A call that raises has written nothing."""
        with self.allowed():
            future = call()
            # The log takes appends again only once it has cut off what had failed.
            self.each(Model.forgotten)
            self.queue.append((operation, future))
            self._remember(operation)

    def step_log(self):
        if self.db.plain_log.write_queued(0):
            self._answer()

    def _answer(self):
        """What the log has finished: acknowledged, or not."""
        while self.queue and self.queue[0][1].done():
            operation, future = self.queue.pop(0)
            error = future.exception()
            if error is None:
                self.each(lambda model, done=operation: model.acknowledged(done))
            else:
                self._excuse(error)
                self.each(lambda model, failed=operation: model.failed(failed))

    def _remember(self, operation):
        """Every value that a sample may ever have shown."""
        if isinstance(operation, Write):
            for name, time, value in operation.rows:
                self.written.setdefault((operation.tenant, name, time), set()).add(value)

    def step_flush(self):
        with self.allowed():
            if self.chance.random() < 0.5:
                self.db.store.maintain_head()
            elif self.db.store.flush():
                self.each(Model.settled)

    def step_compact(self):
        with self.allowed():
            for _ in range(10):
                if not self.db.store.maintain_blocks():
                    break

    def step_compact_all(self):
        with self.allowed():
            self.db.store.compact()

    def step_wait(self):
        with contextlib.suppress(OrreryError):
            # No request is under way for longer than the grace period of files.
            self.objects.deliver()
        self.clock.ns += self.chance.choice((1, MINUTE_NS, 6 * MINUTE_NS, HOUR_NS, 13 * HOUR_NS))

    def step_read(self):
        self.check_labels()

    def step_restart(self):
        """As the server ends: what was accepted is answered, then flushed."""
        with self.allowed():
            while self.db.plain_log.write_queued(0):
                self._answer()
            self.db.accept.close()
            if self.db.store.flush():
                self.each(Model.settled)
        self.db.store.close()
        with self.allowed():
            self.db.plain_log.close()
        self.end(power_cut=False)

    def step_kill(self):
        self.end(power_cut=False)

    def step_power_cut(self):
        self.end(power_cut=True)

    def step_kill_soon(self):
        self.disk.calls_left = self.chance.choice((1, 2, 3, 5, 10, 20, 40))
        self.power_pending = False

    def step_power_cut_soon(self):
        self.step_kill_soon()
        self.power_pending = True

    def step_fail_disk(self):
        """Calls of some kinds fail at some rate, until it heals."""
        calls = set(self.chance.sample(("write", "sync", "rename", "link", "read", "open"), 2))
        rate = self.chance.choice((0.05, 0.3, 1.0))
        chance = random.Random(self.chance.getrandbits(32))

        def fails(call, path):
            if call in calls and chance.random() < rate:
                self.is_excused = True
                return OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return None

        self.disk.fails = fails
        self.is_faulty = True

    def step_fill_disk(self):
        self.disk.space_left = self.chance.choice((0, 50, 500, 5_000))
        self.is_excused = True

    def step_fail_objects(self):
        self.objects.rate = self.chance.choice((0.05, 0.3, 1.0))
        self.is_excused = True

    def step_heal(self):
        """Faults go away; a store that had to stop is started again."""
        self.is_faulty = False
        self.disk.fails = lambda _call, _path: None
        self.disk.space_left = None
        self.objects.rate = 0.0
        if self.db is not None:
            # A log that failed says so at the next write.
            self.step_write()
            self.step_log()
        if self.db is not None and self.db.store.not_ready() is not None:
            self.end(power_cut=False)
        if self.db is None:
            self.open()
        if self.db is not None:
            self.is_excused = self.disk.calls_left is not None

    # --- what holds at all times

    @contextlib.contextmanager
    def allowed(self):
        try:
            yield
        except OrreryError as error:
            self._excuse(error)

    def _excuse(self, error):
        """Errors are named, and only where something had failed."""
        if isinstance(error, Corrupt) and self.damaged and self.damaged.entry.name in str(error):
            return
        if isinstance(error, Corrupt) or not isinstance(error, OrreryError):
            raise Violation("no damage was done", repr(error)) from error
        if not self.is_excused:
            raise Violation("nothing had failed", repr(error)) from error

    def each(self, change):
        for model in self.models:
            change(model)

    def check(self, promise="reads differ"):
        """Histories that do not show what is read are not the true one; one must be."""
        parts = list(self.answered())
        kept, cause = [], ""
        for model in self.models:
            expected = visible(model.state, self.cuts_ns())
            causes = [
                difference(found, wanted)
                for tenant, low, high, found in parts
                if found != (wanted := within(expected, tenant, low, high))
            ]
            kept += [] if causes else [model]
            cause = "; ".join(causes) or cause
        if not kept:
            raise Violation(promise, f"of {len(self.models)} histories none: {cause}")
        self.models = kept

    def answered(self):
        """(tenant, first time, last time, samples): all there is, in parts where damage keeps it
        from being answered in one. What is damaged is an error that names the block."""
        for tenant in TENANTS:
            yield from self._answered_in(tenant, TIME_MIN_NS, TIME_MAX_NS)

    def _answered_in(self, tenant, low, high):
        try:
            yield tenant, low, high, read(self.db.store.snapshot(tenant), tenant, low, high)
        except Corrupt as error:
            self._excuse(error)
            entry = self.damaged.entry
            if (low, high) != (TIME_MIN_NS, TIME_MAX_NS):
                return
            for ends in ((low, entry.min_ns - 1), (entry.max_ns + 1, high)):
                found = read(self.db.store.snapshot(tenant), tenant, *ends)
                yield (tenant, *ends, found)
            # Inside, what is answered at all is right.
            times = sorted({key[2] for model in self.models for key in model.state})
            for time in [t for t in times if entry.min_ns <= t <= entry.max_ns][:8]:
                yield from self._answered_in(tenant, time, time)

    def check_labels(self):
        for tenant in TENANTS:
            state = visible(self.models[0].state, self.cuts_ns())
            names = {n for t, n, _ in state if t == tenant}
            snapshot = self.db.store.snapshot(tenant)
            with self.allowed():
                listed = snapshot.label_values(
                    tenant, "__name__", [], TIME_MIN_NS, TIME_MAX_NS, unlimited()
                )
                if names <= set(listed):
                    continue

                raise Violation("names are not listed", f"{names - set(listed)} of {tenant}")

    def finish(self):
        """Once all faults are gone the store takes writes, settles and holds what it should."""
        self.disk.calls_left = None
        self.step_heal()
        self.is_excused = False
        self.step_repair()
        for kind in ("write", "log", "flush", "compact", "compact_all", "restart", "read"):
            self.run(Step(kind, 0))
        if self.db.store.not_ready() is not None:
            raise Violation("it does not recover", self.db.store.not_ready())
        self.end(power_cut=True)
        self.open()
        self.end(power_cut=False)

    # --- reading and making samples

    def cuts_ns(self):
        return {t: self.clock.ns - int(days * DAY_NS) for t, days in RETENTION_DAYS.items()}

    def _series(self):
        # Now and then one that nobody has seen.
        if self.chance.random() < 0.1:
            return f"new_{self.number}"
        return f"s{self.chance.randrange(6)}"

    def _time_ns(self):
        back = self.chance.choice((0, 0, HOUR_NS, 5 * HOUR_NS, DAY_NS, 3 * DAY_NS, 40 * DAY_NS))
        return self.clock.ns - back - self.chance.randrange(20) * MINUTE_NS

    def _bits(self):
        if self.chance.random() < 0.05:
            return STALE_NAN_BITS
        return struct.unpack("<Q", struct.pack("<d", float(self.number)))[0]


@dataclass
class _Core:
    """What ``Running`` asks of a core."""

    kernels: FaultyKernels
