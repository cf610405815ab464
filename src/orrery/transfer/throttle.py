"""Holds copying to so many bytes a second, so that a backup does not starve the server's disk."""

from orrery.clock import Clock


class Throttle:
    """``bytes_per_second`` None is as fast as it goes."""

    def __init__(self, clock: Clock, bytes_per_second: int | None) -> None:
        self._clock = clock
        self._rate = bytes_per_second
        self._free_at_seconds = clock.monotonic_seconds()

    def take(self, byte_count: int) -> None:
        """Call before copying; sleeps until what was taken before is paid for."""
        if self._rate is None:
            return
        now = self._clock.monotonic_seconds()
        if self._free_at_seconds > now:
            self._clock.sleep_seconds(self._free_at_seconds - now)
        self._free_at_seconds = max(now, self._free_at_seconds) + byte_count / self._rate
