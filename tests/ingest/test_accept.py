"""The way in: what is asked first, what an acknowledgement means, what happens when it cannot."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from orrery.errors import Exhausted, Unavailable
from orrery.ingest.accept import Accept
from orrery.log.memory import MemoryLog
from tests.store.cores import CORES
from tests.store.harness import NOW_NS as T
from tests.store.harness import TENANT, FreeBounds, FreeLimits, Running


@pytest.fixture(params=CORES)
def core(request):
    return CORES[request.param]()


def test_limits_are_asked_first_and_told_afterwards(tmp_path, core):
    with Running(tmp_path, core) as db:
        db.write(("cpu", T, 1.0), ("mem", T, 1.0))
        assert db.limits.counts == {"admitted": 2, "registered": 2, "accepted": 2}


def test_a_rate_limit_refuses_before_anything_is_stored(tmp_path, core):
    with Running(tmp_path, core) as db:

        def refuse(tenant, sample_count):
            raise Exhausted(f"cannot write {sample_count} samples of {tenant!r}: too many")

        db.limits.admit = refuse
        with pytest.raises(Exhausted, match="too many"):
            db.write(("cpu", T, 1.0))
        assert db.log.bounds(0) == (0, 0)
        assert db.store.table.active_series(TENANT) == 0


def test_the_class_reached_is_named(tmp_path, core):
    with Running(tmp_path, core) as db:
        assert db.write(("cpu", T, 1.0)).acknowledgement == "fsynced"
        assert db.write(("cpu", T + 1, 1.0), durable=False).acknowledgement == "memory"


def test_nothing_left_of_a_batch_is_no_record(tmp_path, core):
    with Running(tmp_path, core) as db:
        written = db.write()
        assert (written.sample_count, written.offset) == (0, None)
        assert db.log.bounds(0) == (0, 0)


def test_refused_samples_are_listed_and_the_others_kept(tmp_path):
    core = CORES["native"]()

    class OldestAllowed(FreeBounds):
        time_min_ns = T

    with Running(tmp_path, core) as db:
        db.limits.bounds = lambda *_: OldestAllowed()
        written = db.write(("cpu", T, 1.0), ("mem", T - 1, 1.0))
        assert (written.sample_count, written.samples_rejected_count) == (1, 1)
        ((position, reason),) = written.rejected
        assert position == 2
        assert reason
        assert db.read() == {("cpu", T): 1.0}
        assert db.limits.counts["rejected"] == db.limits.counts["given back"] == 1


class SlowLog(MemoryLog):
    """Acknowledges only once it is let go."""

    def __init__(self):
        super().__init__()
        self.gate = threading.Event()
        self.pool = ThreadPoolExecutor(1)

    def append(self, partition, record, *, durable=True):
        logged = super().append(partition, record, durable=durable)
        return self.pool.submit(lambda: self.gate.wait(10) and logged.result())


def test_what_is_in_flight_is_bounded(tmp_path, core):
    with Running(tmp_path, core) as db:
        log = SlowLog()
        accept = Accept(
            store=db.store,
            log=log,
            limits=FreeLimits(),
            clock=db.clock,
            bytes_in_flight_max=1,
        )
        first = accept.write(TENANT, core.batch([("cpu", T, 1.0)]))
        assert accept.bytes_in_flight > 0
        with pytest.raises(Exhausted, match="of 1 bytes are on their way into the log"):
            accept.write(TENANT, core.batch([("cpu", T, 2.0)]))
        assert db.read() == {}
        log.gate.set()
        assert first.result(10).sample_count == 1
        assert db.read() == {("cpu", T): 1.0}
        accept.close()
        log.pool.shutdown()
        with pytest.raises(Unavailable, match="stopping"):
            accept.write(TENANT, core.batch([("cpu", T, 2.0)]))


def test_closing_answers_what_was_accepted(tmp_path, core):
    with Running(tmp_path, core) as db:
        batches = [core.batch([(f"m{n}", T, 1.0)]) for n in range(50)]
        answers = [db.accept.write(TENANT, batch) for batch in batches]
        db.accept.close()
        assert all(answer.done() for answer in answers)
        assert len(db.read()) == 50


def test_many_threads_define_each_series_before_it_is_used(tmp_path, core):
    with Running(tmp_path, core) as db:

        def work(thread):
            for number in range(30):
                db.write((f"m{number}", T + thread, float(number)))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        before = db.read()
        assert len(before) == 120
    with Running(tmp_path, core) as db:
        assert db.read() == before


def test_a_record_that_cannot_be_applied_stops_the_store(tmp_path, core):
    with Running(tmp_path, core) as db:
        apply = db.store.apply

        def fail(_resolved, _offset):
            raise MemoryError("no room")

        db.store.apply = fail
        with pytest.raises(Unavailable, match="cannot apply record 0: no room"):
            db.write(("cpu", T, 1.0))
        db.store.apply = apply
        with pytest.raises(Unavailable, match="record 0 could not be applied"):
            db.write(("cpu", T, 2.0))
    with Running(tmp_path, core) as db:
        assert db.read() == {("cpu", T): 1.0}
