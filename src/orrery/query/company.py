"""Who asks beside whom: a query over many series leaves a core to the others, when there are any.

``queries`` enters each query here. Alone, one uses every core; priorities decide who runs first
where all cores are taken, but not how soon (decision 0066).
"""

import threading

from orrery.query.contract import Meter

COMPANY_SECONDS = 1.0
"""For so long after a tenant's question another one's queries leave it a core."""


class Company:
    """Calls may come from any thread. Times are the monotonic clock's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Meter, str] = {}
        self._last: tuple[str, float] | None = None
        self._before: tuple[str, float] | None = None
        """The last question of a tenant other than the last one's."""

    def enter(self, tenant: str, meter: Meter, now_seconds: float) -> None:
        with self._lock:
            for running, other in self._running.items():
                if other != tenant:
                    running.keep_company()
            if self._last is not None and self._last[0] != tenant:
                self._before = self._last
            self._last = (tenant, now_seconds)
            if self._before is not None and now_seconds - self._before[1] < COMPANY_SECONDS:
                meter.keep_company()
            self._running[meter] = tenant

    def leave(self, meter: Meter) -> None:
        with self._lock:
            self._running.pop(meter, None)
