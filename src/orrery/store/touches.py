"""From which time on a tenant's data has changed; what has not may be answered from a cache.

Fed by ``engine`` with every write and delete it applies, after reads can see it; asked by
``query.cache``. Nothing is held for tenants nobody asks about.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

TENANTS_MAX = 1024
CHANGES_MAX = 512
"""Of one tenant; with one for each minute that writes go forward, for eight hours."""

MERGED_NS = 60 * 1_000_000_000
TIME_MIN_NS, TIME_MAX_NS = -(2**63), 2**63 - 1


@dataclass(slots=True)
class _Watched:
    first: int
    """What changed before this mark is not known."""
    changes: list[tuple[int, int]] = field(default_factory=list)
    """(mark, earliest time that changed by then or later): both rise."""


class Touches:
    """Safe to use from any threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mark = 0
        self._watched: OrderedDict[str, _Watched] = OrderedDict()

    def mark(self, tenant: str) -> int:
        """Now: what is read after this call has all that changed before."""
        with self._lock:
            if tenant in self._watched:
                self._watched.move_to_end(tenant)
            else:
                # Marks from before this one are not to be taken for it.
                self._mark += 1
                self._watched[tenant] = _Watched(self._mark)
                if len(self._watched) > TENANTS_MAX:
                    self._watched.popitem(last=False)
            return self._mark

    def changed_from_ns(self, tenant: str, mark: int) -> int:
        """The earliest time of all that may have changed after ``mark``."""
        with self._lock:
            watched = self._watched.get(tenant)
            if watched is None or mark < watched.first:
                return TIME_MIN_NS
            return next((time for later, time in watched.changes if later > mark), TIME_MAX_NS)

    def changed(self, tenant: str, from_ns: int | None) -> None:
        """Something at ``from_ns`` or later did, and can be read."""
        watched = self._watched.get(tenant)
        if watched is None or from_ns is None:
            return
        with self._lock:
            self._mark += 1
            changes = watched.changes
            while changes and changes[-1][1] >= from_ns:
                changes.pop()
            if changes and changes[-1][1] >= from_ns - MERGED_NS:
                # Taken for as early as the one before: a minute more is read again, no less.
                from_ns = changes.pop()[1]
            changes.append((self._mark, from_ns))
            if len(changes) > CHANGES_MAX:
                changes[:2] = [(changes[1][0], changes[0][1])]

    def is_watched(self, tenant: str) -> bool:
        return tenant in self._watched

    def all_changed(self) -> None:
        """What no write or delete tells of: all that is kept of answers is void."""
        with self._lock:
            self._watched.clear()
