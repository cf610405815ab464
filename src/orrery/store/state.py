"""What flush, compaction, recovery and reads of one partition share. Called inside ``store``.

Locks, taken in this order: ``apply_lock`` (offsets enter the head in order), ``commit_lock`` (one
manifest version at a time), ``lock`` (blocks, deletes and head seen together). ``lock`` is never
held over I/O.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from orrery.clock import Clock
from orrery.durable import Disk
from orrery.errors import Unavailable
from orrery.log.contract import Log
from orrery.objects.contract import Objects
from orrery.store.blocks import BlockFiles
from orrery.store.bounds import StoreBounds
from orrery.store.compaction import needed_deletes
from orrery.store.kernels import (
    Block,
    BlockSummary,
    Cancellation,
    DeleteRow,
    Generation,
    Head,
    Kernels,
    SeriesTable,
)
from orrery.store.manifest import (
    BlockEntry,
    DeleteEntry,
    Fenced,
    Manifest,
    ManifestStore,
    partition_prefix,
)
from orrery.store.metadata import Metadata
from orrery.store.pins import Pinned, Pins
from orrery.store.quarantine import Quarantine
from orrery.store.retention import Policies, Retention
from orrery.store.touches import Touches

if TYPE_CHECKING:
    from orrery.kernels.block import Source

Levels = list[tuple[int, list[tuple[int, int]]]]
"""(resolution, ranges in which its rows stand for all samples that are flushed)"""

Expired = tuple[str, str, tuple[tuple[str, str, str], ...]]
"""A block, a tenant in it, and the matchers of a rule whose samples are over in it."""

Observe = Callable[[str, Mapping[str, object]], None]
"""Called with an event's name and fields; must be quick and must not raise."""


class Ended(Unavailable):
    """The store is closing: what was being rewritten is left as it was."""


@dataclass(frozen=True, slots=True)
class OpenBlock:
    entry: BlockEntry
    handle: Block
    tenants: Collection[str]


@dataclass(frozen=True, slots=True)
class Frozen:
    """A generation of the head on its way into blocks; None where only deletes and metadata came.

    It holds the records ``offset_first .. next_offset - 1``.
    """

    generation: Generation | None
    offset_first: int
    next_offset: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the manifest lists, and where the next one goes on.

    ``series_defined`` counts definitions in all of it, those of series that left included;
    ``whole_parts`` the objects that the last whole checkpoint came in.
    """

    names: tuple[str, ...] = ()
    until: int = 0
    series_defined: int = 0
    whole_parts: int = 0


@dataclass(frozen=True, slots=True)
class Flushed:
    """What a flush changes in the manifest beside its blocks."""

    next_offset: int
    checkpoints: tuple[str, ...]
    metadata: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The collaborators of a store, as ``app`` hands them in."""

    objects: Objects
    log: Log
    kernels: Kernels
    clock: Clock
    bounds: StoreBounds
    retention: Retention
    observe: Observe
    disk: Disk
    partition: int = 0


