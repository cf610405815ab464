import threading
from concurrent.futures import Future

import pytest

from orrery.errors import Exhausted, Unavailable
from orrery.query.schedule import Schedule

WAIT_SECONDS = 10


@pytest.fixture
def gate():
    return threading.Event()


def one_thread(**limits: int) -> Schedule:
    return Schedule(threads_max=1, **limits)


def occupy(schedule: Schedule, gate: threading.Event, tenant: str = "busy") -> Future:
    """Runs until the gate opens; returns once it holds its thread."""
    started = threading.Event()

    def work() -> None:
        started.set()
        gate.wait(WAIT_SECONDS)

    future = schedule.submit(tenant, work)
    assert started.wait(WAIT_SECONDS)
    return future


def test_results_and_errors_come_back():
    schedule = one_thread()
    assert schedule.submit("a", lambda: 5).result(WAIT_SECONDS) == 5
    with pytest.raises(ZeroDivisionError):
        schedule.submit("a", lambda: 1 // 0).result(WAIT_SECONDS)
    schedule.close()


def test_tenants_take_turns_however_many_queries_one_of_them_has(gate):
    schedule = one_thread()
    occupy(schedule, gate)
    order: list[str] = []
    wanted = ["a1", "a2", "a3", "b1", "c1", "b2"]
    futures = [schedule.submit(name[0], lambda name=name: order.append(name)) for name in wanted]
    gate.set()
    for future in futures:
        future.result(WAIT_SECONDS)
    schedule.close()
    assert order == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_one_tenant_leaves_a_thread_to_the_others(gate):
    schedule = Schedule(threads_max=2)
    occupy(schedule, gate, "a")
    waiting = schedule.submit("a", lambda: "second")
    assert schedule.submit("b", lambda: "other").result(WAIT_SECONDS) == "other"
    assert not waiting.done()
    gate.set()
    assert waiting.result(WAIT_SECONDS) == "second"
    schedule.close()


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        ({"queue_max": 2, "tenant_queue_max": 9}, "query_concurrent_max"),
        ({"tenant_queue_max": 2}, "tenant_query_concurrent_max"),
    ],
)
def test_a_full_queue_refuses_and_says_when_to_come_back(gate, limits, limit):
    schedule = one_thread(**limits)
    occupy(schedule, gate)
    for _ in range(2):
        schedule.submit("a", lambda: None)
    with pytest.raises(Exhausted) as caught:
        schedule.submit("a", lambda: None)
    assert caught.value.excess.limit == limit
    assert caught.value.excess.retry_after_seconds == 1.0
    gate.set()
    schedule.close()


def test_a_cancelled_turn_never_runs(gate):
    schedule = one_thread()
    occupy(schedule, gate)
    ran: list[str] = []
    dropped = schedule.submit("a", lambda: ran.append("dropped"))
    kept = schedule.submit("a", lambda: ran.append("kept"))
    assert dropped.cancel()
    gate.set()
    kept.result(WAIT_SECONDS)
    schedule.close()
    assert ran == ["kept"]


def test_closing_waits_for_what_runs_and_refuses_what_waits(gate):
    schedule = one_thread()
    running = occupy(schedule, gate)
    waiting = schedule.submit("a", lambda: None)
    closer = threading.Thread(target=schedule.close)
    closer.start()
    with pytest.raises(Unavailable, match="shutting down"):
        waiting.result(WAIT_SECONDS)
    gate.set()
    closer.join(WAIT_SECONDS)
    assert running.done()
    with pytest.raises(Unavailable, match="shutting down"):
        schedule.submit("a", lambda: None)
