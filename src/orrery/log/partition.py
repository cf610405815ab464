"""One partition of the local log: its segments, its queue, its writer thread.

Called by ``log.local`` only.
"""

import os
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orrery.durable import Disk
from orrery.errors import SERVER, Excess, Exhausted, Invalid, Unavailable
from orrery.kernels.log_frames import FRAME_HEADER_BYTES, frame_headers
from orrery.log.segment import (
    HEADER_BYTES,
    Cut,
    Scan,
    create_segment,
    damaged,
    read_segment,
    segment_path,
    segments,
)

if TYPE_CHECKING:
    from orrery.log.local import LogLimits

# Frames name positions in 32 bits: a segment ends early enough for one more group behind it.
_SEGMENT_BYTES_MAX = 2**32 - 2**28
# Between two marks `size_bytes` cannot tell more exactly where an offset stands.
_MARK_BYTES = 16 * 1024


@dataclass(slots=True)
class _Entry:
    record: bytes
    durable: bool
    future: "Future[int]"


@dataclass(slots=True)
class _Segment:
    first_offset: int
    path: Path
    byte_count: int


@dataclass(slots=True)
class _Queue:
    entries: deque[_Entry] = field(default_factory=deque)
    byte_count: int = 0


class PartitionLog:
    """``_lock`` guards the queue and the numbers; only the writer touches the file itself."""

    def __init__(
        self,
        directory: Path,
        *,
        number: int,
        limits: "LogLimits",
        disk: Disk,
        threaded: bool,
    ) -> None:
        self._directory = directory
        self._number = number
        self._limits = limits
        self._segment_bytes_max = min(limits.segment_bytes_max, _SEGMENT_BYTES_MAX)
        self._disk = disk
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._queue = _Queue()
        self._failure: str | None = None
        self._sync_failed = False
        self._is_ending_segment = False
        self._closing = False
        self._mark_offsets: list[int] = []
        self._mark_bytes: list[int] = []
        self._bytes_before = 0
        self.cut: Cut | None = None
        self._open_segments()
        self._writer: threading.Thread | None = None
        if threaded:
            self._writer = threading.Thread(
                target=self._write_groups, name=f"log-{number}", daemon=True
            )
            self._writer.start()

    def append(self, record: bytes, *, durable: bool) -> "Future[int]":
        future: Future[int] = Future()
        # A queued record cannot be taken back: offsets behind it stand already.
        future.set_running_or_notify_cancel()
        size = len(record) + FRAME_HEADER_BYTES
        with self._lock:
            if self._failure is not None or self._closing:
                raise self._refusal()
            if self._queue.byte_count + size > self._limits.queue_bytes_max:
                raise Exhausted(
                    f"cannot append to partition {self._number}: {self._queue.byte_count} of "
                    f"{self._limits.queue_bytes_max} bytes wait to be written",
                    Excess(
                        "log_queue_bytes_max",
                        SERVER,
                        self._limits.queue_bytes_max,
                        self._queue.byte_count,
                        retry_after_seconds=1.0,
                    ),
                )
            self._queue.entries.append(_Entry(record, durable, future))
            self._queue.byte_count += size
            self._next_offset += 1
            if len(self._queue.entries) == 1:
                # Behind others it is taken with them: the writer waits for an empty queue only.
                self._changed.notify()
        return future

    def recover(self) -> None:
        """A write that failed, most often for want of space, is cut off again; after a failed
        sync nothing but a new scan knows what the disk holds."""
        with self._lock:
            if self._closing:
                raise self._refusal()
            if self._failure is None:
                return
            if self._sync_failed:
                raise self._refusal()
            try:
                self._cut_failed_write()
            except OSError as error:
                self._sync_failed = True
                raise self._refusal() from error
            self._next_offset = self._acknowledged_offset
            self._failure = None

    def read(self, offset: int) -> Iterator[tuple[int, bytes]]:
        with self._lock:
            end_offset = self._acknowledged_offset
            kept = list(self._segments)
        for at, segment in enumerate(kept):
            last = at == len(kept) - 1
            next_first = end_offset if last else kept[at + 1].first_offset
            if next_first <= offset:
                continue
            scan = read_segment(
                self._disk, segment.path, partition=self._number, first_offset=segment.first_offset
            )
            # The last one may grow while it is read; another one is whole or damaged.
            if scan.next_offset < next_first or (not last and scan.torn_bytes):
                cause = f"records {scan.next_offset}..{next_first - 1} are missing"
                raise damaged(segment.path, scan.end, cause)
            for number, (start, end) in enumerate(scan.spans, segment.first_offset):
                if offset <= number < end_offset:
                    yield number, scan.content[start:end]

    def bounds(self) -> tuple[int, int]:
        with self._lock:
            return self._segments[0].first_offset, self._next_offset

    def size_bytes(self, offset: int) -> int:
        with self._lock:
            if offset >= self._next_offset:
                return 0
            at = bisect_right(self._mark_offsets, offset) - 1
            before = self._mark_bytes[at] if at >= 0 else self._bytes_before
            return self._bytes_total - max(before, self._bytes_before)

    def trim(self, offset: int) -> None:
        with self._lock:
            if offset > self._next_offset:
                self._skip_to(offset)
                return
            while len(self._segments) > 1 and self._segments[1].first_offset <= offset:
                segment = self._segments[0]
                self._disk.unlink(segment.path)
                self._bytes_before += segment.byte_count
                del self._segments[0]
            if self._segments[-1].first_offset < offset:
                self._begin_behind(offset)
            first = self._segments[0].first_offset
            count = bisect_right(self._mark_offsets, first)
            del self._mark_offsets[:count], self._mark_bytes[:count]

    def _begin_behind(self, offset: int) -> None:
        """What is trimmed away must leave the disk also where little is written: the segment that
        is written to ends now, or with the next write where one is under way."""
        if self._failure or not offset == self._next_offset == self._acknowledged_offset:
            self._is_ending_segment = True
            return
        old = self._segments[0]
        try:
            self._sync()
            self._begin_segment(offset)
        except BaseException as error:
            # As after a write that failed: `recover` looks at what is there.
            self._failure = f"ending {str(old.path)!r} failed: {error}"
            raise
        self._disk.unlink(old.path)
        self._bytes_before += old.byte_count
        del self._segments[0]

    def close(self) -> None:
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._changed.notify_all()
        if self._writer is not None:
            self._writer.join()
        else:
            self._write_groups()

    def _refusal(self) -> Unavailable:
        cause = self._failure or "the log is closed"
        return Unavailable(f"cannot append to partition {self._number}: {cause}")

    # --- opening

    def _open_segments(self) -> None:
        found = segments(self._directory)
        if not found:
            first = create_segment(self._disk, self._directory, partition=self._number)
            found = [(0, first)]
        self._segments = [_Segment(first, path, path.stat().st_size) for first, path in found]
        self._bytes_total = sum(segment.byte_count for segment in self._segments)
        last = self._segments[-1]
        scan = read_segment(
            self._disk, last.path, partition=self._number, first_offset=last.first_offset
        )
        self._file = self._disk.open(last.path, os.O_RDWR | os.O_APPEND)
        if scan.torn_bytes:
            self.cut = Cut(last.path, scan.end, scan.torn_bytes)
            self._disk.truncate(self._file, scan.end)
            last.byte_count -= scan.torn_bytes
            self._bytes_total -= scan.torn_bytes
        # What is read from now on counts as durable; before, only the process had survived.
        self._make_durable(scan)
        self._synced = scan.end
        self._next_offset = self._acknowledged_offset = scan.next_offset
        start_bytes = self._bytes_total - last.byte_count
        for number, (start, _) in enumerate(scan.spans, last.first_offset):
            self._mark(number, start_bytes + start - FRAME_HEADER_BYTES)

    def _make_durable(self, scan: Scan) -> None:
        """Writes again what no frame says was synced: a sync that failed in the process before
        has left pages that look written and that no later sync would write."""
        rest = scan.content[scan.synced : scan.end]
        if rest:
            file = self._disk.open(scan.path, os.O_RDWR)
            try:
                self._disk.overwrite(file, scan.synced, rest)
            finally:
                self._disk.close(file)
        self._disk.sync(self._file)
        # That process may have ended between naming the segment and syncing its name.
        self._disk.sync_directory(self._directory)

    def _mark(self, offset: int, byte_count: int) -> None:
        if not self._mark_bytes or byte_count - self._mark_bytes[-1] >= _MARK_BYTES:
            self._mark_offsets.append(offset)
            self._mark_bytes.append(byte_count)

    def _skip_to(self, offset: int) -> None:
        if self._next_offset != self._acknowledged_offset or self._queue.entries:
            raise Invalid(
                f"cannot skip partition {self._number} to offset {offset}: appends are under way"
            )
        # Old segments go first: a gap between two would look like damage.
        for segment in self._segments:
            self._disk.unlink(segment.path)
        self._disk.sync_directory(self._directory)
        self._bytes_before = self._bytes_total
        self._segments = []
        self._mark_offsets, self._mark_bytes = [], []
        self._next_offset = self._acknowledged_offset = offset
        self._begin_segment(offset)

    def _begin_segment(self, first_offset: int) -> None:
        path = create_segment(
            self._disk, self._directory, partition=self._number, first_offset=first_offset
        )
        # Opened before the other is closed: where it fails, the number of a closed descriptor might
        # stand for somebody else's file when this one is cut or sealed.
        file = self._disk.open(path, os.O_RDWR | os.O_APPEND)
        self._disk.close(self._file)
        self._file = file
        self._segments.append(_Segment(first_offset, path, HEADER_BYTES))
        self._bytes_total += HEADER_BYTES
        self._synced = HEADER_BYTES
        self._is_ending_segment = False

    def _cut_failed_write(self) -> None:
        active = self._segments[-1]
        self._disk.truncate(self._file, active.byte_count)
        self._disk.sync(self._file)
        self._synced = active.byte_count
        # A segment that was begun and not taken up would stand in the way of the next records.
        stray = segment_path(self._directory, self._acknowledged_offset)
        if stray != active.path and stray.exists():
            self._disk.unlink(stray)
            self._disk.sync_directory(self._directory)

    # --- the writer thread

    def _write_groups(self) -> None:
        while group := self._next_group():
            self._write_group(group)
        self._seal()

    def write_queued(self) -> bool:
        """One turn of the writer thread, where there is none."""
        assert self._writer is None, "one thread writes"
        group = self._next_group() if self._queue.entries else []
        if group:
            self._write_group(group)
        return bool(group)

    def _write_group(self, group: list[_Entry]) -> None:
        try:
            self._write(group)
        except Exception as error:
            self._fail(group, error)
        else:
            self._complete(group)

    def _next_group(self) -> list[_Entry]:
        """Waits; empty once the log is closing and nothing is queued."""
        with self._lock:
            while not self._queue.entries:
                if self._closing:
                    return []
                self._changed.wait()
            group: list[_Entry] = []
            byte_count = 0
            entries = self._queue.entries
            while entries and len(group) < self._limits.group_records_max:
                size = len(entries[0].record) + FRAME_HEADER_BYTES
                if group and byte_count + size > self._limits.group_bytes_max:
                    break
                byte_count += size
                group.append(entries.popleft())
            self._queue.byte_count -= byte_count
            return group

    def _write(self, group: list[_Entry]) -> None:
        active = self._segments[-1]
        first_offset = self._acknowledged_offset
        size = sum(len(entry.record) + FRAME_HEADER_BYTES for entry in group)
        full = active.byte_count + size > self._segment_bytes_max or self._is_ending_segment
        if full and active.byte_count > HEADER_BYTES and first_offset > active.first_offset:
            self._sync()
            with self._lock:
                self._begin_segment(first_offset)
            active = self._segments[-1]
        records = [entry.record for entry in group]
        headers = frame_headers(records, offset=first_offset, synced=self._synced)
        frames = zip(headers, records, strict=True)
        self._disk.write_parts(self._file, [part for frame in frames for part in frame])
        with self._lock:
            position = self._bytes_total
            for offset, entry in enumerate(group, first_offset):
                self._mark(offset, position)
                position += len(entry.record) + FRAME_HEADER_BYTES
            active.byte_count += size
            self._bytes_total += size
        if any(entry.durable for entry in group):
            self._sync()
            self._synced = active.byte_count

    def _sync(self) -> None:
        try:
            self._disk.sync_data(self._file)
        except BaseException:
            # The kernel may have dropped the pages: trying again would report success for bytes
            # that are gone.
            self._sync_failed = True
            raise

    def _complete(self, group: list[_Entry]) -> None:
        first_offset = self._acknowledged_offset
        with self._lock:
            self._acknowledged_offset += len(group)
        for offset, entry in enumerate(group, first_offset):
            entry.future.set_result(offset)

    def _fail(self, group: list[_Entry], error: Exception) -> None:
        with self._lock:
            self._failure = f"writing {str(self._segments[-1].path)!r} failed: {error}"
            group = [*group, *self._queue.entries]
            self._queue = _Queue()
        for entry in group:
            entry.future.set_exception(self._refusal())

    def _seal(self) -> None:
        """Makes all durable, and says so in the segment: later damage to it will be named."""
        try:
            if self._failure is None:
                active = self._segments[-1]
                self._disk.sync_data(self._file)
                if active.byte_count > HEADER_BYTES:
                    self._synced = active.byte_count
                    seal = frame_headers(
                        [b""], offset=self._acknowledged_offset, synced=self._synced
                    )
                    self._disk.write_parts(self._file, seal)
                    self._disk.sync_data(self._file)
        except Exception as error:
            self._failure = f"sealing failed: {error}"
        finally:
            self._disk.close(self._file)
