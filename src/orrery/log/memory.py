"""The log in memory: for tests, the simulation and stores that nobody keeps."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future

from orrery.errors import Exhausted, Invalid, Unavailable
from orrery.log.contract import check_record


class MemoryLog:
    """Records are acknowledged at once and forgotten with the process.

    ``bytes_max`` bounds what is kept: past it appends are refused until ``trim`` lets go.
    """

    def __init__(self, *, partition_count: int = 1, bytes_max: int = 256 * 1024 * 1024) -> None:
        self._lock = threading.Lock()
        self._first = [0] * partition_count
        self._records: list[list[bytes]] = [[] for _ in range(partition_count)]
        self._bytes_max = bytes_max
        self._bytes = 0
        self._closed = False

    def append(self, partition: int, record: bytes, *, durable: bool = True) -> "Future[int]":
        del durable  # memory holds both classes alike
        check_record(partition, record)
        future: Future[int] = Future()
        # Completed under the lock: futures complete in offset order.
        with self._lock:
            records = self._partition(partition)
            if self._closed:
                raise Unavailable(f"cannot append to partition {partition}: the log is closed")
            if self._bytes + len(record) > self._bytes_max:
                raise Exhausted(
                    f"cannot append to partition {partition}: the log holds {self._bytes} of "
                    f"{self._bytes_max} bytes"
                )
            records.append(bytes(record))
            self._bytes += len(record)
            future.set_result(self._first[partition] + len(records) - 1)
        return future

    def recover(self, partition: int) -> None:
        with self._lock:
            self._partition(partition)
            if self._closed:
                raise Unavailable(f"cannot recover partition {partition}: the log is closed")

    def read(self, partition: int, offset: int) -> Iterator[tuple[int, bytes]]:
        with self._lock:
            records = self._partition(partition)
            first = self._first[partition]
            start = max(offset, first)
            kept = records[start - first :]
        return iter(list(enumerate(kept, start)))

    def bounds(self, partition: int) -> tuple[int, int]:
        with self._lock:
            count = len(self._partition(partition))
            return self._first[partition], self._first[partition] + count

    def size_bytes(self, partition: int, offset: int) -> int:
        with self._lock:
            records = self._partition(partition)
            start = max(0, offset - self._first[partition])
            return sum(map(len, records[start:]))

    def trim(self, partition: int, offset: int) -> None:
        with self._lock:
            records = self._partition(partition)
            count = max(0, min(offset - self._first[partition], len(records)))
            self._bytes -= sum(map(len, records[:count]))
            del records[:count]
            self._first[partition] = max(offset, self._first[partition])

    def close(self) -> None:
        with self._lock:
            self._closed = True

    def _partition(self, partition: int) -> list[bytes]:
        if not 0 <= partition < len(self._records):
            raise Invalid(f"cannot reach log partition {partition}: there is no such partition")
        return self._records[partition]
