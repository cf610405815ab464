"""Objects in a local directory: the embedded default.

An object is written to a temporary file beside its place, synced, then linked (put-if-absent) or
renamed (put) into it, and the directory is synced. Temporary names begin with ``~``, which no
object's name may hold.
"""

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from orrery.durable import Disk
from orrery.errors import Invalid, OrreryError, Unavailable
from orrery.objects.contract import check_name, check_prefix, check_range

_TEMPORARY = "~"


class LocalObjects:
    """One process owns the directory (the store's lock sees to that).

    A reader beside the owner passes ``owned=False``: it removes nothing when it opens.
    """

    def __init__(self, directory: Path, *, owned: bool = True, disk: Disk | None = None) -> None:
        self._root = Path(directory)
        self._disk = disk or Disk()
        self._numbers = itertools.count()
        self._numbers_lock = threading.Lock()
        if owned:
            with _as_errors("open objects", str(directory)):
                self._disk.make_directory(self._root.absolute())
                self._remove_leftovers()

    def put(self, name: str, content: bytes) -> None:
        check_name(name)
        with _as_errors("put object", name):
            self._place(name, content, self._disk.rename)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        check_name(name)
        with _as_errors("put object", name):
            if self._path(name).exists():
                # The winner may not have synced the directory yet; what the loser has seen must
                # not vanish.
                self._disk.sync_directory(self._path(name).parent)
                return False
            try:
                self._place(name, content, self._disk.link)
            except FileExistsError:
                self._disk.sync_directory(self._path(name).parent)
                return False
            return True

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes | None:
        check_name(name)
        check_range(name, start, length)
        with _as_errors("read object", name):
            try:
                return self._disk.read(self._path(name), start, length)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        check_prefix(prefix)
        with _as_errors("list objects below", prefix):
            return iter(sorted(self._below(prefix)))

    def delete(self, name: str) -> None:
        check_name(name)
        with _as_errors("delete object", name):
            path = self._path(name)
            if path.exists():
                self._disk.unlink(path)
                self._disk.sync_directory(path.parent)

    def _path(self, name: str) -> Path:
        return self._root / name

    def _place(self, name: str, content: bytes, place: Callable[[Path, Path], None]) -> None:
        path = self._path(name)
        self._disk.make_directory(path.parent)
        with self._numbers_lock:
            number = next(self._numbers)
        temporary = path.parent / f"{_TEMPORARY}{os.getpid()}-{number}"
        try:
            self._disk.write_file(temporary, content)
            place(temporary, path)
        finally:
            self._disk.unlink(temporary)
        self._disk.sync_directory(path.parent)

    def _below(self, prefix: str) -> Iterator[tuple[str, int]]:
        for directory, _, files in os.walk(self._root / prefix):
            for file in files:
                if file.startswith(_TEMPORARY):
                    continue
                path = Path(directory, file)
                with contextlib.suppress(FileNotFoundError):
                    yield path.relative_to(self._root).as_posix(), path.stat().st_size

    def _remove_leftovers(self) -> None:
        for directory, _, files in os.walk(self._root):
            for file in files:
                if file.startswith(_TEMPORARY):
                    self._disk.unlink(Path(directory, file))


@contextlib.contextmanager
def _as_errors(verb: str, name: str) -> Iterator[None]:
    try:
        yield
    except OrreryError:
        raise
    except (NotADirectoryError, IsADirectoryError) as error:
        raise Invalid(f"cannot {verb} {name!r}: a part of it is a file or folder") from error
    except OSError as error:
        raise Unavailable(f"cannot {verb} {name!r}: {error}") from error
