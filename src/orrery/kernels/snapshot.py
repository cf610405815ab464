"""A consistent look at head and blocks: select series, then read them in batches.

Made by ``store`` from its sources and deletes; read by ``query``.
"""

from orrery._core import Selection, Snapshot

__all__ = ["DeleteRow", "Selection", "Snapshot"]

DeleteRow = tuple[int, str, list[tuple[str, str, str]], int, int]
"""(log offset, tenant, matchers, min_ns, max_ns): hides samples of smaller offsets."""
