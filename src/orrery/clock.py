"""Time and chance, handed in so that tests and the simulation own them."""

import random
import secrets
import time
from typing import Protocol


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
