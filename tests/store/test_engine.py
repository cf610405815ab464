"""The store from write to read: flush, compaction, deletes, retention, reopening, refusals."""

import shutil
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orrery.durable import Disk
from orrery.errors import Corrupt, Exhausted, Invalid, OrreryError, Unavailable
from orrery.log.local import LogLimits
from orrery.model.selector import Matcher, Operator, Selector
from orrery.store.bounds import DAY_NS, HOUR_NS, StoreBounds
from orrery.store.manifest import ManifestStore
from orrery.store.upkeep import Upkeep
from tests.store.cores import CORES
from tests.store.harness import NOW_NS, TENANT, FakeClock, Running

T = NOW_NS
OLD = T - 40 * DAY_NS


def test_what_is_written_is_read_and_survives_everything(tmp_path, core):
    rows = {("cpu", T + n): float(n) for n in range(10)} | {("mem", OLD): 1.5}
    with Running(tmp_path, core) as db:
        written = db.write(*[(*key, value) for key, value in rows.items()])
        assert (written.sample_count, written.offset, written.acknowledgement) == (11, 0, "fsynced")
        assert written.new_series_count == 2
        assert db.read() == rows
        assert db.read("other") == {}
    with Running(tmp_path, core) as db:
        assert db.read() == rows
        assert db.store.flush()
        assert not db.store.flush()
        assert db.read() == rows
        db.write(("cpu", T, 100.0))
        assert db.read() == rows | {("cpu", T): 100.0}
    with Running(tmp_path, core) as db:
        assert db.read() == rows | {("cpu", T): 100.0}
        assert db.store.manifest().next_offset == 1
        assert db.store.epoch == 3


def test_replay_resolves_series_that_only_a_checkpoint_defines(tmp_path, core):
    with Running(tmp_path, core) as db:
        db.write(("cpu", T, 1.0))
        db.store.flush()
        db.write(("cpu", T + 1, 2.0))
    with Running(tmp_path, core) as db:
        assert db.read() == {("cpu", T): 1.0, ("cpu", T + 1): 2.0}


def test_checkpoints_are_written_whole_now_and_then(tmp_path, core):
    bounds = StoreBounds(checkpoints_max=3, grace_seconds=0.0, disk_reserve_bytes=0)
    with Running(tmp_path, core, bounds=bounds) as db:
        for number in range(8):
            db.write((f"m{number}", T + number, 1.0))
            db.store.flush()
            assert len(db.store.manifest().checkpoints) <= 3
        db.store.remove_unlisted()
        listed = set(db.store.manifest().checkpoints)
        assert {name for name, _ in db.objects.list("partitions/0/checkpoints/")} == listed
        db.write(*[(f"m{number}", T + 100, 2.0) for number in range(8)])
    with Running(tmp_path, core, bounds=bounds) as db:
        assert len(db.read()) == 16


def test_a_delete_hides_what_was_before_it_and_nothing_after(tmp_path, core):
    with Running(tmp_path, core) as db:
        db.write(("cpu", T, 1.0), ("cpu", T + 9, 1.0), ("mem", T, 1.0))
        db.store.flush()
        db.write(("cpu", T + 1, 1.0))
        db.delete("cpu", T, T + 5)
        db.write(("cpu", T + 2, 2.0))
        expected = {("cpu", T + 9): 1.0, ("mem", T): 1.0, ("cpu", T + 2): 2.0}
        assert db.read() == expected
    with Running(tmp_path, core) as db:
        assert db.read() == expected
        db.store.flush()
        assert db.read() == expected
        assert len(db.store.manifest().deletes) == 1
        db.store.compact()
        assert db.read() == expected
        assert db.store.manifest().deletes == ()
    with Running(tmp_path, core) as db:
        assert db.read() == expected


def test_a_delete_while_a_flush_writes_hides_the_block(tmp_path, core):
    with Running(tmp_path, core) as db:
        db.write(("cpu", T, 1.0), ("mem", T, 1.0))
        plain = core.kernels.write_block

        def write_block(*arguments, **options):
            made = plain(*arguments, **options)
            core.kernels.write_block = plain
            db.delete("cpu", T, T)
            return made

        core.kernels.write_block = write_block
        db.store.flush()
        assert db.read() == {("mem", T): 1.0}
    with Running(tmp_path, core) as db:
        assert db.read() == {("mem", T): 1.0}
        db.store.compact()
        assert db.read() == {("mem", T): 1.0}


