"""Backs a data directory up, beside a running server or without one; lists and removes backups.

``commands`` builds the parts and ``cli`` prints the rows. Copying goes part by part, so memory is
bounded by a part and a log segment; what the target already has is not copied again.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orrery.clock import Chance, Clock
from orrery.errors import Invalid, OrreryError, Unavailable
from orrery.objects.contract import Objects
from orrery.store.layout import DataDirectory
from orrery.store.pins import LEASE_SECONDS, Pinned
from orrery.transfer.catalog import (
    PART_BYTES_MAX,
    PARTS,
    WRITERS,
    Backup,
    File,
    Part,
    Piece,
    backup_ids,
    backup_name,
    part_name,
    part_of,
    read_backup,
    readable_backups,
    write_backup,
)
from orrery.transfer.source import Content, Holder, Source
from orrery.transfer.throttle import Throttle

Row = dict[str, object]
LARGE_BYTES_MIN = 1024 * 1024
SECOND_NS = 1_000_000_000


@dataclass(slots=True)
class _Copy:
    """Cuts contents into parts and puts those that the target lacks."""

    target: Objects
    throttle: Throttle
    check: Callable[[], None]
    present: dict[str, int]
    buffer: bytearray = field(default_factory=bytearray)
    parts: list[Part] = field(default_factory=list)
    bytes_new: int = 0

    def add(self, chunk: bytes) -> None:
        self.throttle.take(len(chunk))
        self.buffer += chunk
        while len(self.buffer) >= PART_BYTES_MAX:
            self._put(bytes(self.buffer[:PART_BYTES_MAX]))
            del self.buffer[:PART_BYTES_MAX]

    def end(self) -> tuple[Part, ...]:
        if self.buffer:
            self._put(bytes(self.buffer))
            self.buffer.clear()
        found, self.parts = tuple(self.parts), []
        return found

    def _put(self, content: bytes) -> None:
        self.check()
        part = part_of(content)
        name = part_name(part)
        if self.present.get(name) != len(content):
            self.target.put(name, content)
            self.present[name] = len(content)
            self.bytes_new += len(content)
        self.parts.append(part)


class Backups:
    """The backups at one target."""

    def __init__(self, target: Objects, *, clock: Clock, chance: Chance) -> None:
        self._target = target
        self._clock = clock
        self._chance = chance

    def make(
        self,
        directory: DataDirectory,
        objects: Objects,
        holder: Holder,
        *,
        verify_block: Callable[[str], None],
        bytes_per_second: int | None = None,
        keep: int | None = None,
    ) -> Iterator[Row]:
        """Yields what happens; the backup exists once ``backed_up`` came, not before.

        ``verify_block`` reads a block whole and raises ``Corrupt``: damage is not copied. With
        ``keep``, older backups are removed afterwards until so many are left.
        """
        if keep is not None and keep < 1:
            raise Invalid(f"cannot keep {keep} backups: at least this one is kept")
        throttle = Throttle(self._clock, bytes_per_second)
        backup_id = self._new_id()
        with directory.backing_up(), self._writing(backup_id, directory), _held(holder) as held:
            yield {"event": "pinned", "backup": backup_id, "end_offset": held.pinned.end_offset}
            present = dict(self._target.list(PARTS))
            copy = _Copy(self._target, throttle, held.check, present)
            began_at_ns = self._clock.now_ns()
            source = Source(directory, objects, held.pinned)
            pieces = _pack(copy, source.log())
            held.let_go_of_log()
            pieces += _pack(copy, source.objects())
            pieces += _pack(copy, source.others())
            for block in source.blocks():
                pieces.append(_checked_block(copy, block, verify_block))
                event = "quarantined" if block.is_doubtful else "copied"
                yield {"event": event, "file": block.name, "bytes": block.size}
            held.check()
            backup = self._finish(backup_id, directory, held.pinned, began_at_ns, pieces)
            yield {"event": "backed_up", **describe(backup), "bytes_new": copy.bytes_new}
            if keep is not None:
                yield from self._prune(keep)

    def rows(self) -> Iterator[Row]:
        """A row a backup, the oldest first; one that cannot be read says so."""
        for backup_id, found in readable_backups(self._target):
            if isinstance(found, OrreryError):
                yield {"backup": backup_id, "error": str(found)}
            else:
                yield describe(found)

    def _finish(
        self,
        backup_id: str,
        directory: DataDirectory,
        pinned: Pinned,
        began_at_ns: int,
        pieces: list[Piece],
    ) -> Backup:
        backup = Backup(
            id=backup_id,
            source=source_name(directory),
            began_at_ns=began_at_ns,
            made_at_ns=self._clock.now_ns(),
            manifest_version=pinned.manifest_version,
            epoch=pinned.manifest.epoch,
            next_offset=pinned.manifest.next_offset,
            end_offset=pinned.end_offset,
            pieces=tuple(pieces),
        )
        write_backup(self._target, backup)
        return backup

    def _prune(self, keep: int) -> Iterator[Row]:
        """First the documents, then the parts that none of the others names: a crash between the
        two leaves parts that the next pruning removes."""
        ids = backup_ids(self._target)
        # Read before anything is removed: where one cannot be read, its parts cannot be told.
        kept = [read_backup(self._target, backup_id) for backup_id in ids[-keep:]]
        for backup_id in ids[:-keep]:
            self._target.delete(backup_name(backup_id))
            yield {"event": "removed", "backup": backup_id}
        wanted = {part_name(part) for backup in kept for part in backup.parts()}
        for name in [name for name, _ in self._target.list(PARTS) if name not in wanted]:
            self._target.delete(name)

    def _new_id(self) -> str:
        now = datetime.fromtimestamp(self._clock.now_ns() // SECOND_NS, tz=UTC)
        made = f"{now:%Y%m%dT%H%M%SZ}-{self._chance.token_bytes(4).hex()}"
        latest = backup_ids(self._target)[-1:]
        if latest and latest[0] > made:
            # The clock was set back: the order of the names is that of the backups all the same.
            made = f"{latest[0][:16]}-{int(latest[0][17:], 16) + 1:08x}"
        return made

    @contextlib.contextmanager
    def _writing(self, backup_id: str, directory: DataDirectory) -> Iterator[None]:
        """One backup at a target at a time, or pruning would take another's parts away. The mark
        that a killed one left is taken over by the next one of the same directory."""
        source = source_name(directory).encode()
        name = f"{WRITERS}{backup_id}"
        self._target.put_if_absent(name, source)
        try:
            for other, _ in self._target.list(WRITERS):
                if other != name and self._target.get(other) not in (source, None):
                    raise Unavailable(
                        f"cannot back up: backup {other.removeprefix(WRITERS)!r} of another data "
                        f"directory is under way; where it was killed, remove {other!r}"
                    )
            yield
        finally:
            with contextlib.suppress(OrreryError):
                for other, _ in list(self._target.list(WRITERS)):
                    if other == name or self._target.get(other) == source:
                        self._target.delete(other)


def source_name(directory: DataDirectory) -> str:
    return f"{os.uname().nodename}:{directory.path}"


def describe(backup: Backup) -> Row:
    made = datetime.fromtimestamp(backup.made_at_ns // SECOND_NS, tz=UTC)
    return {
        "backup": backup.id,
        "made": made.isoformat().replace("+00:00", "Z"),
        "source": backup.source,
        "files": backup.file_count,
        "bytes": backup.byte_count,
        "end_offset": backup.end_offset,
    }


def _pack(copy: _Copy, contents: Iterable[Content]) -> list[Piece]:
    """Small files share a piece; a large one has its own, so that it is copied once only."""
    pieces: list[Piece] = []
    small: list[Content] = []
    size = 0
    for content in contents:
        if content.size >= LARGE_BYTES_MIN:
            pieces.append(_piece(copy, [content]))
            continue
        small.append(content)
        size += content.size
        if size >= PART_BYTES_MAX:
            pieces.append(_piece(copy, small))
            small, size = [], 0
    if small:
        pieces.append(_piece(copy, small))
    return pieces


def _piece(copy: _Copy, contents: list[Content]) -> Piece:
    for content in contents:
        for chunk in content.read():
            copy.add(chunk)
    files = tuple(File(content.name, content.size) for content in contents)
    return Piece(files, copy.end())


def _checked_block(copy: _Copy, block: Content, verify_block: Callable[[str], None]) -> Piece:
    before = copy.bytes_new
    piece = _piece(copy, [block])
    if copy.bytes_new > before and not block.is_doubtful:
        verify_block(str(block.path))
    return piece


class _Held:
    """A pin that a thread of its own renews while copying waits for disks and networks."""

    def __init__(self, holder: Holder) -> None:
        self.pinned = holder.pin()
        self._holder = holder
        self._holds_log = True
        self._failure: OrreryError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="backup-pin", daemon=True)
        self._thread.start()

    def check(self) -> None:
        if self._failure is not None:
            raise Unavailable(f"cannot back up: {self._failure}") from self._failure

    def let_go_of_log(self) -> None:
        self._holds_log = False
        self._holder.renew(self.pinned.id, log=False)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._ended.wait(LEASE_SECONDS / 4):
            try:
                self._holder.renew(self.pinned.id, log=self._holds_log)
            except OrreryError as error:
                self._failure = error
                return


@contextlib.contextmanager
def _held(holder: Holder) -> Iterator[_Held]:
    held = _Held(holder)
    try:
        yield held
    finally:
        held.end()
        # It would expire by itself.
        with contextlib.suppress(OrreryError):
            holder.release(held.pinned.id)
