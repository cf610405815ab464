"""The compiled core as the store's ``Kernels``; built by ``app``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orrery.kernels import record as records
from orrery.kernels.block import Block, Source
from orrery.kernels.compaction import BlockSummary as Written
from orrery.kernels.compaction import Cancellation, Delete, write_block
from orrery.kernels.head import Head
from orrery.kernels.lost import lost_source
from orrery.kernels.meter import Meter
from orrery.kernels.rollup_writer import write_rollup
from orrery.kernels.series_table import ResolveBounds, SeriesTable
from orrery.kernels.snapshot import Snapshot
from orrery.store.kernels import (
    AttributesRecord,
    BlockSummary,
    Bounds,
    DeleteRecord,
    DeleteRow,
    KeepRow,
    MetadataRecord,
)

PAGE_SAMPLES = 2048
"""A full page of a block (docs/formats/block.md)."""


class NativeKernels:
    def series_table(self) -> SeriesTable:
        return SeriesTable()

    def resolve_bounds(self, bounds: Bounds) -> ResolveBounds:
        return ResolveBounds(
            time_min_ns=bounds.time_min_ns,
            time_max_ns=bounds.time_max_ns,
            active_series_max=bounds.active_series_max,
            new_series_allowed=bounds.new_series_allowed,
            label_count_max=bounds.label_count_max,
            label_bytes_max=bounds.label_bytes_max,
        )

    def head(self, table: SeriesTable) -> Head:
        return Head(table)

    def open_block(self, path: str) -> tuple[Block, BlockSummary]:
        block = Block.open(Path(path))
        found = block.summary()
        summary = BlockSummary(
            min_ns=found["min_ns"],
            max_ns=found["max_ns"],
            sample_count=found["sample_count"],
            byte_count=found["file_bytes"],
            tenants=block.tenants(),
        )
        return block, summary

    def fills_pages(self, block: Block) -> bool:
        found = block.summary()
        return bool(found["sample_count"] >= PAGE_SAMPLES * found["series_count"])

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
        made = write_block(
            sources,
            [Delete(*row) for row in deletes],
            Path(path),
            min_ns=min_ns,
            max_ns=max_ns,
            keep=keep,
            effort="small" if small else "fast",
            offset_first=offsets[0],
            offset_last=offsets[1],
            cancellation=cancellation,
        )
        return None if made is None else _summary(made)

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
        made = write_rollup(
            raw,
            old,
            [Delete(*row) for row in deletes],
            Path(path),
            resolution_ns=resolution_ns,
            days=days,
            keep=keep,
            offset_last=offset_last,
            cancellation=cancellation,
        )
        return None if made is None else _summary(made)

    def cancellation(self) -> Cancellation:
        return Cancellation()

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
        return lost_source(
            message,
            min_ns=min_ns,
            max_ns=max_ns,
            tenants=tenants,
            order=order,
            deletes_through=deletes_through,
        )

    def snapshot(
        self,
        sources: Sequence[Source],
        deletes: Sequence[DeleteRow],
        *,
        tenant: str | None = None,
        keep: Sequence[KeepRow] = (),
        levels: Sequence[tuple[int, Sequence[tuple[int, int]]]] = (),
    ) -> Snapshot:
        rows = [(offset, owner, list(ms), low, high) for offset, owner, ms, low, high in deletes]
        return Snapshot(
            list(sources),
            rows,
            tenant=tenant,
            keep=[(list(ms), from_ns, coarse) for ms, from_ns, coarse in keep],
            levels=[(resolution_ns, list(covered)) for resolution_ns, covered in levels],
        )

    def series_count(self, snapshot: Snapshot, tenant: str) -> int:
        meter = Meter(samples_max=0, series_max=0, deadline_seconds=None)
        return len(snapshot.select(tenant, [], -(2**63), 2**63 - 1, meter))

    def encode_delete(self, delete: DeleteRecord, epoch: int) -> bytes:
        return records.encode_delete(
            delete.tenant, epoch, list(delete.matchers), delete.min_ns, delete.max_ns
        )

    def encode_metadata(self, metadata: MetadataRecord, epoch: int) -> bytes:
        return records.encode_metadata(metadata.tenant, epoch, list(metadata.rows))

    def encode_attributes(self, attributes: AttributesRecord, epoch: int) -> bytes:
        return records.encode_attributes(attributes.tenant, epoch, list(attributes.rows))

    def decode_control(
        self, record: bytes
    ) -> DeleteRecord | MetadataRecord | AttributesRecord | None:
        match records.record_kind(record):
            case "delete":
                tenant, matchers, min_ns, max_ns = records.decode_delete(record)
                return DeleteRecord(tenant, tuple(matchers), min_ns, max_ns)
            case "metadata":
                tenant, rows = records.decode_metadata(record)
                return MetadataRecord(tenant, tuple(rows))
            case "attributes":
                tenant, described = records.decode_attributes(record)
                found = tuple((series, tuple(pairs)) for series, pairs in described)
                return AttributesRecord(tenant, found)
        return None

    def describe_record(self, record: bytes) -> Mapping[str, object]:
        return records.describe_record(record)


def _summary(made: Written) -> BlockSummary:
    return BlockSummary(
        min_ns=made.min_ns,
        max_ns=made.max_ns,
        sample_count=made.sample_count,
        byte_count=made.file_bytes,
        tenants=frozenset(made.tenants),
    )
