"""Follows the log into the store: one thread, in offset order, after each record is durable.

Called by ``ingest.accept``.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from orrery.errors import Unavailable

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Step(Generic[Answer]):
    """One logged record: what to do with it once it is durable, and who waits."""

    logged: "Future[int]"
    apply: Callable[[int], Answer]
    failed: Callable[[BaseException], None]
    answer: "Future[Answer]"
    byte_count: int


class Follower:
    """``enter`` is called in offset order (under the appender's lock)."""

    def __init__(self, *, fail_store: Callable[[str], None], bytes_max: int) -> None:
        self._fail_store = fail_store
        self._bytes_max = bytes_max
        self._bytes = 0
        self._lock = threading.Lock()
        # Bounded by `bytes_max`: who enters asks `has_room` before.
        self._steps: queue.SimpleQueue[Step[object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._follow, name="ingest-apply", daemon=True)
        self._thread.start()

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

    def enter(self, step: "Step[Answer]") -> None:
        self._steps.put(step)  # type: ignore[arg-type]

    def close(self) -> None:
        """Waits until everything entered is applied or has failed."""
        self._steps.put(None)
        self._thread.join()

    def _follow(self) -> None:
        while (step := self._steps.get()) is not None:
            self._take(step)
            self.release(step.byte_count)

    def _take(self, step: Step[object]) -> None:
        try:
            offset = step.logged.result()
        except Exception as error:
            step.failed(error)
            step.answer.set_exception(error)
            return
        try:
            answer = step.apply(offset)
        except Exception as error:
            # The log has it and the head has not: only a replay can bring them together.
            self._fail_store(f"record {offset} could not be applied: {error}")
            step.failed(error)
            failure = Unavailable(f"cannot apply record {offset}: {error}")
            failure.__cause__ = error
            step.answer.set_exception(failure)
            return
        step.answer.set_result(answer)