def test_a_delete_that_cannot_be_parsed_never_reaches_the_log(tmp_path, core):
    with Running(tmp_path, core) as db:
        selector = Selector((Matcher("a", Operator.REGEX, "("),))
        with pytest.raises(Invalid):
            db.accept.delete(TENANT, selector, min_ns=0, max_ns=1)
        assert db.log.bounds(0) == (0, 0)


def test_the_later_write_wins_through_flush_and_compaction(tmp_path, core):
    with Running(tmp_path, core) as db:
        for value in range(6):
            db.write(("cpu", T, float(value)), ("cpu", T + value, -1.0))
            db.store.flush()
        expected = {("cpu", T): 5.0} | {("cpu", T + n): -1.0 for n in range(1, 6)}
        assert db.read() == expected
        db.clock.ns += DAY_NS
        db.store.compact()
        assert len(db.store.blocks()) == 1
        assert db.read() == expected


def test_flushes_cut_at_windows_and_compaction_merges_them(tmp_path, core):
    hours = [(f"h{n}", T + n * HOUR_NS, 1.0) for n in range(24)]
    with Running(tmp_path, core) as db:
        for name, time, value in hours:
            db.clock.ns = time
            db.write((name, time, value))
            db.store.flush()
        assert all(
            b.min_ns // (2 * HOUR_NS) == b.max_ns // (2 * HOUR_NS) for b in db.store.blocks()
        )
        db.clock.ns = T + 3 * DAY_NS
        seen = []
        db.store.compact(lambda what, done, left: seen.append((what, done, left)))
        assert seen
        assert len(db.store.blocks()) <= 2
        assert len(db.read()) == 24
        db.store.remove_unlisted()
        names = {path.name for path in db.directory.blocks_path.iterdir()}
        assert names == {block.name for block in db.store.blocks()}


def test_scattered_old_samples_make_few_blocks(tmp_path, core):
    bounds = StoreBounds(blocks_per_flush_max=6, disk_reserve_bytes=0)
    with Running(tmp_path, core, bounds=bounds) as db:
        rows = [("cpu", T - n * 13 * DAY_NS, float(n)) for n in range(200)]
        rows.append(("cpu", T + 400 * DAY_NS, 7.0))
        db.write(*rows)
        db.store.flush()
        assert 1 < len(db.store.blocks()) <= 6
        assert len(db.read()) == 201
        db.store.compact()
        assert len(db.read()) == 201


def test_retention_drops_blocks_and_cuts_at_compaction(tmp_path, core):
    days = {"short": 1.0, "long": None}
    clock = FakeClock()
    with Running(tmp_path, core, clock=clock, retention_days=days.get) as db:
        db.write(("a", T, 1.0), tenant="short")
        db.store.flush()
        db.write(("b", T, 1.0), tenant="short")
        db.write(("c", T, 1.0), tenant="long")
        db.store.flush()
        clock.ns += 2 * DAY_NS
        assert db.store.maintain_blocks() in (True, False)
        db.store.compact()
        assert db.read("short") == {}
        assert db.read("long") == {("c", T): 1.0}
        assert [block.tenant_count for block in db.store.blocks()] == [1]


def test_reads_never_show_what_a_tenant_no_longer_keeps(tmp_path, core):
    days = {"short": 1.0, "long": None}
    clock = FakeClock()
    with Running(tmp_path, core, clock=clock, retention_days=days.get) as db:

        def seen(tenant):
            return db.core.read(db.store.snapshot(tenant), tenant)

        for tenant in days:
            db.write(("a", T - 2 * DAY_NS, 1.0), ("a", T, 2.0), tenant=tenant)
            db.write(("a", T + 1, 3.0), tenant=tenant)
        for done in (lambda: None, db.store.flush, db.store.compact):
            done()
            assert seen("short") == {("a", T): 2.0, ("a", T + 1): 3.0}
            assert len(seen("long")) == 3
        # To the nanosecond: what is exactly as old as is kept is still kept.
        clock.ns = T + DAY_NS
        assert seen("short") == {("a", T): 2.0, ("a", T + 1): 3.0}
        clock.ns += 1
        assert seen("short") == {("a", T + 1): 3.0}
        assert len(seen("long")) == 3


