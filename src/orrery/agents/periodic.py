"""Work done again and again on a thread of its own; what agents stand on."""

import threading
from collections.abc import Callable

from orrery.clock import Clock

SLICE_SECONDS = 0.25
"""A stop waits at most this long for a sleep."""


class Periodic:
    """``start`` begins at once; ``stop`` returns when the work under way is through.

    ``on_failure`` is called with whatever of ``expected`` the work raised; the next turn comes all
    the same.
    """

    def __init__(
        self,
        *,
        name: str,
        period_seconds: float,
        work: Callable[[], object],
        expected: tuple[type[Exception], ...],
        on_failure: Callable[[Exception], None],
        clock: Clock,
    ) -> None:
        self._period_seconds = period_seconds
        self._work = work
        self._expected = expected
        self._on_failure = on_failure
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        due_seconds = self._clock.monotonic_seconds()
        while not self._stopping.is_set():
            try:
                self._work()
            except self._expected as error:
                self._on_failure(error)
            # Work that took longer than the period skips the turns it missed.
            now = self._clock.monotonic_seconds()
            due_seconds = max(due_seconds + self._period_seconds, now)
            self._sleep_until(due_seconds)

    def _sleep_until(self, due_seconds: float) -> None:
        while not self._stopping.is_set():
            left_seconds = due_seconds - self._clock.monotonic_seconds()
            if left_seconds <= 0:
                return
            self._clock.sleep_seconds(min(left_seconds, SLICE_SECONDS))
