"""The log: ordered, durable records, the second storage primitive (DESIGN section 2)."""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Protocol


class Log(Protocol):
    """Ordered per partition, durable when acknowledged, replayable from an offset.

    Offsets of a partition count records: 0, 1, 2, ... and are assigned in the order of ``append``
    calls. Calls may come from any thread.
    """

    def append(self, partition: int, record: bytes, *, durable: bool = True) -> "Future[int]":
        """Queues the record; the future gives its offset once it is as durable as asked.

        Futures of one partition complete in offset order. ``Exhausted`` (raised here) where the
        queue is full, ``Unavailable`` (in the future) where the write failed: from then on this
        log refuses appends until it is opened again.
        """

    def read(self, partition: int, offset: int) -> Iterator[tuple[int, bytes]]:
        """Durable records from ``offset`` on, in order, up to the end as of the call.

        ``Corrupt`` names segment and position; a torn tail was cut when the log was opened.
        """

    def bounds(self, partition: int) -> tuple[int, int]:
        """(first offset kept, offset the next append gets)."""

    def size_bytes(self, partition: int, offset: int) -> int:
        """About how many bytes a replay from ``offset`` would read."""

    def trim(self, partition: int, offset: int) -> None:
        """Lets go of records before ``offset``; may keep some of them."""

    def close(self) -> None:
        """Makes durable what is queued, then refuses further calls."""