def test_metadata_is_kept_once_and_survives(tmp_path, core):
    rows = [("cpu", "counter", "Time used.", "seconds"), ("mem", "gauge", "", "")]
    with Running(tmp_path, core) as db:
        assert db.accept.write_metadata(TENANT, rows).result(30) == 0
        assert db.accept.write_metadata(TENANT, rows).result(30) is None
        assert db.store.metadata_of(TENANT) == rows
    with Running(tmp_path, core) as db:
        assert db.store.metadata_of(TENANT, "mem") == rows[1:]
        db.store.flush()
        changed = [("cpu", "gauge", "", "")]
        assert db.accept.write_metadata(TENANT, changed).result(30) == 1
    with Running(tmp_path, core) as db:
        assert db.store.metadata_of(TENANT) == [changed[0], rows[1]]
        assert db.store.metadata_of("other") == []


def test_replay_flushes_when_the_head_is_full(tmp_path, core):
    with Running(tmp_path, core) as db:
        for number in range(40):
            db.write(*[("cpu", T + number * 100 + n, 1.0) for n in range(100)])
    small = StoreBounds(head_bytes_flush=1, disk_reserve_bytes=0)
    with Running(tmp_path, core, bounds=small) as db:
        assert len(db.read()) == 4000
        assert db.store.manifest().next_offset == 40
        assert db.log.bounds(0)[0] > 0


def test_writes_wait_for_the_flush_of_a_full_head(tmp_path, core):
    bounds = StoreBounds(head_bytes_max=10_000, disk_reserve_bytes=0)
    with Running(tmp_path, core, bounds=bounds) as db:
        db.write(*[("cpu", T + n, 1.0) for n in range(1000)])
        with pytest.raises(Unavailable, match=r"the head holds .* until a flush is done"):
            db.write(("cpu", T + 1, 1.0))
        assert db.limits.counts["pressure"] == db.limits.counts["given back"] == 1
        assert db.store.flush_wanted.is_set()
        assert db.store.flush()
        db.write(("cpu", T + 1, 1.0))


def test_a_full_disk_refuses_writes_and_goes_on_reading_and_deleting(tmp_path, core):
    free = [10_000]
    bounds = StoreBounds(disk_reserve_bytes=5_000)
    with Running(tmp_path, core, bounds=bounds, free_bytes=lambda: free[0]) as db:
        db.write(("cpu", T, 1.0), ("cpu", T + 1, 1.0))
        free[0] = 4_999
        db.clock.ns += 10**10
        with pytest.raises(Unavailable, match="4999 bytes are free on the disk, 5000 are kept"):
            db.write(("cpu", T + 2, 1.0))
        db.delete("cpu", T, T)
        assert db.read() == {("cpu", T + 1): 1.0}
        free[0] = 10_000
        db.clock.ns += 10**10
        db.write(("cpu", T + 2, 1.0))


def test_the_number_of_deletes_is_bounded(tmp_path, core):
    bounds = StoreBounds(deletes_max=2, disk_reserve_bytes=0)
    with Running(tmp_path, core, bounds=bounds) as db:
        db.write(("cpu", T, 1.0))
        db.store.flush()
        db.delete("cpu", T, T)
        db.delete("cpu", T, T)
        with pytest.raises(Exhausted, match="2 deletes of at most 2"):
            db.delete("cpu", T, T)
        db.store.flush()
        db.store.compact()
        db.delete("cpu", T, T)


def test_flush_reasons(tmp_path, core):
    clock = FakeClock(NOW_NS + HOUR_NS)
    bounds = StoreBounds(log_replay_bytes_max=2_000_000, disk_reserve_bytes=0)
    with Running(tmp_path, core, clock=clock, bounds=bounds) as db:
        assert not db.store.maintain_head()
        db.write(("cpu", T, 1.0))
        assert not db.store.maintain_head()
        clock.ns = NOW_NS + 2 * HOUR_NS + HOUR_NS // 5
        assert db.store.maintain_head()
        assert not db.store.maintain_head()
        clock.ns += 3 * HOUR_NS
        assert not db.store.maintain_head()


def test_records_lost_by_the_log_are_never_numbered_again(tmp_path, core):
    with Running(tmp_path, core) as db:
        for number in range(5):
            db.write(("cpu", T + number, 1.0), durable=False)
        db.store.flush()
    shutil.rmtree(tmp_path / "log")
    with Running(tmp_path, core) as db:
        assert len(db.read()) == 5
        assert db.write(("cpu", T + 9, 1.0)).offset == 5
    with Running(tmp_path, core) as db:
        assert len(db.read()) == 6


