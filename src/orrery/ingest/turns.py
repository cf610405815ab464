"""Threads that decode and resolve writes, with a bounded queue before them; built by ``app``."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from orrery.errors import SERVER, Excess, Exhausted

T = TypeVar("T")


class BoundedExecutor(Executor):
    """``Exhausted`` where ``pending_max`` pieces of work are running or waiting already."""

    def __init__(self, *, threads: int, pending_max: int, limit_name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="ingest")
        self._room = threading.BoundedSemaphore(pending_max)
        self._pending_max = pending_max
        self._limit_name = limit_name

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":  # noqa: ANN401 - as Executor has it
        if not self._room.acquire(blocking=False):
            raise Exhausted(
                f"cannot take another write: {self._pending_max} are under way",
                Excess(
                    limit=self._limit_name,
                    scope=SERVER,
                    value=self._pending_max,
                    current=self._pending_max,
                    retry_after_seconds=1.0,
                ),
            )
        try:
            future = self._pool.submit(work, *args, **kwargs)
        except BaseException:
            self._room.release()
            raise
        future.add_done_callback(lambda _: self._room.release())
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._pool.shutdown(wait, cancel_futures=cancel_futures)
