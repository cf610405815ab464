"""What a backup reads: a data directory whose state is pinned, file by file.

The files are read where they lie, also beside a running server; ``Holder`` sees to it that none
goes away meanwhile. Called by ``backup``; ``cli`` has the holder that asks a running server.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orrery.durable import Disk
from orrery.errors import Corrupt, Unavailable
from orrery.log.segment import read_segment, segments
from orrery.objects.contract import Objects
from orrery.store.layout import DataDirectory
from orrery.store.manifest import ManifestStore, encode_manifest, partition_prefix
from orrery.store.pins import Pinned

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
    """One file to keep: ``size`` bytes of ``path`` on disk, or ``content``."""

    name: str
    size: int
    path: Path | None = None
    content: bytes = b""

    def chunks(self) -> Iterator[bytes]:
        if self.path is None:
            yield self.content
            return
        left = self.size
        with _reading(self.name), self.path.open("rb") as file:
            while left:
                chunk = file.read(min(left, READ_BYTES))
                if not chunk:
                    raise Corrupt(f"cannot back up {self.name!r}: it lost its end meanwhile")
                left -= len(chunk)
                yield chunk


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
            yield Content(name, end, content=scan.content[:end])
        if expected != pinned.end_offset:
            raise Corrupt(
                f"cannot back up the log: records {expected}..{pinned.end_offset - 1} are missing"
            )

    def objects(self) -> Iterator[Content]:
        """Every document there is; of the store's own only what the pinned manifest lists."""
        pinned = self._pinned
        prefix = partition_prefix(pinned.partition)
        for name, _ in self._objects.list(""):
            if name.startswith(tuple(prefix + folder for folder in _PINNED_FOLDERS)):
                continue
            content = self._objects.get(name)
            if content is not None:
                yield Content(f"objects/{name}", len(content), content=content)
        for name in pinned.manifest.objects():
            content = self._objects.get(name)
            if content is None:
                raise Corrupt(f"cannot back up object {name!r}: it is missing")
            yield Content(f"objects/{name}", len(content), content=content)
        if pinned.manifest_version:
            name = f"objects/{prefix}manifest/{pinned.manifest_version:020d}.json"
            content = encode_manifest(pinned.manifest)
            yield Content(name, len(content), content=content)

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
                        yield Content(relative.as_posix(), path.stat().st_size, path)

    def blocks(self) -> Iterator[Content]:
        for block in self._pinned.manifest.blocks:
            path = self._directory.blocks_path / block.name
            with _reading(block.name):
                size = path.stat().st_size
            if size != block.byte_count:
                raise Corrupt(
                    f"cannot back up block {str(path)!r}: it has {size} bytes, the manifest says "
                    f"{block.byte_count}"
                )
            yield Content(f"blocks/{block.name}", size, path)


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Corrupt(f"cannot back up {name!r}: it is missing") from error
    except OSError as error:
        raise Unavailable(f"cannot back up {name!r}: {error}") from error
