"""Where samples that a delete hides still are; the engine hands it out, ``ingest.receipts`` asks.

Live blocks hold them until compaction has rewritten them, files that no reader uses until their
grace is over, and the log until it is trimmed.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orrery.errors import Invalid
from orrery.store.compaction import needs_delete
from orrery.store.kernels import DeleteRow
from orrery.store.manifest import DeleteEntry
from orrery.store.state import OpenBlock, State

if TYPE_CHECKING:
    from orrery.kernels.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Look:
    """``committed_ns`` is when the manifest was made where no live block holds any more what the
    delete hides, else None."""

    block_count: int
    block_bytes: int
    log_bytes: int
    committed_ns: int | None


class Removal:
    def __init__(self, state: State) -> None:
        self._state = state

    def look(self, delete: DeleteRow) -> Look:
        offset = delete[0]
        with self._state.lock:
            manifest, blocks = self._state.manifest, list(self._state.blocks.values())
            lost = self._state.quarantine.lost_with_tenants()
        found = [block.entry for block in _concerned(blocks, delete)]
        # Nobody can say that it is not in there.
        found += [entry for entry, tenants in lost if needs_delete(entry, tenants, _entry(delete))]
        is_out = manifest.next_offset > offset and not found
        return Look(
            block_count=len(found),
            block_bytes=sum(entry.byte_count for entry in found),
            log_bytes=self._log_bytes_before(offset),
            committed_ns=manifest.made_at_ns if is_out else None,
        )

    def unlisted_files(self) -> set[str]:
        """Blocks that no reader uses any more, and that their grace or a backup keeps."""
        with self._state.lock:
            listed = {block.name for block in self._state.manifest.blocks}
        return self._state.files.names() - listed

    def samples_at_most(self, delete: DeleteRow) -> int:
        """All that the tenant has in blocks which the delete may concern, by their own counts."""
        with self._state.lock:
            blocks = list(self._state.blocks.values())
        raw = [block for block in blocks if block.entry.resolution_ns == 0]
        rows = [block.handle.tenant_rows() for block in _concerned(raw, delete)]
        return sum(row[delete[1]]["sample_count"] for row in rows)

    def head_snapshot(self, tenant: str) -> "Snapshot":
        """What is not in blocks yet."""
        with self._state.lock:
            rows, sources = self._state.delete_rows(), self._state.head.sources()
        own = [row for row in rows if row[1] == tenant]
        return self._state.parts.kernels.snapshot(sources, own)

    def _log_bytes_before(self, offset: int) -> int:
        log, partition = self._state.parts.log, self._state.parts.partition
        first, following = log.bounds(partition)
        if offset >= following:
            raise Invalid(f"cannot look for offset {offset}: the log ends at {following}")
        if first >= offset:
            return 0
        # A segment goes as a whole: while it is there, so are the records before.
        return max(1, log.size_bytes(partition, first) - log.size_bytes(partition, offset))


def _concerned(blocks: list[OpenBlock], delete: DeleteRow) -> list[OpenBlock]:
    entry = _entry(delete)
    return [block for block in blocks if needs_delete(block.entry, block.tenants, entry)]


def _entry(delete: DeleteRow) -> DeleteEntry:
    offset, tenant, matchers, min_ns, max_ns = delete
    return DeleteEntry(
        offset=offset,
        tenant=tenant,
        matchers=tuple(matchers),
        min_ns=min_ns,
        max_ns=max_ns,
        made_at_ns=0,
    )
