"""Blocks in quarantine: what is damaged is named, kept as it is, and missed by every answer that it
might have had a part in, until an operator lets go of it (docs/formats/quarantine.md).

What stands in the document is what was found, not what holds: a block that cannot be opened is
found anew by every opening, one that is damaged inside by every read that meets the damage.
Called by recovery, compaction and the engine.
"""

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from orrery.errors import Corrupt, Invalid, OrreryError, Unavailable
from orrery.objects.contract import Objects
from orrery.store.documents import decode_document, encode_document
from orrery.store.manifest import BlockEntry, partition_prefix

if TYPE_CHECKING:
    from orrery.store.kernels import Block, BlockSummary
    from orrery.store.state import State

QUARANTINE_FORMAT = 1
DROPPED_MAX = 100
_VERSIONS_KEPT = 2


class Damage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place that cannot be read: whose (None: of every tenant in the block), of which times,
    and why; the cause names the offset in the file."""

    tenant: str | None
    min_ns: int
    max_ns: int
    cause: str


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A block in quarantine. ``tenants`` is None where nobody knows whose samples it has;
    ``damage`` is empty where no part of it can be read."""

    block: str
    min_ns: int
    max_ns: int
    sample_count: int
    byte_count: int
    found_at_ns: int
    cause: str
    tenants: tuple[str, ...] | None
    damage: tuple[Damage, ...]


class Dropped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A block that an operator let go of: its samples are lost knowingly."""

    block: str
    min_ns: int
    max_ns: int
    sample_count: int
    cause: str
    dropped_at_ns: int


class Book(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    held: tuple[Held, ...]
    dropped: tuple[Dropped, ...]


class Everyone(Collection[str]):
    """The tenants of a block that nobody can look into: it may have samples of each."""

    def __contains__(self, tenant: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class BookStore:
    """The document of one partition, a version an object; one thread saves at a time."""

    def __init__(self, objects: Objects, *, partition: int) -> None:
        self._objects = objects
        self._prefix = f"{partition_prefix(partition)}quarantine/"
        self._version = 0

    def load(self) -> Book:
        """The newest; ``Corrupt`` where that one is damaged itself."""
        versions = self._versions()
        if not versions:
            return Book((), ())
        self._version = versions[-1]
        name = self._name(self._version)
        content = self._objects.get(name)
        if content is None:
            raise Unavailable(f"cannot read object {name!r}: it went while it was read")
        return decode_document(content, Book, name=name, format_version=QUARANTINE_FORMAT)

    def save(self, book: Book) -> None:
        content = encode_document(book, format_version=QUARANTINE_FORMAT)
        # One that failed may have happened: its number is not tried again.
        self._version += 1
        if not self._objects.put_if_absent(self._name(self._version), content):
            raise Unavailable(f"cannot save object {self._name(self._version)!r}: it is there")
        for version in self._versions():
            if version <= self._version - _VERSIONS_KEPT:
                self._objects.delete(self._name(version))

    def _versions(self) -> list[int]:
        stems = [
            name.removeprefix(self._prefix).removesuffix(".json")
            for name, _ in self._objects.list(self._prefix)
        ]
        return sorted(int(stem) for stem in stems if len(stem) == 20 and stem.isdigit())

    def _name(self, version: int) -> str:
        return f"{self._prefix}{version:020d}.json"


@dataclass(slots=True)
class Quarantine:
    """``held`` by name; of these, ``lost`` cannot be opened. ``suspects`` are to be looked over.
    Guarded by the state's lock."""

    books: BookStore
    held: dict[str, Held] = field(default_factory=dict)
    lost: dict[str, BlockEntry] = field(default_factory=dict)
    dropped: tuple[Dropped, ...] = ()
    suspects: set[str] = field(default_factory=set)
    is_saved: bool = True

    def tenants_of(self, name: str) -> Collection[str]:
        tenants = self.held[name].tenants
        return Everyone() if tenants is None else tenants

    def lost_with_tenants(self) -> list[tuple[BlockEntry, Collection[str]]]:
        return [(entry, self.tenants_of(name)) for name, entry in self.lost.items()]

    def message(self, name: str) -> str:
        held = self.held[name]
        return (
            f"cannot read block {name!r} (times {held.min_ns}..{held.max_ns} ns): it is in "
            f"quarantine: {held.cause}"
        )


def open_quarantine(state: "State", listed: Collection[str]) -> None:
    """What an earlier process found of blocks that are still ``listed``."""
    try:
        book = state.quarantine.books.load()
    except Corrupt as error:
        # Its findings will be made again.
        state.parts.observe("quarantine_unreadable", {"error": str(error)})
        return
    state.quarantine.held = {held.block: held for held in book.held if held.block in listed}
    state.quarantine.dropped = book.dropped
    state.quarantine.is_saved = len(state.quarantine.held) == len(book.held)


def checked_block(state: "State", entry: BlockEntry) -> "tuple[Block, Collection[str]]":
    """The block that the manifest means; ``Corrupt`` where it is gone, or is another one."""
    path = state.files.path(entry.name)
    verb = f"cannot open block {str(path)!r}"
    try:
        # Before it is mapped: pages behind the end of a file end the process.
        byte_count = path.stat().st_size
    except FileNotFoundError as error:
        raise Corrupt(f"{verb}: the manifest lists it and it is missing") from error
    except OSError as error:
        raise Unavailable(f"{verb}: {error}") from error
    if byte_count != entry.byte_count:
        raise Corrupt(f"{verb}: it has {byte_count} bytes, the manifest says {entry.byte_count}")
    handle, found = state.parts.kernels.open_block(str(path))
    if found.sample_count != entry.sample_count or not _fits(found, entry):
        raise Corrupt(f"{verb}: it is not the one that the manifest lists by this name")
    return handle, found.tenants


