"""Time and chance, handed in so that tests and the simulation own them."""

import random
import secrets
import threading
import time
from collections.abc import Callable
from typing import Protocol

SECOND_NS = 1_000_000_000
JUMP_SECONDS_MAX = 3600
"""A wall clock that is further off than this from the time that has passed has jumped."""
DOWN_SECONDS_MAX = 7 * 86_400
"""So long a server may have been down without its clock being doubted."""


class Clock(Protocol):
    def now_ns(self) -> int:
        """Wall time, nanoseconds since 1970 UTC; may jump."""

    def monotonic_seconds(self) -> float:
        """Never goes back; its zero means nothing."""

    def sleep_seconds(self, seconds: float) -> None:
        """Blocks the calling thread."""


class Chance(Protocol):
    def token_bytes(self, count: int) -> bytes:
        """Unpredictable bytes, fit for secrets."""

    def uniform(self, low: float, high: float) -> float:
        """For jitter, never for secrets."""


class SystemClock:
    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_seconds(self) -> float:
        return time.monotonic()

    def sleep_seconds(self, seconds: float) -> None:
        time.sleep(seconds)


class SystemChance:
    def token_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)


class GuardedClock:
    """Wall time that does not follow a jump until it has stood for ``hold_seconds``.

    What throws data away goes by it (decision 0064): a clock that is set a year ahead must not
    expire a year of samples. Until the jump is believed, time goes on from where it was.
    ``known_ns`` is a time that has certainly passed, 0 where none is known.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        known_ns: int = 0,
        hold_seconds: float,
        on_change: Callable[[float], None] = lambda _offset_seconds: None,
    ) -> None:
        self._clock = clock
        self._hold_seconds = hold_seconds
        self._on_change = on_change
        self._lock = threading.Lock()
        self._seconds = clock.monotonic_seconds()
        self._jump: tuple[int, float] | None = None
        wall_ns = clock.now_ns()
        ahead_seconds = (wall_ns - known_ns) / SECOND_NS
        believed = not known_ns or -JUMP_SECONDS_MAX <= ahead_seconds <= DOWN_SECONDS_MAX
        self._ns = wall_ns if believed else known_ns

    def now_ns(self) -> int:
        wall_ns, seconds = self._clock.now_ns(), self._clock.monotonic_seconds()
        with self._lock:
            passed_ns = self._ns + int((seconds - self._seconds) * SECOND_NS)
            ahead_ns = wall_ns - passed_ns
            if abs(ahead_ns) > JUMP_SECONDS_MAX * SECOND_NS and not self._has_stood(
                ahead_ns, seconds
            ):
                return passed_ns
            self._ns, self._seconds = wall_ns, seconds
            if self._jump is not None:
                self._jump = None
                self._on_change(0.0)
            return wall_ns

    def offset_seconds(self) -> float:
        """How far ahead the wall clock is of what is believed; 0 where it is believed."""
        return (self._clock.now_ns() - self.now_ns()) / SECOND_NS

    def monotonic_seconds(self) -> float:
        return self._clock.monotonic_seconds()

    def sleep_seconds(self, seconds: float) -> None:
        self._clock.sleep_seconds(seconds)

    def _has_stood(self, ahead_ns: int, seconds: float) -> bool:
        if self._jump is None or abs(ahead_ns - self._jump[0]) > JUMP_SECONDS_MAX * SECOND_NS:
            self._jump = ahead_ns, seconds
            self._on_change(ahead_ns / SECOND_NS)
        return seconds - self._jump[1] >= self._hold_seconds