def test_a_log_that_begins_too_late_is_named(tmp_path, core):
    with Running(tmp_path, core) as db:
        db.write(("cpu", T, 1.0))
        db.log.trim(0, 10)
    with pytest.raises(Corrupt, match="the log begins at record 10, replay needs record 0"):
        Running(tmp_path, core)


def test_a_missing_block_is_named(tmp_path, core):
    with Running(tmp_path, core) as db:
        db.write(("cpu", T, 1.0))
        db.store.flush()
        name = db.store.blocks()[0].name
    path = tmp_path / "blocks" / name
    content = path.read_bytes()
    path.unlink()
    with Running(tmp_path, core) as db:
        with pytest.raises(Corrupt, match=f"{name}.*in quarantine.*missing"):
            db.read()
        path.write_bytes(content)
        db.store.release_block(name)
        assert db.read() == {("cpu", T): 1.0}


def test_a_store_whose_epoch_was_taken_stops(tmp_path, core):
    with Running(tmp_path, core) as db:
        db.write(("cpu", T, 1.0))
        ManifestStore(db.objects, partition=0).take_epoch(0)
        with pytest.raises(Unavailable, match="epoch 2 has taken over from epoch 1"):
            db.store.flush()
        with pytest.raises(Unavailable, match="epoch 2 has taken over"):
            db.write(("cpu", T, 1.0))
        assert db.read() == {("cpu", T): 1.0}


def test_a_store_whose_epoch_was_taken_removes_nothing_of_its_successor(tmp_path, core):
    with Running(tmp_path, core) as db:
        db.write(("cpu", T, 1.0))
        db.store.flush()
        own, theirs = db.store.blocks()[0].name, "0000000002-0000000001.block"
        checkpoint = "partitions/0/checkpoints/0000000002-0000000001.series"
        (tmp_path / "blocks" / theirs).write_bytes(b"of epoch 2")
        db.objects.put(checkpoint, b"of epoch 2")
        db.store.remove_unlisted()
        assert (tmp_path / "blocks" / theirs).exists()
        assert db.objects.get(checkpoint) is not None
        kept = db.plain_log.bounds(0)
        # It drops a block of its own, which the successor's manifest still lists.
        ManifestStore(db.objects, partition=0).take_epoch(0)
        with pytest.raises(Unavailable, match="has taken over"):
            db.store.compact()
        db.store.remove_unlisted()
        assert (tmp_path / "blocks" / own).exists()
        assert db.plain_log.bounds(0) == kept


def test_what_a_commit_of_unknown_outcome_may_list_stays(tmp_path, core):
    class Unsure:
        """A commit lands, but neither its answer nor a look at it comes through."""

        def __init__(self, inner):
            self._inner = inner
            self.is_cut_off = False

        def __getattr__(self, name):
            return getattr(self._inner, name)

        def put_if_absent(self, name, content):
            won = self._inner.put_if_absent(name, content)
            if self.is_cut_off:
                raise Unavailable("cannot put: no answer came")
            return won

        def get(self, name):
            if self.is_cut_off:
                raise Unavailable("cannot get: no answer came")
            return self._inner.get(name)

    with Running(tmp_path, core, wrap_objects=Unsure) as db:
        db.write(("cpu", T, 1.0))
        db.objects.is_cut_off = True
        with pytest.raises(Unavailable, match="no answer came"):
            db.store.flush()
        db.objects.is_cut_off = False
        db.store.remove_unlisted()
        db.store.flush()
        db.store.remove_unlisted()
        assert db.read() == {("cpu", T): 1.0}
    with Running(tmp_path, core) as db:
        assert db.read() == {("cpu", T): 1.0}


class Panic(BaseException):
    """As a panic of the core arrives: no ``Exception``."""


def test_a_panic_while_applying_is_answered_and_stops_writes(tmp_path, core):
    with Running(tmp_path, core) as db:
        db.write(("cpu", T, 1.0))

        def panic(*_):
            raise Panic("index out of bounds")

        db.store.apply = panic
        with pytest.raises(Unavailable, match="index out of bounds"):
            db.write(("cpu", T + 1, 1.0))
        with pytest.raises(Unavailable, match="index out of bounds"):
            db.write(("cpu", T + 2, 1.0))
    with Running(tmp_path, core) as db:
        assert db.read() == {("cpu", T): 1.0, ("cpu", T + 1): 1.0}


