"""What the store asks of the compiled core, as protocols: ``native`` binds the real ones, the
tests' fakes keep everything in plain Python."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    # They only pass through the store, from one kernel to another.
    from orrery.kernels.batch import Batch
    from orrery.kernels.block import Source
    from orrery.kernels.series_table import ResolveBounds
    from orrery.kernels.snapshot import Snapshot

Matchers = tuple[tuple[str, str, str], ...]
"""(label, operator, value)"""

DeleteRow = tuple[int, str, Sequence[tuple[str, str, str]], int, int]
"""(offset, tenant, matchers, min_ns, max_ns), as deletes cross into the core."""

MetadataRow = tuple[str, str, str, str]
"""(name, kind, help, unit)"""


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
class BlockSummary:
    """Of a block that was just written or opened."""

    min_ns: int
    max_ns: int
    sample_count: int
    byte_count: int
    tenants: frozenset[str]


class Block(Protocol):
    def source(self, order: int, deletes_through: int) -> "Source": ...

    def verify(self) -> None:
        """``Corrupt`` where a checksum is wrong."""


class Generation(Protocol):
    """A frozen part of the head."""

    @property
    def time_range(self) -> tuple[int, int] | None: ...

    def source(self) -> "Source": ...


class Resolved(Protocol):
    """A batch as series and columns, on its way to log and head."""

    @property
    def sample_count(self) -> int: ...

    @property
    def rejected(self) -> Sequence[tuple[int, str]]: ...

    @property
    def samples_rejected_count(self) -> int: ...

    @property
    def series_rejected_count(self) -> int: ...

    @property
    def new_series_count(self) -> int: ...

    def record(self, epoch: int) -> bytes: ...


class Bounds(Protocol):
    """What one batch may hold and add. ``label_bytes_max`` is for names and values alike."""

    @property
    def time_min_ns(self) -> int: ...

    @property
    def time_max_ns(self) -> int: ...

    @property
    def active_series_max(self) -> int: ...

    @property
    def new_series_max(self) -> int: ...

    @property
    def label_count_max(self) -> int: ...

    @property
    def label_bytes_max(self) -> int: ...


class Head(Protocol):
    """Locks inside; ``apply``, ``replay``, ``delete`` and ``freeze`` are called in offset order."""

    @property
    def memory_bytes(self) -> int: ...

    @property
    def sample_count(self) -> int: ...

    def apply(self, resolved: Resolved, offset: int) -> None: ...

    def replay(self, record: bytes, offset: int) -> None: ...

    def delete(
        self, tenant: str, matchers: Matchers, min_ns: int, max_ns: int, offset: int
    ) -> None: ...

    def freeze(self, next_offset: int) -> Generation | None: ...

    def release(self, generation: Generation) -> None: ...

    def sources(self) -> "list[Source]": ...


class SeriesTable(Protocol):
    def resolve(
        self,
        tenant: str,
        batch: "Batch",
        *,
        defaults: Sequence[tuple[str, str]],
        forced: Sequence[tuple[str, str]],
        bounds: "ResolveBounds",
    ) -> Resolved: ...

    def definitions(self, since: int) -> tuple[bytes, int]: ...

    def load_definitions(self, content: bytes) -> object: ...

    def forget_definitions(self) -> None: ...

    def sweep(self, idle_before_ns: int) -> int: ...

    def active_series(self, tenant: str) -> int: ...

    @property
    def series_count(self) -> int: ...

    @property
    def memory_bytes(self) -> int: ...


class Kernels(Protocol):
    def series_table(self) -> SeriesTable: ...

    def head(self, table: SeriesTable) -> Head: ...

    def resolve_bounds(self, bounds: Bounds) -> "ResolveBounds": ...

    def open_block(self, path: str) -> tuple[Block, BlockSummary]: ...

    def write_block(
        self,
        sources: "Sequence[Source]",
        deletes: Sequence[DeleteRow],
        path: str,
        *,
        min_ns: int,
        max_ns: int,
        keep_from_ns: Mapping[str, int],
        small: bool,
        offsets: tuple[int, int],
    ) -> BlockSummary | None:
        """Writes and syncs ``path``; None, and no file, where there is nothing to write."""

    def snapshot(self, sources: "Sequence[Source]", deletes: Sequence[DeleteRow]) -> "Snapshot": ...

    def encode_delete(self, delete: DeleteRecord, epoch: int) -> bytes: ...

    def encode_metadata(self, metadata: MetadataRecord, epoch: int) -> bytes: ...

    def decode_control(self, record: bytes) -> DeleteRecord | MetadataRecord | None:
        """None for records that the head replays itself."""

    def describe_record(self, record: bytes) -> Mapping[str, object]:
        """For ``inspect``."""
