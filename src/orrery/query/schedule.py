"""A bounded pool of threads that gives tenants their turns one after another.

One tenant with a hundred queries waits behind itself: whoever else asks is next. No tenant may
hold every thread while others could come, so one is always kept for them.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from orrery.errors import SERVER, Excess, Exhausted, Unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Turn:
    future: "Future[Any]"
    work: Callable[[], Any]


class Schedule:
    """``submit`` comes from any thread and never blocks; ``close`` waits for what runs."""

    def __init__(
        self,
        *,
        threads_max: int = 4,
        queue_max: int = 1024,
        tenant_queue_max: int | None = None,
        tenant_running_max: int | None = None,
    ) -> None:
        self._threads_max = threads_max
        self._queue_max = queue_max
        # Half, so that one tenant does not take the others' places in the queue.
        self._tenant_queue_max = tenant_queue_max or max(1, queue_max // 2)
        self._tenant_running_max = tenant_running_max or max(1, threads_max - 1)
        self._lock = threading.Condition()
        self._waiting: dict[str, deque[Turn]] = {}
        self._order: deque[str] = deque()
        self._running: dict[str, int] = {}
        self._queued_count = 0
        self._idle_count = 0
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, tenant: str, work: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        with self._lock:
            self._admit(tenant)
            self._waiting.setdefault(tenant, deque()).append(Turn(future, work))
            self._queued_count += 1
            if tenant not in self._order:
                self._order.append(tenant)
            if self._idle_count == 0 and len(self._threads) < self._threads_max:
                self._start_thread()
            self._lock.notify()
        return future

    def is_idle(self) -> bool:
        """Whether nobody waits: then who is brief takes no turn from others."""
        return not self._closed and not self._queued_count

    def close(self) -> None:
        with self._lock:
            self._closed = True
            turns = [turn for queue in self._waiting.values() for turn in queue]
            self._waiting.clear()
            self._order.clear()
            self._queued_count = 0
            self._lock.notify_all()
        for turn in turns:
            if turn.future.set_running_or_notify_cancel():
                turn.future.set_exception(closing())
        for thread in self._threads:
            thread.join()

    def _admit(self, tenant: str) -> None:
        if self._closed:
            raise closing()
        queued = len(self._waiting.get(tenant, ()))
        if queued >= self._tenant_queue_max:
            raise full(
                "tenant_query_concurrent_max", f"tenant {tenant}", self._tenant_queue_max, queued
            )
        if self._queued_count >= self._queue_max:
            raise full("query_concurrent_max", SERVER, self._queue_max, self._queued_count)

    def _start_thread(self) -> None:
        name = f"query-{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while True:
            with self._lock:
                taken = self._take()
                while taken is None:
                    if self._closed:
                        return
                    self._idle_count += 1
                    self._lock.wait()
                    self._idle_count -= 1
                    taken = self._take()
            tenant, turn = taken
            run_turn(turn)
            del turn, taken
            self._finish(tenant)

    def _take(self) -> tuple[str, Turn] | None:
        """The next turn of the first tenant in line that may run one more; it goes to the end."""
        for _ in range(len(self._order)):
            tenant = self._order.popleft()
            if self._running.get(tenant, 0) >= self._tenant_running_max:
                self._order.append(tenant)
                continue
            queue = self._waiting[tenant]
            turn = queue.popleft()
            self._queued_count -= 1
            if queue:
                self._order.append(tenant)
            else:
                del self._waiting[tenant]
            self._running[tenant] = self._running.get(tenant, 0) + 1
            return tenant, turn
        return None

    def _finish(self, tenant: str) -> None:
        with self._lock:
            left = self._running[tenant] - 1
            if left:
                self._running[tenant] = left
            else:
                del self._running[tenant]
            self._lock.notify()


def run_turn(turn: Turn) -> None:
    if not turn.future.set_running_or_notify_cancel():
        return
    try:
        result = turn.work()
    except BaseException as error:
        turn.future.set_exception(error)
    else:
        turn.future.set_result(result)


def closing() -> Unavailable:
    return Unavailable("cannot run query: the server is shutting down")


def full(limit: str, scope: str, value: int, current: int) -> Exhausted:
    return Exhausted(
        f"cannot run query: {current} queries are waiting already",
        Excess(limit, scope, value, current, retry_after_seconds=1.0),
    )
