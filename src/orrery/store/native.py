"""The compiled core as the store's ``Kernels``; built by ``app``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orrery.kernels import record as records
from orrery.kernels.block import Block, Source
from orrery.kernels.compaction import Cancellation, Delete, write_block
from orrery.kernels.head import Head
from orrery.kernels.lost import lost_source
from orrery.kernels.series_table import ResolveBounds, SeriesTable
from orrery.kernels.snapshot import Snapshot
from orrery.store.kernels import BlockSummary, Bounds, DeleteRecord, DeleteRow, MetadataRecord


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

    def write_block(
        self,
        sources: Sequence[Source],
        deletes: Sequence[DeleteRow],
        path: str,
        *,
        min_ns: int,
        max_ns: int,
        keep_from_ns: Mapping[str, int],
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
            keep_from_ns=keep_from_ns,
            effort="small" if small else "fast",
            offset_first=offsets[0],
            offset_last=offsets[1],
            cancellation=cancellation,
        )
        if made is None:
            return None
        return BlockSummary(
            min_ns=made.min_ns,
            max_ns=made.max_ns,
            sample_count=made.sample_count,
            byte_count=made.file_bytes,
            tenants=frozenset(made.tenants),
        )

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

    def snapshot(self, sources: Sequence[Source], deletes: Sequence[DeleteRow]) -> Snapshot:
        rows = [(offset, tenant, list(ms), low, high) for offset, tenant, ms, low, high in deletes]
        return Snapshot(list(sources), rows)

    def encode_delete(self, delete: DeleteRecord, epoch: int) -> bytes:
        return records.encode_delete(
            delete.tenant, epoch, list(delete.matchers), delete.min_ns, delete.max_ns
        )

    def encode_metadata(self, metadata: MetadataRecord, epoch: int) -> bytes:
        return records.encode_metadata(metadata.tenant, epoch, list(metadata.rows))

    def decode_control(self, record: bytes) -> DeleteRecord | MetadataRecord | None:
        match records.record_kind(record):
            case "delete":
                tenant, matchers, min_ns, max_ns = records.decode_delete(record)
                return DeleteRecord(tenant, tuple(matchers), min_ns, max_ns)
            case "metadata":
                tenant, rows = records.decode_metadata(record)
                return MetadataRecord(tenant, tuple(rows))
        return None

    def describe_record(self, record: bytes) -> Mapping[str, object]:
        return records.describe_record(record)