def _fits(found: "BlockSummary", entry: BlockEntry) -> bool:
    """Rows may cover less than the days they stand for."""
    if entry.resolution_ns == 0:
        return (found.min_ns, found.max_ns) == (entry.min_ns, entry.max_ns)
    is_empty = entry.sample_count == 0
    return is_empty or entry.min_ns <= found.min_ns <= found.max_ns <= entry.max_ns


def lose(state: "State", entry: BlockEntry, error: Corrupt) -> None:
    """Holds a block of which nothing can be read."""
    state.quarantine.lost[entry.name] = entry
    if entry.name not in state.quarantine.held:
        _hold(state, entry, str(error), tenants=None, damage=())


def suspect(state: "State", error: OrreryError) -> None:
    """A read met damage: the blocks that it names are looked over by the next round of upkeep."""
    message = str(error)
    with state.lock:
        found = {name for name in state.blocks if name in message}
        state.quarantine.suspects |= found - state.quarantine.held.keys()


def examine(state: "State") -> None:
    """Looks over the suspects; what is damaged is kept out of compaction from here on."""
    with state.lock:
        suspects = sorted(state.quarantine.suspects)
    for name in suspects:
        block = state.blocks.get(name)
        if block is not None:
            _examine_block(state, block.entry)
        state.quarantine.suspects.discard(name)
    if not state.quarantine.is_saved:
        save(state)


def _examine_block(state: "State", entry: BlockEntry) -> None:
    """As the file is now, which an open block may have read before."""
    try:
        handle, _ = checked_block(state, entry)
        rows = [Damage(*row) for row in handle.damage()]
        if not rows:
            handle.verify()
            return
    except Corrupt as error:
        rows = [Damage(None, entry.min_ns, entry.max_ns, str(error))]
    cause = f"{rows[0].cause}" if len(rows) == 1 else f"{rows[0].cause}, and more"
    tenants = tuple(sorted({row.tenant for row in rows if row.tenant is not None}))
    concerned = None if any(row.tenant is None for row in rows) else tenants
    with state.lock:
        _hold(state, entry, cause, tenants=concerned, damage=tuple(rows))


def _hold(
    state: "State",
    entry: BlockEntry,
    cause: str,
    *,
    tenants: tuple[str, ...] | None,
    damage: tuple[Damage, ...],
) -> None:
    state.quarantine.held[entry.name] = Held(
        block=entry.name,
        min_ns=entry.min_ns,
        max_ns=entry.max_ns,
        sample_count=entry.sample_count,
        byte_count=entry.byte_count,
        found_at_ns=state.parts.clock.now_ns(),
        cause=cause,
        tenants=tenants,
        damage=damage,
    )
    state.quarantine.is_saved = False
    state.parts.observe(
        "block_quarantined",
        {"block": entry.name, "min_ns": entry.min_ns, "max_ns": entry.max_ns, "error": cause},
    )


def save(state: "State") -> None:
    """Tried again by the next round where it fails: opening finds the same again anyway."""
    with state.lock:
        held = tuple(state.quarantine.held[name] for name in sorted(state.quarantine.held))
        book = Book(held, state.quarantine.dropped)
        state.quarantine.is_saved = True
    try:
        state.quarantine.books.save(book)
    except OrreryError:
        state.quarantine.is_saved = False
        raise


def _save_or_later(state: "State") -> None:
    """What was decided holds already: whoever decided it is not told that it failed."""
    state.quarantine.is_saved = False
    with contextlib.suppress(Unavailable):
        save(state)


def release(state: "State", name: str) -> Held:
    """Takes a block back once it is whole again, byte by byte; ``Corrupt`` where it is not."""
    held = _held(state, name, "release")
    (entry,) = [entry for entry in state.manifest.blocks if entry.name == name]
    handle, tenants = checked_block(state, entry)
    handle.verify()
    # No commit may be under way: it would publish the blocks that it began with.
    with state.commit_lock, state.lock:
        state.quarantine.lost.pop(name, None)
        del state.quarantine.held[name]
        state.put_block(entry, handle, tenants)
    state.touches.all_changed()
    state.parts.observe("block_released", {"block": name})
    _save_or_later(state)
    return held


def drop(state: "State", name: str) -> Held:
    """Lets go of a block and of every sample in it; its file goes after the grace period."""
    held = _held(state, name, "drop")
    gone = Dropped(
        block=name,
        min_ns=held.min_ns,
        max_ns=held.max_ns,
        sample_count=held.sample_count,
        cause=held.cause,
        dropped_at_ns=state.parts.clock.now_ns(),
    )

    def swap() -> None:
        del state.quarantine.held[name]
        state.quarantine.lost.pop(name, None)
        state.quarantine.dropped = (*state.quarantine.dropped, gone)[-DROPPED_MAX:]

    state.commit(add=[], drop=[name], swap=swap)
    state.touches.all_changed()
    state.parts.observe("block_dropped", {"block": name, "samples": held.sample_count})
    _save_or_later(state)
    return held


def _held(state: "State", name: str, verb: str) -> Held:
    with state.lock:
        held = state.quarantine.held.get(name)
    if held is None:
        raise Invalid(f"cannot {verb} block {name!r}: it is not in quarantine")
    return held
