"""A disk that forgets what was not synced, fails when told to, and can be cut off at any call.

It works on real files, so that the core can map and write them too, and keeps beside them what
would have reached the platter: per file the sectors that were synced, per directory the names.

* A power cut keeps any subset of the sectors that were written since the last sync, and of a
  directory's changes since it was synced (in order; a rename happens whole or not at all).
* A sync that fails has written any subset of the sectors, and *forgets the others*: the next sync
  says success and does not write them, as Linux does. They can be read until a power cut, or until
  the page cache drops them when the process has ended.
* A killed process loses nothing that was written; what was not synced stays in danger.

Directories are durable once made; reading names and sizes never fails.
"""

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

from orrery.durable import Disk

SECTOR_BYTES = 64
"""Smaller than any real one, so that small records are torn, too."""


class Killed(BaseException):
    """The process has ended here: no handler of the engine may undo anything on the disk."""


@dataclass
class File:
    """``synced`` is what a power cut leaves for certain, ``dirty`` the sectors to be written by
    the next sync."""

    synced: bytes = b""
    dirty: set[int] = field(default_factory=set)
    length_is_dirty: bool = False
    last: bytes = b""
    """What it held when its last name went."""


@dataclass(frozen=True)
class Change:
    """Of a directory: names that vanish, and names that from then on mean a file."""

    removed: tuple[Path, ...]
    added: tuple[tuple[Path, File], ...] = ()


