"""The data directory: its folders, its format, its one owner (docs/formats/data_directory.md).

Called by ``app`` before anything else is opened, and by commands that work without a server.
"""

import contextlib
import fcntl
import os
from pathlib import Path

from orrery.durable import Disk
from orrery.errors import Corrupt, Invalid, Unavailable

FORMAT_VERSION = 1
_FORMAT_PREFIX = "orrery data directory "
_FORMAT = "format"
_LOCK = "lock"


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
            text = (self.path / _FORMAT).read_text("ascii", "replace")
        except OSError as error:
            raise Invalid(
                f"cannot open data directory {str(self.path)!r}: it has no readable file "
                f"{_FORMAT!r}: {error}"
            ) from error
        number = text.removeprefix(_FORMAT_PREFIX).strip()
        if not text.startswith(_FORMAT_PREFIX) or not number.isdigit():
            raise Corrupt(
                f"cannot open data directory {str(self.path)!r}: its file {_FORMAT!r} says "
                f"{text[:80]!r}"
            )
        if int(number) != FORMAT_VERSION:
            raise Invalid(
                f"cannot open data directory {str(self.path)!r}: its format is {number}, this "
                f"release reads {FORMAT_VERSION}: run `pip install --upgrade orrery-db`"
            )

    def _take_lock(self) -> None:
        descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise Unavailable(
                f"cannot open data directory {str(self.path)!r}: process {owner} has it open"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor

    def _check_or_write_format(self) -> None:
        path = self.path / _FORMAT
        if path.exists():
            self.check_format()
            return
        for folder in (self.log_path, self.objects_path, self.blocks_path):
            if folder.exists():
                raise Corrupt(
                    f"cannot open data directory {str(self.path)!r}: it has {folder.name!r} but "
                    f"no file {_FORMAT!r}"
                )
        temporary = self.path / "~format"
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        self._disk.write_file(temporary, f"{_FORMAT_PREFIX}{FORMAT_VERSION}\n".encode())
        self._disk.rename(temporary, path)
        self._disk.sync_directory(self.path)
