"""The two threads that keep a store in order: one flushes its head, one looks after its blocks.

``app`` starts and stops them.
"""

import threading
from collections.abc import Callable

from orrery.store.engine import Store
from orrery.store.state import Ended, Observe

HEAD_INTERVAL_SECONDS = 1.0


class Upkeep:
    """Two threads, one for the head and one for blocks, so that neither waits for the other.

    Blocks are looked over every ``interval_seconds``; the head as often, at least once a second,
    and at once where it is full.
    """

    def __init__(self, store: Store, *, observe: Observe, interval_seconds: float = 1.0) -> None:
        self._store = store
        self._observe = observe
        self._interval_seconds = interval_seconds
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep_head, name="store-flush", daemon=True),
            threading.Thread(target=self._keep_blocks, name="store-compaction", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Waits for a flush that is under way; a compaction is given up."""
        self._ending.set()
        self._store.flush_wanted.set()
        self._store.end_rewrites()
        for thread in self._threads:
            thread.join()

    def _keep_head(self) -> None:
        interval_seconds = min(HEAD_INTERVAL_SECONDS, self._interval_seconds)
        while not self._ending.is_set():
            if self._round("flush_failed", self._store.maintain_head) is None:
                # Where the disk is at fault, a full head must not make it spin.
                self._ending.wait(interval_seconds)
            self._store.flush_wanted.wait(interval_seconds)

    def _keep_blocks(self) -> None:
        while not self._ending.is_set():
            more = self._round("compaction_failed", self._store.maintain_blocks)
            if not more:
                self._ending.wait(self._interval_seconds)

    def _round(self, event: str, work: Callable[[], bool]) -> bool | None:
        """What ``work`` gave; None where it failed."""
        try:
            return work()
        except Ended:
            return None
        except BaseException as error:  # a panic of the core is no Exception
            # Upkeep never dies: what failed is tried again, and writes are refused meanwhile
            # where the head grows past its bound.
            self._observe(event, {"error": str(error), "kind": type(error).__name__})
            return None
