"""What a backup reads: a data directory whose state is pinned, file by file.

The files are read where they lie, also beside a running server; ``Holder`` sees to it that none
goes away meanwhile. Called by ``backup``; ``cli`` has the holder that asks a running server.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from orrery.durable import Disk
from orrery.errors import Corrupt, Unavailable
from orrery.log.segment import read_segment, segments
from orrery.objects.contract import Objects
from orrery.store.layout import DataDirectory
from orrery.store.manifest import ManifestStore, encode_manifest, partition_prefix
from orrery.store.pins import Pinned
from orrery.store.quarantine import BookStore

READ_BYTES = 1024 * 1024
_PINNED_FOLDERS = ("manifest/", "checkpoints/", "metadata/")


class Holder(Protocol):
    """Keeps a state of the store from going away."""

    def pin(self) -> Pinned: ...

    def renew(self, pin_id: str, *, log: bool) -> None:
        """Called more often than ``LEASE_SECONDS``; an error where the pin was lost."""

    def release(self, pin_id: str) -> None: ...


class StoppedHolder:
    """For a directory that no server has open: its lock, held by the caller, is the pin."""

    def __init__(self, directory: DataDirectory, objects: Objects) -> None:
        self._directory = directory
        self._objects = objects

    def pin(self) -> Pinned:
        version, manifest = ManifestStore(self._objects, partition=0).latest()
        end_offset = manifest.next_offset
        found = segments(self._directory.log_path / "0")
        if found:
            first, path = found[-1]
            scan = read_segment(Disk(), path, partition=0, first_offset=first)
            end_offset = max(end_offset, scan.next_offset)
        return Pinned(
            id="stopped",
            partition=0,
            manifest_version=version,
            manifest=manifest,
            end_offset=end_offset,
        )

    def renew(self, pin_id: str, *, log: bool) -> None:
        pass

    def release(self, pin_id: str) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Content:
    """One file to keep: ``size`` bytes, read when they are wanted, a ``path`` for those on disk.
    ``is_doubtful``: the server holds it in quarantine, so it is kept as it is."""

    name: str
    size: int
    read: Callable[[], Iterator[bytes]]
    path: Path | None = None
    is_doubtful: bool = False


def _of_bytes(name: str, content: bytes) -> Content:
    return Content(name, len(content), lambda: iter((content,)))


def _of_file(name: str, size: int, path: Path) -> Content:
    def read() -> Iterator[bytes]:
        left = size
        with _reading(name), path.open("rb") as file:
            while left:
                chunk = file.read(min(left, READ_BYTES))
                if not chunk:
                    raise Corrupt(f"cannot back up {name!r}: it lost its end meanwhile")
                left -= len(chunk)
                yield chunk

    return Content(name, size, read, path)


class Source:
    """The files of a pinned state, in the order in which they are copied."""

    def __init__(self, directory: DataDirectory, objects: Objects, pinned: Pinned) -> None:
        self._directory = directory
        self._objects = objects
        self._pinned = pinned

    def log(self) -> Iterator[Content]:
        """Segments from where a replay begins, up to the end offset; each read and checked."""
        pinned = self._pinned
        expected = pinned.manifest.next_offset
        if expected == pinned.end_offset:
            return
        partition = pinned.partition
        found = segments(self._directory.log_path / str(partition))
        for at, (first, path) in enumerate(found):
            if at + 1 < len(found) and found[at + 1][0] <= expected:
                continue
            if first > expected or first >= pinned.end_offset:
                break
            scan = read_segment(Disk(), path, partition=partition, first_offset=first)
            expected = min(scan.next_offset, pinned.end_offset)
            end = scan.end
            if scan.next_offset > pinned.end_offset:
                end = scan.spans[pinned.end_offset - first - 1][1]
            name = f"log/{partition}/{path.name}"
            yield _of_bytes(name, scan.content[:end])
        if expected != pinned.end_offset:
            raise Corrupt(
                f"cannot back up the log: records {expected}..{pinned.end_offset - 1} are missing"
            )

    def objects(self) -> Iterator[Content]:
        """Every document there is; of the store's own only what the pinned manifest lists."""
        pinned = self._pinned
        prefix = partition_prefix(pinned.partition)
        for name, size in self._objects.list(""):
            if not name.startswith(tuple(prefix + folder for folder in _PINNED_FOLDERS)):
                content = self._object(name, size)
                if content is not None:
                    yield content
        sizes = dict(self._objects.list(prefix))
        for name in pinned.manifest.objects():
            content = self._object(name, sizes.get(name, 0))
            if content is None:
                raise Corrupt(f"cannot back up object {name!r}: it is missing")
            yield content
        if pinned.manifest_version:
            name = f"objects/{prefix}manifest/{pinned.manifest_version:020d}.json"
            yield _of_bytes(name, encode_manifest(pinned.manifest))

    def _object(self, name: str, size: int) -> Content | None:
        """None where it is gone. What may be replaced is small, and read in one piece."""
        if size <= READ_BYTES:
            content = self._objects.get(name)
            return None if content is None else _of_bytes(f"objects/{name}", content)

        def read() -> Iterator[bytes]:
            for start in range(0, size, READ_BYTES):
                wanted = min(READ_BYTES, size - start)
                chunk = self._objects.get(name, start, wanted)
                if chunk is None or len(chunk) != wanted:
                    raise Corrupt(f"cannot back up object {name!r}: it went while it was copied")
                yield chunk

        return Content(f"objects/{name}", size, read)

    def others(self) -> Iterator[Content]:
        """Whatever else stands in the directory, such as the audit log; ``format`` among it."""
        root = self._directory.path
        for top in sorted(root.iterdir()):
            if top.name in ("lock", "log", "objects", "blocks"):
                continue
            for path in [top, *sorted(top.rglob("*"))] if top.is_dir() else [top]:
                relative = path.relative_to(root)
                if any(part.startswith("~") for part in relative.parts) or path.is_symlink():
                    continue
                with contextlib.suppress(FileNotFoundError):
                    if path.is_file():
                        yield _of_file(relative.as_posix(), path.stat().st_size, path)

    def blocks(self) -> Iterator[Content]:
        """Those in quarantine as they are, or not at all where they are gone: a server that starts
        on the restored directory finds the same damage, and no other."""
        doubtful = self._quarantined()
        for block in self._pinned.manifest.blocks:
            path = self._directory.blocks_path / block.name
            name = f"blocks/{block.name}"
            if block.name in doubtful:
                if path.exists():
                    yield replace(_of_file(name, path.stat().st_size, path), is_doubtful=True)
                continue
            with _reading(block.name):
                size = path.stat().st_size
            if size != block.byte_count:
                raise Corrupt(
                    f"cannot back up block {str(path)!r}: it has {size} bytes, the manifest says "
                    f"{block.byte_count}"
                )
            yield _of_file(name, size, path)

    def _quarantined(self) -> set[str]:
        with contextlib.suppress(Corrupt):
            book = BookStore(self._objects, partition=self._pinned.partition).load()
            return {held.block for held in book.held}
        return set()


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Corrupt(f"cannot back up {name!r}: it is missing") from error
    except OSError as error:
        raise Unavailable(f"cannot back up {name!r}: {error}") from error
