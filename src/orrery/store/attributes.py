"""What writers say of series beside their identity, per tenant: Warp 10's attributes.

Part of :class:`orrery.store.metadata.Metadata`, with which it is kept and restored. What was said
last replaces what was said before; a series without attributes is forgotten.
"""

import threading
from collections.abc import Iterable, Mapping

from orrery.errors import Excess, Exhausted
from orrery.store.kernels import AttributesRow

SERIES_MAX = 100_000
BYTES_MAX = 32 * 1024 * 1024
"""Of one tenant: canonical bytes, names and values together."""

Pairs = tuple[tuple[str, str], ...]


class Attributes:
    """Calls may come from any thread."""

    def __init__(self, *, series_max: int = SERIES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._lock = threading.Lock()
        self._series_max = series_max
        self._bytes_max = bytes_max
        self._tenants: dict[str, dict[bytes, Pairs]] = {}
        self._bytes: dict[str, int] = {}
        self.changes = 0

    def news(self, tenant: str, rows: Iterable[AttributesRow]) -> tuple[AttributesRow, ...]:
        """Those that differ from what is known; ``Exhausted`` where there is no room for them."""
        with self._lock:
            known = self._tenants.get(tenant, {})
            # The last of a series holds, whatever it was before.
            latest = {series: tuple(pairs) for series, pairs in rows}
            found = tuple(
                (series, pairs)
                for series, pairs in latest.items()
                if known.get(series, ()) != pairs
            )
            self._check_room(tenant, known, found)
            return found

    def put(self, tenant: str, rows: Iterable[AttributesRow]) -> None:
        """What is in the log already: there is room for it."""
        with self._lock:
            book = self._tenants.setdefault(tenant, {})
            for series, pairs in rows:
                before = book.pop(series, ())
                size = _size(series, pairs) - _size(series, before)
                self._bytes[tenant] = self._bytes.get(tenant, 0) + size
                if pairs:
                    book[series] = tuple((name, value) for name, value in pairs)
            if not book:
                del self._tenants[tenant]
                self._bytes.pop(tenant, None)
            self.changes += 1

    def of(self, tenant: str) -> Mapping[bytes, Pairs]:
        """By canonical bytes, as of now."""
        with self._lock:
            return dict(self._tenants.get(tenant, {}))

    def rows(self) -> dict[str, list[AttributesRow]]:
        with self._lock:
            return {tenant: list(book.items()) for tenant, book in self._tenants.items()}

    def _check_room(
        self, tenant: str, known: Mapping[bytes, Pairs], found: tuple[AttributesRow, ...]
    ) -> None:
        count = len(known) + sum(bool(pairs) - (series in known) for series, pairs in found)
        size = self._bytes.get(tenant, 0) + sum(
            _size(series, pairs) - _size(series, known.get(series, ())) for series, pairs in found
        )
        for limit, value, most, current in (
            ("attributes_series_max", count, self._series_max, len(known)),
            ("attributes_bytes_max", size, self._bytes_max, self._bytes.get(tenant, 0)),
        ):
            if value > most and value > current:
                raise Exhausted(
                    f"cannot set attributes: {value} is more than {limit} {most} of one tenant",
                    Excess(limit, f"tenant {tenant}", most, value),
                )


def _size(series: bytes, pairs: Iterable[tuple[str, str]]) -> int:
    """Nothing where there are no pairs."""
    size = sum(len(name) + len(value) for name, value in pairs)
    return size + len(series) if pairs else 0
