"""The log: ordered, durable records, the second storage primitive (DESIGN section 2)."""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Protocol

from orrery.errors import Invalid

RECORD_BYTES_MAX = 64 * 1024 * 1024


class Log(Protocol):
    """Ordered per partition, durable when acknowledged, replayable from an offset.

    Offsets of a partition count records: 0, 1, 2, ... and are assigned in the order of ``append``
    calls. Calls may come from any thread; a partition that does not exist is ``Invalid``.
    """

    def append(self, partition: int, record: bytes, *, durable: bool = True) -> "Future[int]":
        """Queues the record; the future gives its offset once it is as durable as asked.

        Futures of one partition complete in offset order, each after the callbacks of the one
        before have returned; callbacks must be quick. ``Exhausted`` (raised here) where the
        queue is full, ``Invalid`` (raised here) where the record is empty or longer than
        ``RECORD_BYTES_MAX``, ``Unavailable`` (in the future) where the write failed: from then on
        the partition refuses appends until ``recover`` or until the log is opened again, and
        whether the record is kept is unknown until then. A record appended with
        ``durable=False`` outlives the process, not the machine.
        """

    def recover(self, partition: int) -> None:
        """Takes appends again after a failed write, without the records that failed.

        Called once every future of an append before it is done. ``Unavailable`` where only
        opening the log again can tell what it kept; nothing happens where nothing had failed.
        """

    def read(self, partition: int, offset: int) -> Iterator[tuple[int, bytes]]:
        """Acknowledged records from ``offset`` on, in order, up to the end as of the call.

        ``Corrupt`` names segment and position; a torn tail was cut when the log was opened.
        Offsets that ``trim`` skipped are not there.
        """

    def bounds(self, partition: int) -> tuple[int, int]:
        """(first offset kept, offset the next append gets)."""

    def size_bytes(self, partition: int, offset: int) -> int:
        """About how many bytes a replay from ``offset`` would read."""

    def trim(self, partition: int, offset: int) -> None:
        """Lets go of records before ``offset``; may keep some of them.

        Where ``offset`` lies behind the end, the next append gets it: what a view has already
        taken in is never numbered again, even if the log lost records that were not durable.
        """

    def close(self) -> None:
        """Makes durable what is queued, then refuses further calls."""


def check_record(partition: int, record: bytes) -> None:
    if not 0 < len(record) <= RECORD_BYTES_MAX:
        raise Invalid(
            f"cannot append to partition {partition}: a record of {len(record)} bytes is not in "
            f"1..{RECORD_BYTES_MAX}"
        )
