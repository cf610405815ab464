"""Brings a backup back into an empty data directory; called by ``commands``.

Every part is held against its checksum as it is read, every file is durable before the directory
gets the file that makes it one: what was interrupted is not opened by a server, and may be run
again.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from orrery.durable import Disk
from orrery.errors import Corrupt, Invalid
from orrery.objects.contract import Objects
from orrery.store.layout import FORMAT_FILE, DataDirectory
from orrery.transfer.backup import Row, describe
from orrery.transfer.catalog import Backup, Piece, backup_ids, read_backup, read_part
from orrery.transfer.throttle import Throttle

MODE_PRIVATE = 0o600
PRIVATE = ("audit.log",)


def restore(
    target: Objects, directory: DataDirectory, *, backup_id: str | None, throttle: Throttle
) -> Iterator[Row]:
    """The newest backup where ``backup_id`` is None. Done once ``restored`` came, not before."""
    ids = backup_ids(target)
    if not ids:
        raise Invalid("cannot restore: there is no backup at this place")
    backup, disk = read_backup(target, backup_id or ids[-1]), Disk()
    format_content = None
    with directory.restoring() as finish:
        for piece in backup.pieces:
            found = _write_piece(target, piece, disk, directory.path, throttle)
            format_content = found or format_content
            yield {"event": "copied", "files": len(piece.files), "bytes": piece.byte_count}
        if format_content is None:
            raise Corrupt(f"cannot restore backup {backup.id!r}: it has no file {FORMAT_FILE!r}")
        _sync(disk, directory.path, backup)
        finish(format_content)
    yield {"event": "restored", **describe(backup)}


def _write_piece(
    target: Objects, piece: Piece, disk: Disk, root: Path, throttle: Throttle
) -> bytes | None:
    """Not synced yet: that is done for all files at once, which is far quicker for many. The
    content of the directory's format file is given back: it is written last."""
    content = _Content(target, piece, throttle)
    found = None
    for file in piece.files:
        if file.path == FORMAT_FILE:
            found = b"".join(content.next(file.byte_count))
            continue
        path = root / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            if path.name in PRIVATE:
                os.fchmod(descriptor, MODE_PRIVATE)
            for chunk in content.next(file.byte_count):
                disk.write(descriptor, chunk)
        finally:
            disk.close(descriptor)
    return found


class _Content:
    """The bytes of a piece, part by part."""

    def __init__(self, target: Objects, piece: Piece, throttle: Throttle) -> None:
        self._target = target
        self._parts = iter(piece.parts)
        self._throttle = throttle
        self._rest = memoryview(b"")

    def next(self, byte_count: int) -> Iterator[memoryview]:
        while byte_count:
            if not self._rest:
                part = next(self._parts)
                self._throttle.take(part.byte_count)
                self._rest = memoryview(read_part(self._target, part))
            chunk, self._rest = self._rest[:byte_count], self._rest[byte_count:]
            byte_count -= len(chunk)
            yield chunk


def _sync(disk: Disk, root: Path, backup: Backup) -> None:
    folders: set[Path] = set()
    for piece in backup.pieces:
        for file in piece.files:
            path = root / file.path
            if file.path == FORMAT_FILE:
                continue
            descriptor = disk.open(path, os.O_RDONLY)
            try:
                disk.sync(descriptor)
            finally:
                disk.close(descriptor)
            folders.update(path.parents[: len(Path(file.path).parents)])
    for folder in folders:
        disk.sync_directory(folder)
