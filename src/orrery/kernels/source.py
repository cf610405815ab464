"""What a query reads: a head generation or a block, on its way to a snapshot or a compaction."""

from orrery._core import Source

__all__ = ["Source"]
