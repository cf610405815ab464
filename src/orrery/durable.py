"""Files that survive a power cut: what ``objects``, ``log`` and ``store`` write files with.

A name is durable only once its directory is synced, and so is a directory's own name. All that
changes files goes through a ``Disk``, so that the simulation can hand in one that fails, forgets
what was not synced, and is cut off between any two calls.
"""

import os
from collections.abc import Sequence
from pathlib import Path

PARTS_MAX = 1024
"""What Linux takes in one call (`IOV_MAX`)."""


class Disk:
    """The file system of this machine. Errors are ``OSError``."""

    def sync_directory(self, directory: Path) -> None:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_directory(self, directory: Path) -> None:
        """Creates ``directory`` and its parents, each durable before anything is put into it."""
        if directory.is_dir():
            return
        self.make_directory(directory.parent)
        try:
            directory.mkdir(exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(20, "is a file", str(directory)) from error
        self.sync_directory(directory.parent)

    def write_file(self, path: Path, content: bytes) -> None:
        """Creates ``path`` with durable bytes; its name is durable once the directory is
        synced."""
        descriptor = self.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            self.write(descriptor, content)
            self.sync(descriptor)
        finally:
            self.close(descriptor)

    def open(self, path: Path, flags: int) -> int:
        return os.open(path, flags | os.O_CLOEXEC, 0o640)

    def write(self, descriptor: int, content: bytes | memoryview) -> None:
        """All of it: ``os.write`` may write less than it was given."""
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def write_parts(self, descriptor: int, parts: Sequence[bytes]) -> None:
        """As ``write`` of all of them one behind the other, without copying them together."""
        for start in range(0, len(parts), PARTS_MAX):
            some = parts[start : start + PARTS_MAX]
            written = os.writev(descriptor, some)
            if written < sum(map(len, some)):
                self.write(descriptor, memoryview(b"".join(some))[written:])

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def sync_data(self, descriptor: int) -> None:
        """As ``sync``, without what is not needed to read the bytes back."""
        os.fdatasync(descriptor)

    def overwrite(self, descriptor: int, start: int, content: bytes) -> None:
        """Of a file that was not opened to be appended to."""
        rest = memoryview(content)
        while rest:
            count = os.pwrite(descriptor, rest, start)
            rest, start = rest[count:], start + count

    def truncate(self, descriptor: int, byte_count: int) -> None:
        os.ftruncate(descriptor, byte_count)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def read(self, path: Path, start: int = 0, length: int | None = None) -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(-1 if length is None else length)

    def rename(self, source: Path, target: Path) -> None:
        """Replaces ``target``."""
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        """``FileExistsError`` where ``target`` stands."""
        os.link(source, target)

    def unlink(self, path: Path) -> None:
        """Nothing happens where there is no such file."""
        path.unlink(missing_ok=True)
