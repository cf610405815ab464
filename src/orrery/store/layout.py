"""The data directory: its folders, its format, its one owner (docs/formats/data_directory.md).

Called by ``app`` before anything else is opened, and by commands that work without a server.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from orrery.durable import Disk
from orrery.errors import Corrupt, Invalid, Unavailable

FORMAT_VERSION = 1
_FORMAT_PREFIX = "orrery data directory "
FORMAT_FILE = "format"
_LOCK = "lock"
_RESTORING = "~restoring"


class DataDirectory:
    """Owned by this process from ``open`` to ``close``; the paths are there without owning it."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        self.log_path = self.path / "log"
        self.objects_path = self.path / "objects"
        self.blocks_path = self.path / "blocks"
        self._lock: int | None = None
        self._disk = Disk()

    def open(self) -> "DataDirectory":
        try:
            self._disk.make_directory(self.path)
            self._take_lock()
        except OSError as error:
            raise Unavailable(f"cannot open data directory {str(self.path)!r}: {error}") from error
        try:
            self._check_or_write_format()
            self._disk.make_directory(self.blocks_path)
        except OSError as error:
            self.close()
            raise Unavailable(f"cannot open data directory {str(self.path)!r}: {error}") from error
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "DataDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check_format(self) -> None:
        """For readers that do not own it: ``Invalid`` where this release cannot read it."""
        try:
            text = (self.path / FORMAT_FILE).read_text("ascii", "replace")
        except OSError as error:
            raise Invalid(
                f"cannot open data directory {str(self.path)!r}: it has no readable file "
                f"{FORMAT_FILE!r}: {error}"
            ) from error
        number = text.removeprefix(_FORMAT_PREFIX).strip()
        if not text.startswith(_FORMAT_PREFIX) or not number.isdigit():
            raise Corrupt(
                f"cannot open data directory {str(self.path)!r}: its file {FORMAT_FILE!r} says "
                f"{text[:80]!r}"
            )
        if int(number) != FORMAT_VERSION:
            raise Invalid(
                f"cannot open data directory {str(self.path)!r}: its format is {number}, this "
                f"release reads {FORMAT_VERSION}: run `pip install --upgrade orrery-db`"
            )

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """The lock alone, for a directory that is there: nothing in it is changed, so that it may
        lie on a file system that only reads."""
        self.check_format()
        try:
            self._take_lock()
        except OSError as error:
            raise Unavailable(f"cannot open data directory {str(self.path)!r}: {error}") from error
        try:
            yield
        finally:
            self.close()

    @contextlib.contextmanager
    def backing_up(self) -> Iterator[None]:
        """One backup at a time, beside a server or not; ends with the process at the latest."""
        self.check_format()
        descriptor = os.open(self.path / FORMAT_FILE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Unavailable(
                    f"cannot back up {str(self.path)!r}: another backup of it is under way"
                ) from error
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def restoring(self) -> Iterator[Callable[[bytes], None]]:
        """Owns a directory that is empty, or that a restore left unfinished and that is emptied.

        It becomes one to open when the function that it gives is called with the content of the
        backup's ``format``, after all else in it is durable.
        """
        try:
            self._disk.make_directory(self.path)
            self._take_lock()
            try:
                self._empty_for_restore()
                yield self._write_format
                (self.path / _RESTORING).unlink()
            finally:
                self.close()
        except OSError as error:
            raise Unavailable(f"cannot restore into {str(self.path)!r}: {error}") from error

    def _empty_for_restore(self) -> None:
        found = {path.name for path in self.path.iterdir()} - {_LOCK}
        if found and (_RESTORING not in found or FORMAT_FILE in found):
            raise Invalid(
                f"cannot restore into {str(self.path)!r}: it is not empty, it has {min(found)!r}"
            )
        if not found:
            self._disk.write_file(self.path / _RESTORING, b"")
            self._disk.sync_directory(self.path)
        for name in found - {_RESTORING}:
            path = self.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _take_lock(self) -> None:
        try:
            descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            writable = True
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES):
                raise
            descriptor = os.open(self.path / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
            writable = False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise Unavailable(
                f"cannot open data directory {str(self.path)!r}: process {owner} has it open"
            ) from error
        self._lock = descriptor
        if not writable:
            return
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def _check_or_write_format(self) -> None:
        if (self.path / FORMAT_FILE).exists():
            self.check_format()
            (self.path / _RESTORING).unlink(missing_ok=True)
            return
        if (self.path / _RESTORING).exists():
            raise Corrupt(
                f"cannot open data directory {str(self.path)!r}: a restore into it was not "
                "finished: run it again"
            )
        for folder in (self.log_path, self.objects_path, self.blocks_path):
            if folder.exists():
                raise Corrupt(
                    f"cannot open data directory {str(self.path)!r}: it has {folder.name!r} but "
                    f"no file {FORMAT_FILE!r}"
                )
        self._write_format(f"{_FORMAT_PREFIX}{FORMAT_VERSION}\n".encode())

    def _write_format(self, content: bytes) -> None:
        temporary = self.path / "~format"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        self._disk.write_file(temporary, content)
        self._disk.rename(temporary, self.path / FORMAT_FILE)
        self._disk.sync_directory(self.path)
