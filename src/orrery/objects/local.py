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

from orrery.durable import make_directory, sync_directory, write_file
from orrery.errors import Invalid, OrreryError, Unavailable
from orrery.objects.contract import check_name, check_prefix, check_range

_TEMPORARY = "~"


class LocalObjects:
    """One process owns the directory (the store's lock sees to that).

    A reader beside the owner passes ``owned=False``: it removes nothing when it opens.
    """

    def __init__(self, directory: Path, *, owned: bool = True) -> None:
        self._root = Path(directory)
        self._numbers = itertools.count()
        self._numbers_lock = threading.Lock()
        if owned:
            with _as_errors("open objects", str(directory)):
                make_directory(self._root.absolute())
                self._remove_leftovers()

    def put(self, name: str, content: bytes) -> None:
        check_name(name)
        with _as_errors("put object", name):
            self._place(name, content, os.replace)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        check_name(name)
        with _as_errors("put object", name):
            if self._path(name).exists():
                # The winner may not have synced the directory yet; what the loser has seen must
                # not vanish.
                sync_directory(self._path(name).parent)
                return False
            try:
                self._place(name, content, os.link)
            except FileExistsError:
                sync_directory(self._path(name).parent)
                return False
            return True

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes | None:
        check_name(name)
        check_range(name, start, length)
        with _as_errors("read object", name):
            try:
                with self._path(name).open("rb") as file:
                    file.seek(start)
                    return file.read(-1 if length is None else length)
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
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):
                return
            sync_directory(path.parent)

    def _path(self, name: str) -> Path:
        return self._root / name

    def _place(self, name: str, content: bytes, place: Callable[[Path, Path], None]) -> None:
        path = self._path(name)
        make_directory(path.parent)
        with self._numbers_lock:
            number = next(self._numbers)
        temporary = path.parent / f"{_TEMPORARY}{os.getpid()}-{number}"
        try:
            write_file(temporary, content)
            place(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)

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
                    Path(directory, file).unlink(missing_ok=True)


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
