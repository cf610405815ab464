"""The log in segment files of a local directory: the embedded default.

Each partition has a folder, a writer thread and group commit: what queued up while one write was
being synced becomes the next write. docs/formats/log_segment.md has the bytes.
"""

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from orrery.durable import Disk
from orrery.errors import Invalid, Unavailable
from orrery.log.contract import check_record
from orrery.log.partition import PartitionLog
from orrery.log.segment import Cut


@dataclass(frozen=True, slots=True)
class LogLimits:
    """``queue_bytes_max`` bounds memory, ``group_*_max`` one write, ``segment_bytes_max`` how
    much one trim can free at the least."""

    segment_bytes_max: int = 64 * 1024 * 1024
    group_bytes_max: int = 8 * 1024 * 1024
    group_records_max: int = 4096
    queue_bytes_max: int = 128 * 1024 * 1024


class LocalLog:
    """One process owns the directory (the store's lock sees to that).

    With ``threaded=False`` nothing is written until ``write_queued`` is called: the simulation
    says when.
    """

    def __init__(
        self,
        directory: Path,
        *,
        partition_count: int = 1,
        limits: LogLimits | None = None,
        disk: Disk | None = None,
        threaded: bool = True,
    ) -> None:
        disk = disk or Disk()
        self._partitions: list[PartitionLog] = []
        try:
            for number in range(partition_count):
                folder = Path(directory).absolute() / str(number)
                disk.make_directory(folder)
                self._partitions.append(
                    PartitionLog(
                        folder,
                        number=number,
                        limits=limits or LogLimits(),
                        disk=disk,
                        threaded=threaded,
                    )
                )
        except OSError as error:
            self.close()
            raise Unavailable(f"cannot open log {str(directory)!r}: {error}") from error
        except BaseException:
            self.close()
            raise

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """The torn tails that were cut when the log was opened."""
        return tuple(part.cut for part in self._partitions if part.cut is not None)

    def append(self, partition: int, record: bytes, *, durable: bool = True) -> "Future[int]":
        check_record(partition, record)
        return self._partition(partition).append(record, durable=durable)

    def write_queued(self, partition: int) -> bool:
        """Writes one group, as the writer thread would; False where nothing is queued."""
        return self._partition(partition).write_queued()

    def recover(self, partition: int) -> None:
        self._partition(partition).recover()

    def read(self, partition: int, offset: int) -> Iterator[tuple[int, bytes]]:
        return self._partition(partition).read(offset)

    def bounds(self, partition: int) -> tuple[int, int]:
        return self._partition(partition).bounds()

    def size_bytes(self, partition: int, offset: int) -> int:
        return self._partition(partition).size_bytes(offset)

    def trim(self, partition: int, offset: int) -> None:
        try:
            self._partition(partition).trim(offset)
        except OSError as error:
            raise Unavailable(f"cannot trim log partition {partition}: {error}") from error

    def close(self) -> None:
        for partition in self._partitions:
            partition.close()

    def _partition(self, number: int) -> PartitionLog:
        if not 0 <= number < len(self._partitions):
            raise Invalid(f"cannot reach log partition {number}: there is no such partition")
        return self._partitions[number]
