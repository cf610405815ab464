"""What the store asks of the compiled core: ``native`` binds it, the tests have a fake of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orrery.kernels.block import Block, Source
from orrery.kernels.compaction import Cancellation
from orrery.kernels.head import Generation, Head
from orrery.kernels.series_table import ResolveBounds, Resolved, SeriesTable
from orrery.kernels.snapshot import Snapshot

__all__ = [
    "AttributesRecord",
    "AttributesRow",
    "Block",
    "BlockSummary",
    "Bounds",
    "Cancellation",
    "DeleteRecord",
    "DeleteRow",
    "Generation",
    "Head",
    "KeepRow",
    "Kernels",
    "Matchers",
    "MetadataRecord",
    "MetadataRow",
    "ResolveBounds",
    "Resolved",
    "SeriesTable",
    "Snapshot",
    "Source",
]

Matchers = tuple[tuple[str, str, str], ...]
"""(label, operator, value)"""

DeleteRow = tuple[int, str, Sequence[tuple[str, str, str]], int, int]
"""(offset, tenant, matchers, min_ns, max_ns), as deletes cross into the core."""

KeepRow = tuple[Matchers, int, list[tuple[int, int]]]
"""A rule of retention, of which the first that matches holds: (matchers, from when on samples are
kept, [(resolution, from when on its buckets are)])."""

MetadataRow = tuple[str, str, str, str]
"""(name, kind, help, unit)"""


AttributesRow = tuple[bytes, tuple[tuple[str, str], ...]]
"""(canonical bytes of a series, pairs of name and value)"""


@dataclass(frozen=True, slots=True)
class DeleteRecord:
    tenant: str
    matchers: Matchers
    min_ns: int
    max_ns: int


@dataclass(frozen=True, slots=True)
class MetadataRecord:
    tenant: str
    rows: tuple[MetadataRow, ...]


@dataclass(frozen=True, slots=True)
class AttributesRecord:
    """What is said of series beside their identity; a row without pairs forgets what was."""

    tenant: str
    rows: tuple[AttributesRow, ...]


@dataclass(frozen=True, slots=True)
class BlockSummary:
    """Of a block that was just written or opened."""

    min_ns: int
    max_ns: int
    sample_count: int
    byte_count: int
    tenants: Collection[str]


class Bounds(Protocol):
    """What one batch may hold and add. ``label_bytes_max`` is for names and values alike."""

    @property
    def time_min_ns(self) -> int: ...

    @property
    def time_max_ns(self) -> int: ...

    @property
    def active_series_max(self) -> int: ...

    @property
    def new_series_allowed(self) -> bool: ...

    @property
    def label_count_max(self) -> int: ...

    @property
    def label_bytes_max(self) -> int: ...


class Kernels(Protocol):
    def series_table(self) -> SeriesTable: ...

    def head(self, table: SeriesTable) -> Head: ...

    def resolve_bounds(self, bounds: Bounds) -> ResolveBounds: ...

    def open_block(self, path: str) -> tuple[Block, BlockSummary]: ...

    def fills_pages(self, block: Block) -> bool:
        """Whether its series have on average as many samples as one page takes."""

    def write_block(
        self,
        sources: Sequence[Source],
        deletes: Sequence[DeleteRow],
        path: str,
        *,
        min_ns: int,
        max_ns: int,
        keep: Mapping[str, Sequence[KeepRow]],
        small: bool,
        offsets: tuple[int, int],
        cancellation: Cancellation | None = None,
    ) -> BlockSummary | None:
        """Writes and syncs ``path``; None, and no file, where there is nothing to write."""

    def write_rollup(
        self,
        raw: Sequence[Source],
        old: Sequence[Source],
        deletes: Sequence[DeleteRow],
        path: str,
        *,
        resolution_ns: int,
        days: Sequence[tuple[int, int]],
        keep: Mapping[str, Sequence[KeepRow]],
        offset_last: int,
        cancellation: Cancellation | None = None,
    ) -> BlockSummary | None:
        """Writes and syncs a coarse block: ``days`` from samples, the rest from the rows of
        ``old``. It names every tenant it looked at; None where there was none."""

    def cancellation(self) -> Cancellation:
        """Stops the ``write_block`` it was given to, from any thread."""

    def lost_source(
        self,
        message: str,
        *,
        min_ns: int,
        max_ns: int,
        tenants: Sequence[str] | None,
        order: int,
        deletes_through: int,
    ) -> Source:
        """``Corrupt``, with the message, for reads that meet the range."""

    def snapshot(
        self,
        sources: Sequence[Source],
        deletes: Sequence[DeleteRow],
        *,
        tenant: str | None = None,
        keep: Sequence[KeepRow] = (),
        levels: Sequence[tuple[int, Sequence[tuple[int, int]]]] = (),
    ) -> Snapshot:
        """``keep`` and ``levels`` (where each resolution stands for the samples) are the
        tenant's."""

    def series_count(self, snapshot: Snapshot, tenant: str) -> int:
        """Of which anything is left."""

    def encode_delete(self, delete: DeleteRecord, epoch: int) -> bytes: ...

    def encode_metadata(self, metadata: MetadataRecord, epoch: int) -> bytes: ...

    def encode_attributes(self, attributes: AttributesRecord, epoch: int) -> bytes: ...

    def decode_control(
        self, record: bytes
    ) -> DeleteRecord | MetadataRecord | AttributesRecord | None:
        """None for records that the head replays itself."""

    def describe_record(self, record: bytes) -> Mapping[str, object]:
        """For ``inspect``."""