def test_upkeep_outlives_a_panic(tmp_path, core):
    seen = threading.Event()
    with Running(tmp_path, core) as db:
        calls = []

        def panic():
            calls.append(1)
            if len(calls) > 2:
                seen.set()
            raise Panic("index out of bounds")

        db.store.maintain_blocks = panic
        upkeep = Upkeep(db.store, observe=lambda *_: None, interval_seconds=0.001)
        upkeep.start()
        assert seen.wait(10)
        upkeep.stop()


def test_a_failed_record_leaves_no_series_undefined(tmp_path):
    core = CORES["native"]()
    with Running(tmp_path, core) as db:
        queue = db.plain_log.append

        def too_long(*_, **__):
            raise MemoryError

        db.plain_log.append = too_long
        with pytest.raises(MemoryError):
            db.write(("cpu", T, 1.0))
        db.plain_log.append = queue
        db.write(("cpu", T, 2.0))
    with Running(tmp_path, core) as db:
        assert db.read() == {("cpu", T): 2.0}


def test_a_head_that_a_delete_emptied_is_not_full(tmp_path, core):
    with Running(tmp_path, core) as db:
        for round_number in range(3):
            db.write(*[("cpu", T + n, float(n)) for n in range(2000)])
            full = db.store.statistics()["head_bytes"]
            db.delete("cpu", T, T + 2000)
            db.store.flush()
            assert db.store.statistics()["head_bytes"] < full, round_number
            assert db.read() == {}
    with Running(tmp_path, core) as db:
        assert db.read() == {}


def test_a_retention_beyond_all_time_keeps_all(tmp_path, core):
    with Running(tmp_path, core, retention_days=lambda _tenant: 1e12) as db:
        db.write(("cpu", 0, 1.0))
        db.store.flush()
        db.store.compact()
        assert db.read() == {("cpu", 0): 1.0}


class Failing:
    """Passes calls on; the ``at``-th call of a name in ``names`` raises, before or after."""

    def __init__(self, inner, names, at, *, after=False):
        self._inner, self._names, self._at, self._after = inner, names, at, after
        self.failed = False

    def __getattr__(self, name):
        plain = getattr(self._inner, name)
        if name not in self._names:
            return plain

        def call(*arguments, **options):
            self._at -= 1
            if self._at == 0:
                self.failed = True
                if self._after:
                    plain(*arguments, **options)
                raise Unavailable("cannot reach the disk: it failed on purpose")
            return plain(*arguments, **options)

        return call


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(2, 30, 3))
def test_any_failing_call_to_objects_loses_nothing(tmp_path, core, at, after):
    def wrap(objects):
        names = ("put", "put_if_absent", "delete", "list", "get")
        return Failing(objects, names, at + 6, after=after)

    expected, seen = {}, []
    with Running(tmp_path, core, wrap_objects=wrap) as db:
        for number in range(6):
            expected["cpu", T + number] = float(number)
            db.write(("cpu", T + number, float(number)))
            try:
                db.store.flush()
                db.store.compact()
                db.store.remove_unlisted()
            except OrreryError as error:
                seen.append(str(error))
            assert db.read() == expected
    assert all("on purpose" in cause or "open the store again" in cause for cause in seen)
    with Running(tmp_path, core) as db:
        assert db.read() == expected
        db.store.flush()
        db.store.compact()
        assert db.read() == expected


class BreakableDisk(Disk):
    is_broken = False

    def sync_data(self, descriptor):
        if self.is_broken:
            raise OSError(5, "Input/output error")
        super().sync_data(descriptor)


def test_a_failing_log_refuses_and_what_was_acknowledged_stays(tmp_path, core):
    disk = BreakableDisk()
    with Running(tmp_path, core, disk=disk) as db:
        db.write(("cpu", T, 1.0))
        disk.is_broken = True
        with pytest.raises(Unavailable, match="Input/output error"):
            db.write(("cpu", T + 1, 1.0))
        with pytest.raises(Unavailable):
            db.write(("cpu", T + 2, 1.0))
        assert db.read() == {("cpu", T): 1.0}
        assert db.limits.counts["failed"] == 1
        assert "Input/output error" in db.store.not_ready()
    with Running(tmp_path, core) as db:
        kept = db.read()
        assert kept[("cpu", T)] == 1.0
        assert set(kept) <= {("cpu", T), ("cpu", T + 1)}