def sectors(start: int, end: int) -> range:
    return range(start // SECTOR_BYTES, -(-end // SECTOR_BYTES))


def mixed(old: bytes, new: bytes, length: int, from_new) -> bytes:
    """``old`` with the sectors of ``new`` that ``from_new`` names; zeros where there is neither."""
    out = bytearray(old[:length].ljust(length, b"\0"))
    for sector in from_new:
        start, end = sector * SECTOR_BYTES, min((sector + 1) * SECTOR_BYTES, length)
        out[start:end] = new[start:end].ljust(max(0, end - start), b"\0")
    return bytes(out)


class SimulatedDisk(Disk):
    """``fails(call, path)`` may return an ``OSError``; ``calls_left`` counts down to a kill."""

    def __init__(self, root: Path, chance) -> None:
        self.root = root
        self.chance = chance
        self.fails = lambda _call, _path: None
        self.calls_left: int | None = None
        self.is_dead = False
        self.space_left: int | None = None
        self.calls = 0
        self.has_forgotten = False
        self._names: dict[Path, File] = {}
        self._synced_names: dict[Path, File] = {}
        self._changes: dict[Path, list[Change]] = {}
        self._open: dict[int, tuple[File, Path]] = {}

    # --- what the engine calls

    def sync_directory(self, directory):
        self.enter("sync", directory)
        for change in self._changes.pop(directory, []):
            self._settle(change)

    def make_directory(self, directory):
        self.enter("make", directory)
        directory.mkdir(parents=True, exist_ok=True)

    def open(self, path, flags):
        self.enter("open", path)
        existed = path.exists()
        descriptor = super().open(path, flags)
        if not existed:
            self._change(path.parent, Change((), ((path, File()),)))
        elif path not in self._names:
            content = path.read_bytes()
            self._names[path] = self._synced_names[path] = File(content)
        self._open[descriptor] = (self._names[path], path)
        return descriptor

    def write(self, descriptor, content):
        file, path = self._open[descriptor]
        error = None
        try:
            self.enter("write", path)
            if self.space_left is not None:
                if len(content) > self.space_left:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                self.space_left -= len(content)
        except (OSError, Killed) as caught:
            if self.is_dead and not isinstance(caught, Killed):
                raise
            error = caught
            content = content[: self.chance.randint(0, len(content))]
            if isinstance(caught, OSError) and self.space_left is not None:
                content = content[: self.space_left]
                self.space_left -= len(content)
        # What fails, or is cut off, has most often been done in part.
        start = os.fstat(descriptor).st_size
        if content:
            Disk.write(self, descriptor, content)
            file.dirty.update(sectors(start, start + len(content)))
            file.length_is_dirty = True
        if error is not None:
            raise error

    def write_parts(self, descriptor, parts):
        self.write(descriptor, b"".join(parts))

    def overwrite(self, descriptor, start, content):
        file, path = self._open[descriptor]
        self.enter("write", path)
        super().overwrite(descriptor, start, content)
        file.dirty.update(sectors(start, start + len(content)))

    def sync(self, descriptor):
        file, path = self._open[descriptor]
        current = path.read_bytes() if path.exists() else b""
        try:
            self.enter("sync", path)
        except OSError:
            kept = {sector for sector in file.dirty if self.chance.random() < 0.5}
            self.has_forgotten = True
            file.synced = mixed(file.synced, current, len(current), kept)
            file.dirty, file.length_is_dirty = set(), False
            raise
        file.synced = mixed(file.synced, current, len(current), file.dirty)
        file.dirty, file.length_is_dirty = set(), False

    def sync_data(self, descriptor):
        self.sync(descriptor)

    def truncate(self, descriptor, byte_count):
        file, path = self._open[descriptor]
        self.enter("truncate", path)
        super().truncate(descriptor, byte_count)
        file.dirty = {sector for sector in file.dirty if sector * SECTOR_BYTES < byte_count}
        file.length_is_dirty = True

    def close(self, descriptor):
        if self._open.pop(descriptor, None) is not None:
            super().close(descriptor)

    def read(self, path, start=0, length=None):
        self.enter("read", path, kills=False)
        return super().read(path, start, length)

    def rename(self, source, target):
        self.enter("rename", target)
        self._remember(target)
        super().rename(source, target)
        self._change(source.parent, Change((source,), ((target, self._names[source]),)))

    def link(self, source, target):
        self.enter("link", target)
        super().link(source, target)
        self._change(target.parent, Change((), ((target, self._names[source]),)))

    def unlink(self, path):
        self.enter("unlink", path)
        if path.exists():
            self._remember(path)
            super().unlink(path)
            self._change(path.parent, Change((path,)))

    # --- what the simulation calls

    def enter(self, call, path, *, kills=True):
        """Every call comes by here first."""
        if self.is_dead:
            raise Killed(f"{call} {path.name}")
        self.calls += kills
        if kills and self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left <= 0:
                self.is_dead = True
                raise Killed(f"{call} {path.name}")
        error = self.fails(call, path)
        if error is not None:
            raise error

    def adopt(self, path, *, is_synced):
        """A file that the core wrote by itself: its bytes are synced, its name is not."""
        content = path.read_bytes()
        file = File(content)
        if not is_synced:
            file = File(b"", set(sectors(0, len(content))), length_is_dirty=True)
        self._change(path.parent, Change((), ((path, file),)))

    def damage(self, path, content):
        """Other bytes on the platter; None takes the file away."""
        # A new file, so that a mapping of the old one stays whole.
        path.unlink(missing_ok=True)
        for names in (self._names, self._synced_names):
            names.pop(path, None)
        if content is not None:
            path.write_bytes(content)
            self._names[path] = self._synced_names[path] = File(content)

    def end_process(self):
        """After a kill: the files are as they were written, all descriptors are closed."""
        for descriptor in list(self._open):
            os.close(descriptor)
        self._open.clear()
        self.is_dead, self.calls_left = False, None
        for path, file in self._names.items():
            if file.dirty or file.length_is_dirty or not path.exists():
                continue
            # What a failed sync forgot may go before the next process reads it.
            if path.read_bytes() != file.synced and self.chance.random() < 0.5:
                self._rewrite(path, file.synced)

    def cut_power(self):
        """The machine stops: what was not synced is there in part, in any part."""
        for directory in list(self._changes):
            for change in self._changes.pop(directory):
                if self.chance.random() < 0.5:
                    self._settle(change)
        kept = {path: self._left_of(path, file) for path, file in self._synced_names.items()}
        self.end_process()
        for path in self._names:
            path.unlink(missing_ok=True)
        self._names = {path: File(content) for path, content in kept.items()}
        self._synced_names = dict(self._names)
        for path, file in self._names.items():
            path.write_bytes(file.synced)

    # --- inside

    def _left_of(self, path, file):
        # The file may have another name by now, or none.
        names = [path, *(name for name, one in self._names.items() if one is file)]
        current = next((n.read_bytes() for n in names if self._names.get(n) is file), file.last)
        length = len(file.synced)
        if file.length_is_dirty:
            length = self.chance.choice((length, len(current), max(length, len(current))))
        written = {sector for sector in file.dirty if self.chance.random() < 0.5}
        return mixed(file.synced, current, length, written)

    def _remember(self, path):
        if path in self._names:
            self._names[path].last = path.read_bytes()

    def _change(self, directory, change):
        self._changes.setdefault(directory, []).append(change)
        for path in change.removed:
            self._names.pop(path, None)
        self._names.update(change.added)

    def _settle(self, change):
        for path in change.removed:
            self._synced_names.pop(path, None)
        self._synced_names.update(change.added)

    def _rewrite(self, path, content):
        links = [name for name, file in self._names.items() if file is self._names[path]]
        for name in links:
            name.unlink(missing_ok=True)
            name.write_bytes(content)