@dataclass(slots=True)
class State:
    parts: Parts
    manifests: ManifestStore
    manifest: Manifest
    files: BlockFiles
    table: SeriesTable
    head: Head
    metadata: Metadata
    cancellation: Cancellation
    pins: Pins
    quarantine: Quarantine
    touches: Touches = field(default_factory=Touches)
    apply_lock: threading.Lock = field(default_factory=threading.Lock)
    commit_lock: threading.Lock = field(default_factory=threading.Lock)
    lock: threading.Lock = field(default_factory=threading.Lock)
    blocks: dict[str, OpenBlock] = field(default_factory=dict)
    deletes: list[DeleteEntry] = field(default_factory=list)
    frozen: list[Frozen] = field(default_factory=list)
    next_offset: int = 0
    frozen_through: int = 0
    generation_began_ns: int = 0
    checkpoint: Checkpoint = Checkpoint()
    metadata_saved: int = 0
    object_counter: int = 0
    pending_objects: set[str] = field(default_factory=set)
    levels: dict[str, tuple[Manifest, frozenset[int], Levels]] = field(default_factory=dict)
    policies: Policies = field(default_factory=Policies)
    """Forgotten with each round of upkeep."""
    spared: set[Expired] = field(default_factory=set)
    failure: str | None = None
    rewrites_ended: bool = False

    @property
    def epoch(self) -> int:
        return self.manifest.epoch

    def delete_rows(self) -> list[DeleteRow]:
        return rows_of(self.deletes)

    def sources(self, blocks: Iterable[OpenBlock]) -> "list[Source]":
        return [
            block.handle.source(block.entry.offset_last, block.entry.deletes_through)
            for block in blocks
        ]

    def put_block(self, entry: BlockEntry, handle: Block, tenants: Collection[str]) -> None:
        self.blocks = {**self.blocks, entry.name: OpenBlock(entry, handle, tenants)}

    def whole_blocks(self) -> list[OpenBlock]:
        """Those that may be rewritten or let go of: what is in quarantine stays as it is."""
        return [b for name, b in self.blocks.items() if name not in self.quarantine.held]

    def lost_sources(self, resolutions_ns: Collection[int]) -> "list[Source]":
        """An error for whoever asks for what blocks of samples, or of these resolutions, hold that
        cannot be opened."""
        quarantine = self.quarantine
        return [
            self.parts.kernels.lost_source(
                quarantine.message(name),
                min_ns=entry.min_ns,
                max_ns=entry.max_ns,
                tenants=quarantine.held[name].tenants,
                order=entry.offset_last,
                deletes_through=entry.deletes_through,
            )
            for name, entry in quarantine.lost.items()
            if entry.resolution_ns == 0 or entry.resolution_ns in resolutions_ns
        ]

    def object_name(self, folder: str, suffix: str) -> str:
        """Unique as block names are: no epoch is taken twice. Safe from removal until settled."""
        prefix = partition_prefix(self.parts.partition)
        with self.lock:
            self.object_counter += 1
            name = f"{prefix}{folder}/{self.epoch:010d}-{self.object_counter:010d}{suffix}"
            self.pending_objects.add(name)
        return name

    def pin(self) -> Pinned:
        """What is committed and what is applied, at one instant."""
        with self.commit_lock, self.lock:
            return Pinned(
                id=self.pins.add(self.manifest),
                partition=self.parts.partition,
                manifest_version=self.manifests.version,
                manifest=self.manifest,
                end_offset=self.next_offset,
            )

    def settle(self, blocks: Iterable[OpenBlock]) -> None:
        """After a commit, or instead of one: the manifest alone says what is live."""
        self.files.settle([block.entry.name for block in blocks])

    def settle_objects(self) -> None:
        with self.lock:
            self.pending_objects.clear()

    def open_output(self, name: str, entry: BlockEntry) -> OpenBlock:
        handle, summary = self.parts.kernels.open_block(str(self.files.path(name)))
        return OpenBlock(entry, handle, summary.tenants)

    def entry(
        self,
        name: str,
        summary: BlockSummary,
        *,
        offsets: tuple[int, int],
        through: int,
        level: int,
    ) -> BlockEntry:
        return BlockEntry(
            name=name,
            min_ns=summary.min_ns,
            max_ns=summary.max_ns,
            offset_first=offsets[0],
            offset_last=offsets[1],
            deletes_through=through,
            level=level,
            sample_count=summary.sample_count,
            byte_count=summary.byte_count,
            resolution_ns=0,
            tenant_count=len(summary.tenants),
        )

    def commit(
        self,
        *,
        add: list[OpenBlock],
        drop: Iterable[str] = (),
        swap: Callable[[], None] = lambda: None,
        flushed: Flushed | None = None,
    ) -> None:
        """Publishes blocks and, after a flush, what else it settled; then reads see them.

        ``swap`` runs in the same instant as reads change over.
        """
        dropped = set(drop)
        with self.commit_lock:
            if self.failure is not None:
                raise Unavailable(f"cannot commit the manifest: {self.failure}")
            with self.lock:
                blocks = {n: b for n, b in self.blocks.items() if n not in dropped}
                blocks |= {block.entry.name: block for block in add}
                following = flushed.next_offset if flushed else self.manifest.next_offset
                kept = [(block.entry, block.tenants) for block in blocks.values()]
                lost = self.quarantine.lost_with_tenants()
                kept += [(entry, tenants) for entry, tenants in lost if entry.name not in dropped]
                past = [delete for delete in self.deletes if delete.offset < following]
                needed = needed_deletes(past, kept)
            manifest = msgspec.structs.replace(
                self.manifest,
                made_at_ns=self.parts.clock.now_ns(),
                blocks=tuple(entry for entry, _ in kept),
                deletes=needed,
                next_offset=following,
                checkpoints=flushed.checkpoints if flushed else self.manifest.checkpoints,
                metadata=flushed.metadata if flushed else self.manifest.metadata,
            )
            try:
                self.manifests.commit(manifest)
            except Fenced as error:
                self.failure = str(error)
                raise
            with self.lock:
                self.manifest = manifest
                self.blocks = blocks
                later = [delete for delete in self.deletes if delete.offset >= following]
                self.deletes = [*needed, *later]
                swap()


def rows_of(deletes: Iterable[DeleteEntry]) -> list[DeleteRow]:
    """As the kernels take them."""
    return [(d.offset, d.tenant, d.matchers, d.min_ns, d.max_ns) for d in deletes]
