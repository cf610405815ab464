"""How long a thing has been unwanted: removal waits, for readers that still hold it."""

from collections.abc import Iterable

from orrery.clock import Clock


class Grace:
    """Counts from when this process first saw it unwanted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}

    def expired(self, unwanted: Iterable[str], grace_seconds: float) -> list[str]:
        """Of those unwanted now, the names that have been for ``grace_seconds``."""
        now = self._clock.monotonic_seconds()
        self._since = {name: self._since.get(name, now) for name in unwanted}
        return sorted(n for n, since in self._since.items() if now - since >= grace_seconds)