def test_upkeep_runs_beside_writers(tmp_path, core):
    bounds = StoreBounds(
        head_bytes_flush=20_000, log_replay_bytes_max=3_000, disk_reserve_bytes=0, grace_seconds=0.0
    )
    expected = {}
    with Running(tmp_path, core, bounds=bounds, log_limits=LogLimits(segment_bytes_max=4000)) as db:
        upkeep = Upkeep(db.store, observe=lambda *_: None, interval_seconds=0.001)
        upkeep.start()

        def work(thread):
            for number in range(40):
                rows = [(f"m{thread}", T + number * 10 + n, float(n)) for n in range(10)]
                db.write(*rows)
                expected.update({(name, time): value for name, time, value in rows})

        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            known = dict(expected)
            seen = db.read()
            assert known.items() <= seen.items()
            threads[0].join(0.01)
        upkeep.stop()
        assert db.read() == expected
        assert db.store.manifest().next_offset > 0
    with Running(tmp_path, core, bounds=bounds) as db:
        assert db.read() == expected


OPERATIONS = st.one_of(
    st.tuples(
        st.just("write"),
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=1, max_size=5),
    ),
    st.tuples(st.just("delete"), st.sampled_from("abc"), st.integers(0, 12), st.integers(0, 6)),
    st.tuples(st.just("flush")),
    st.tuples(st.just("compact")),
    st.tuples(st.just("upkeep")),
    st.tuples(st.just("reopen")),
    st.tuples(st.just("crash")),
    st.tuples(st.just("later"), st.integers(1, 60)),
)
# Times spread over windows of every level, and crowded inside one.
TIMES = [T, T + 1, T + 2, T + HOUR_NS, T + 3 * HOUR_NS, T + 13 * HOUR_NS, T + DAY_NS]
TIMES += [T - 3 * DAY_NS, T - 20 * DAY_NS, T - 300 * DAY_NS, 0, -DAY_NS, T + 5 * DAY_NS]


def test_closing_gives_up_a_compaction_and_keeps_its_blocks(tmp_path):
    core = CORES["fake"]()
    begun, go_on = threading.Event(), threading.Event()
    failures = []
    with Running(tmp_path, core) as db:
        for number in range(12):
            db.write(("cpu", OLD + number, 1.0))
            db.store.flush()
        before = db.store.blocks()

        def hold(_path):
            begun.set()
            go_on.wait(10)

        core.kernels.before_write = hold
        upkeep = Upkeep(db.store, observe=lambda *told: failures.append(told))
        upkeep.start()
        assert begun.wait(10)
        cancellation = db.store._state.cancellation
        stopping = threading.Thread(target=upkeep.stop)
        stopping.start()
        while not cancellation.cancelled:
            stopping.join(0.001)
        go_on.set()
        stopping.join(10)
        assert not stopping.is_alive()
        assert db.store.blocks() == before
        with pytest.raises(Unavailable, match="closing"):
            db.store.compact()
        assert failures == []
        db.write(("cpu", OLD, 2.0))
        assert db.store.flush()
    with Running(tmp_path, core) as db:
        assert len(db.read()) == 12


@pytest.mark.parametrize("name", CORES)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operations=st.lists(OPERATIONS, max_size=25))
def test_any_history_reads_as_the_model_says(tmp_path_factory, name, operations):
    path = tmp_path_factory.mktemp("history")
    clock, core, model, count = FakeClock(), CORES[name](), {}, 0
    db = Running(path, core, clock=clock)
    for operation, *details in operations:
        match operation, details:
            case "write", [rows]:
                count += 1
                rows = {(series, TIMES[at]): float(count * 100 + at) for series, at in rows}
                db.write(*[(*key, value) for key, value in rows.items()])
                model |= rows
            case "delete", [series, at, span]:
                low, high = sorted([TIMES[at], TIMES[(at + span) % len(TIMES)]])
                db.delete(series, low, high)
                model = {
                    k: v for k, v in model.items() if k[0] != series or not low <= k[1] <= high
                }
            case "flush", []:
                db.store.flush()
            case "compact", []:
                db.store.compact()
            case "upkeep", []:
                db.store.maintain_head()
                db.store.maintain_blocks()
            case "reopen", []:
                db.close()
                db = Running(path, core, clock=clock)
            case "crash", []:
                image = tmp_path_factory.mktemp("image")
                shutil.copytree(path, image, dirs_exist_ok=True)
                db.close()
                path, db = image, Running(image, core, clock=clock)
            case "later", [hours]:
                clock.ns += hours * HOUR_NS
        assert db.read() == model
    db.close()
