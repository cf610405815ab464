"""Follows the log into the store: in offset order, each record once it is durable.

Called by ``ingest.accept``. Records are applied on the thread that completes the log's futures: a
thread of its own would be woken once a record, which costs more than applying a record does.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from msgspec import Struct

from orrery.errors import Unavailable

Answer = TypeVar("Answer")


class Step(Struct, Generic[Answer], frozen=True):
    """One logged record: what to do with it once it is durable, and who waits."""

    apply: Callable[[int], Answer]
    failed: Callable[[BaseException], None]
    answer: "Future[Answer]"
    byte_count: int


class Follower:
    """``enter`` is called in offset order (under the appender's lock). As the log completes its
    futures in that order too, one after another, so are the records applied."""

    def __init__(self, *, fail_store: Callable[[str], None], bytes_max: int) -> None:
        self._fail_store = fail_store
        self._bytes_max = bytes_max
        self._bytes = 0
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._is_awaited = False

    @property
    def byte_count(self) -> int:
        return self._bytes

    def has_room(self) -> bool:
        return self._bytes < self._bytes_max

    def reserve(self, byte_count: int) -> None:
        """For a record about to be appended; at most one goes past the bound."""
        with self._lock:
            self._bytes += byte_count

    def release(self, byte_count: int) -> None:
        with self._lock:
            self._bytes -= byte_count
            if self._is_awaited:
                self._idle.notify_all()

    def enter(self, logged: "Future[int]", step: "Step[Answer]") -> None:
        logged.add_done_callback(lambda done: self._take(done, step))

    def close(self) -> None:
        """Waits until everything entered is applied or has failed."""
        with self._lock:
            self._is_awaited = True
            while self._bytes:
                self._idle.wait()

    def _take(self, logged: "Future[int]", step: "Step[Answer]") -> None:
        try:
            answer = self._applied(logged, step)
        except BaseException as error:  # a panic of the core is no Exception
            step.failed(error)
            # Before the answer: who is told may try again at once, once nothing is under way.
            self.release(step.byte_count)
            step.answer.set_exception(error)
        else:
            step.answer.set_result(answer)
            self.release(step.byte_count)

    def _applied(self, logged: "Future[int]", step: "Step[Answer]") -> Answer:
        offset = logged.result()
        try:
            return step.apply(offset)
        except BaseException as error:
            # The log has it and the head has not: only a replay can bring them together.
            self._fail_store(f"record {offset} could not be applied: {error}")
            raise Unavailable(f"cannot apply record {offset}: {error}") from error
