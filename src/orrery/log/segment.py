"""Segment files: naming, header, scan (docs/formats/log_segment.md). Called by ``log.local`` and
``store.inspect``."""

import struct
from dataclasses import dataclass
from pathlib import Path

from orrery.durable import Disk
from orrery.errors import Corrupt, Unavailable
from orrery.kernels.checksum import crc32c
from orrery.kernels.log_frames import find_witness, scan_frames

MAGIC = b"ORRYLOG\0"
VERSION = 1
_FIELDS = struct.Struct("<8sHHIQ")
_SYNCED = struct.Struct("<I")
"""The last field of a frame's header."""
HEADER_BYTES = _FIELDS.size + 4
SUFFIX = ".log"
_TEMPORARY = "~new"


@dataclass(frozen=True, slots=True)
class Cut:
    """A torn tail: bytes behind the last good frame, that no acknowledgement stood on."""

    path: Path
    position: int
    byte_count: int


@dataclass(frozen=True, slots=True)
class Scan:
    """What one segment holds."""

    path: Path
    first_offset: int
    next_offset: int
    spans: list[tuple[int, int]]
    end: int
    content: bytes

    @property
    def torn_bytes(self) -> int:
        return len(self.content) - self.end

    @property
    def synced(self) -> int:
        """Up to where everything was durable when the last good frame was written."""
        if self.end == HEADER_BYTES:
            return HEADER_BYTES
        # A frame without a record, a seal, is in no span.
        is_seal = not self.spans or self.spans[-1][1] < self.end
        payload = self.end if is_seal else self.spans[-1][0]
        (synced,) = _SYNCED.unpack_from(self.content, payload - _SYNCED.size)
        return int(synced)


def segment_path(directory: Path, first_offset: int) -> Path:
    return directory / f"{first_offset:020d}{SUFFIX}"


def segments(directory: Path) -> list[tuple[int, Path]]:
    """(first offset, path) of the segments of a partition, in order."""
    found = [path for path in directory.glob(f"*{SUFFIX}") if path.stem.isdigit()]
    return sorted((int(path.stem), path) for path in found)


def create_segment(disk: Disk, directory: Path, *, partition: int, first_offset: int = 0) -> Path:
    """A new, durable segment without records: it has its whole header or does not exist."""
    temporary = directory / _TEMPORARY
    disk.unlink(temporary)
    disk.write_file(temporary, encode_header(partition=partition, first_offset=first_offset))
    path = segment_path(directory, first_offset)
    disk.rename(temporary, path)
    disk.sync_directory(directory)
    return path


def encode_header(*, partition: int, first_offset: int) -> bytes:
    fields = _FIELDS.pack(MAGIC, VERSION, 0, partition, first_offset)
    return fields + struct.pack("<I", crc32c(fields))


def read_segment(disk: Disk, path: Path, *, partition: int, first_offset: int) -> Scan:
    """Reads and checks a segment up to its last good frame.

    ``Corrupt`` where bytes are damaged that had once been durable. Whether a rest behind the
    last good frame may stand is the caller's to say: only the last segment may have one.
    """
    try:
        content = disk.read(path)
    except OSError as error:
        raise Unavailable(f"cannot read log segment {str(path)!r}: {error}") from error
    _check_header(path, content, partition, first_offset)
    spans, end, next_offset = scan_frames(content, position=HEADER_BYTES, offset=first_offset)
    if end < len(content):
        witness = find_witness(content, position=end, offset=next_offset)
        if witness is not None:
            raise damaged(path, end, f"the good frame at {witness} says it was durable")
    return Scan(path, first_offset, next_offset, spans, end, content)


def damaged(path: Path, position: int, cause: str) -> Corrupt:
    return Corrupt(f"cannot read log segment {str(path)!r}: bad frame at byte {position}: {cause}")


def _check_header(path: Path, content: bytes, partition: int, first_offset: int) -> None:
    if len(content) < HEADER_BYTES:
        raise Corrupt(f"cannot read log segment {str(path)!r}: it is shorter than its header")
    fields = content[: _FIELDS.size]
    magic, version, _, found_partition, found_offset = _FIELDS.unpack(fields)
    verb = f"cannot read log segment {str(path)!r}"
    if magic != MAGIC:
        raise Corrupt(f"{verb}: it does not begin as a segment does")
    if version != VERSION:
        raise Corrupt(f"{verb}: its version {version} is not {VERSION}")
    (checksum,) = struct.unpack_from("<I", content, _FIELDS.size)
    if checksum != crc32c(fields):
        raise Corrupt(f"{verb}: the header's checksum is wrong")
    if (found_partition, found_offset) != (partition, first_offset):
        raise Corrupt(
            f"{verb}: it says partition {found_partition}, offset {found_offset}; its name says "
            f"partition {partition}, offset {first_offset}"
        )
