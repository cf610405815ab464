"""How long a connection waits for what it awaits next; each ``connection`` has one."""

import asyncio
from collections.abc import Callable


class Deadline:
    """One timer, armed anew for whatever is awaited; most of what is awaited comes in time, so
    that it is left to run out rather than cancelled and made again."""

    __slots__ = ("_late", "_loop", "_seconds", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._late: Callable[[], None] | None = None
        self._seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def arm(self, seconds: float, late: Callable[[], None]) -> None:
        self._late = late
        self._seconds = self._loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._seconds:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._ring)

    def disarm(self) -> None:
        self._late = None

    def close(self) -> None:
        self._late = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        late = self._late
        if late is None:
            return
        left_seconds = self._seconds - self._loop.time()
        if left_seconds > 0:
            self._timer = self._loop.call_later(left_seconds, self._ring)
            return
        self._late = None
        late()
