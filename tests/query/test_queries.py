import asyncio
import threading

import pytest

from orrery.errors import Exhausted, OrreryError, Unavailable
from orrery.model.effects import Fetch, Window
from orrery.model.selector import Matcher, Operator, Selector
from orrery.query.budget import Cancelled, TimedOut
from orrery.query.queries import Asked, Queries, Query
from orrery.query.schedule import Schedule
from tests.query.fakes import FakeAdmission, FakeClock, FakeMeter, FakeStore, Series

SECOND = 1_000_000_000
ALL = Selector((Matcher("__name__", Operator.NOT_EQUAL, ""),))
ASKED = Asked(tenant="acme", text="up")
WAIT_SECONDS = 10


class Harness:
    def __init__(self, **limits) -> None:
        self.clock = FakeClock()
        self.admission = FakeAdmission(**limits)
        self.slow: list[tuple[str, dict]] = []
        self.store = FakeStore({"acme": [Series({"host": "a"}, {SECOND: 4.0})]})
        self.schedule = Schedule(threads_max=1)
        self.queries = Queries(
            store=self.store,
            schedule=self.schedule,
            admission=self.admission,
            meter_of=FakeMeter,
            clock=self.clock,
            on_slow=lambda event, fields: self.slow.append((event, fields)),
        )


@pytest.fixture
def harness():
    made = Harness()
    yield made
    made.schedule.close()


def program():
    answer = yield Fetch(ALL, 0, SECOND, Window("last", SECOND, SECOND, 1, SECOND))
    return answer.values.tolist()


def test_a_program_is_driven_on_another_thread(harness):
    threads = []

    def work(query: Query):
        threads.append(threading.current_thread())
        return query.drive(program())

    assert harness.queries.run_here(ASKED, work) == [[4.0]]
    assert asyncio.run(harness.queries.run(ASKED, work)) == [[4.0]]
    assert threading.current_thread() not in threads


def test_a_client_that_leaves_cancels_its_query(harness):
    started, left = threading.Event(), threading.Event()

    def work(query: Query):
        started.set()
        assert left.wait(WAIT_SECONDS)
        return query.drive(program())

    async def scenario() -> None:
        leave = []
        task = asyncio.ensure_future(harness.queries.run(ASKED, work, on_cancel=leave.append))
        await asyncio.to_thread(started.wait, WAIT_SECONDS)
        leave[0]()
        left.set()
        with pytest.raises(Cancelled, match="query was canceled in expression evaluation"):
            await task

    asyncio.run(scenario())


def test_a_query_cancelled_while_it_waits_never_reads(harness):
    started, gate = threading.Event(), threading.Event()

    def hold(query: Query):
        started.set()
        gate.wait(WAIT_SECONDS)

    async def scenario() -> None:
        leave = []
        first = asyncio.ensure_future(harness.queries.run(ASKED, hold))
        await asyncio.to_thread(started.wait, WAIT_SECONDS)
        work = lambda query: query.drive(program())  # noqa: E731
        second = asyncio.ensure_future(harness.queries.run(ASKED, work, on_cancel=leave.append))
        await asyncio.sleep(0)
        leave[0]()
        gate.set()
        await first
        with pytest.raises(Cancelled):
            await second

    asyncio.run(scenario())
    assert harness.store.asked == []


def test_running_late_is_told_from_other_limits(harness):
    def late(query: Query):
        harness.clock.seconds += 61
        raise Exhausted("cannot go on: the deadline has passed")

    def many(query: Query):
        raise Exhausted("cannot read more samples")

    with pytest.raises(TimedOut, match="query timed out in expression evaluation"):
        harness.queries.run_here(ASKED, late)
    with pytest.raises(Exhausted, match="cannot read more samples") as caught:
        harness.queries.run_here(ASKED, many)
    assert not isinstance(caught.value, TimedOut)


def test_a_caller_may_shorten_the_time_and_not_lengthen_it(harness):
    def deadline(query: Query):
        return query.budget.meter.deadline_seconds

    for asked_seconds, wanted in ((None, 60.0), (5.0, 5.0), (900.0, 60.0)):
        asked = Asked(tenant="acme", text="up", timeout_seconds=asked_seconds)
        assert harness.queries.run_here(asked, deadline) == wanted


def test_outcomes_are_counted_for_the_tenant():
    harness = Harness(samples_max=0)

    def fail(query: Query):
        raise Unavailable("cannot read block")

    def late(query: Query):
        harness.clock.seconds += 61
        raise Exhausted("late")

    for work in (lambda query: query.drive(program()), fail, late):
        with pytest.raises(OrreryError):
            harness.queries.run_here(ASKED, work)
    harness.queries.run_here(ASKED, lambda query: None)
    assert harness.admission.counted == [
        ("acme", "query_samples", 1),
        ("acme", "failed", 0),
        ("acme", "timeout", 0),
        ("acme", "answered", 0),
    ]
    harness.schedule.close()


def test_a_slow_query_is_told_with_what_it_cost(harness):
    def slow(query: Query):
        query.drive(program())
        harness.clock.seconds += 2

    harness.queries.run_here(ASKED, slow)
    harness.queries.run_here(ASKED, lambda query: None)
    ((event, fields),) = harness.slow
    assert event == "query_slow"
    assert fields == {
        "tenant": "acme",
        "query": "up",
        "seconds": 2.0,
        "queued_seconds": 0.0,
        "samples_read": 1,
        "series": 1,
        "error": "",
    }


def test_a_slow_failure_is_told_too(harness):
    def fail(query: Query):
        harness.clock.seconds += 2
        raise Unavailable("cannot read block")

    with pytest.raises(Unavailable):
        harness.queries.run_here(ASKED, fail)
    assert harness.slow[0][1]["error"] == "cannot read block"
