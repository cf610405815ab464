"""Opening a store: manifest, checkpoints, blocks, then the log from the manifest's next offset.

Called by the engine. What it does is in the order in which a crash at any point is harmless.
"""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orrery.errors import Corrupt, Invalid
from orrery.store.blocks import BlockFiles
from orrery.store.checkpoint import loaded
from orrery.store.flush import flush
from orrery.store.kernels import AttributesRecord, DeleteRecord, MetadataRecord
from orrery.store.manifest import DeleteEntry, Manifest, ManifestStore
from orrery.store.metadata import Metadata
from orrery.store.pins import Pins
from orrery.store.quarantine import (
    BookStore,
    Quarantine,
    checked_block,
    lose,
    open_quarantine,
)
from orrery.store.state import Parts, State

_BATCH_BYTES = 8 * 1024 * 1024


def recover(parts: Parts, blocks_path: Path) -> State:
    """Takes the partition's epoch and rebuilds the view; bounded in memory by flushing."""
    manifests = ManifestStore(parts.objects, partition=parts.partition)
    manifest = manifests.take_epoch(parts.clock.now_ns())
    table = parts.kernels.series_table()
    state = State(
        parts=parts,
        manifests=manifests,
        manifest=manifest,
        files=BlockFiles(blocks_path, epoch=manifest.epoch, clock=parts.clock, disk=parts.disk),
        table=table,
        head=parts.kernels.head(table),
        metadata=Metadata(per_tenant_max=parts.bounds.metadata_per_tenant_max),
        cancellation=parts.kernels.cancellation(),
        pins=Pins(parts.clock),
        quarantine=Quarantine(BookStore(parts.objects, partition=parts.partition)),
        generation_began_ns=parts.clock.now_ns(),
    )
    _load_objects(state, manifest)
    _open_blocks(state, manifest)
    _replay(state)
    return state


def _load_objects(state: State, manifest: Manifest) -> None:
    series_defined = 0
    for name in manifest.checkpoints:
        content = _object(state, name)
        with _naming(f"read checkpoint {name!r}"):
            series_defined += state.table.load_definitions(content)
    state.checkpoint = loaded(manifest, state, series_defined)
    if manifest.metadata:
        state.metadata.load(_object(state, manifest.metadata), name=manifest.metadata)
    state.metadata_saved = state.metadata.changes


@contextlib.contextmanager
def _naming(what: str) -> Iterator[None]:
    """What the core says of bytes, it says without knowing where they stand."""
    try:
        yield
    except (Corrupt, Invalid) as error:
        raise Corrupt(f"cannot {what}: {error}") from error


def _object(state: State, name: str) -> bytes:
    content = state.parts.objects.get(name)
    if content is None:
        raise Corrupt(f"cannot open the store: object {name!r}, which the manifest lists, is gone")
    return content


def _open_blocks(state: State, manifest: Manifest) -> None:
    open_quarantine(state, {entry.name for entry in manifest.blocks})
    for entry in manifest.blocks:
        try:
            handle, tenants = checked_block(state, entry)
        except Corrupt as error:
            lose(state, entry, error)
        else:
            state.put_block(entry, handle, tenants)
    state.deletes = list(manifest.deletes)


def _replay(state: State) -> None:
    parts, start = state.parts, state.manifest.next_offset
    first, following = parts.log.bounds(parts.partition)
    if first > start:
        raise Corrupt(
            f"cannot open the store: the log begins at record {first}, replay needs record {start}"
        )
    if following < start:
        # Records that were not durable are gone, and blocks hold them: never number them again.
        parts.log.trim(parts.partition, start)
    state.next_offset = state.frozen_through = start
    bytes_max = min(_BATCH_BYTES, parts.bounds.head_bytes_flush // 8)
    for batch in _ahead(_batches(parts.log.read(parts.partition, start), start, bytes_max)):
        _replay_batch(state, batch)
        if state.head.memory_bytes >= parts.bounds.head_bytes_flush:
            flush(state)
    count = state.next_offset - start
    parts.observe("replay_done", {"records": count, "next_offset": state.next_offset})


def _batches(
    records: Iterator[tuple[int, bytes]], offset_wanted: int, bytes_max: int
) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    byte_count = 0
    for offset, record in records:
        if offset != offset_wanted:
            raise Corrupt(
                f"cannot open the store: the log gives record {offset}, replay needs record "
                f"{offset_wanted}"
            )
        offset_wanted += 1
        batch.append(record)
        byte_count += len(record)
        if byte_count >= bytes_max:
            yield batch
            batch, byte_count = [], 0
    if batch:
        yield batch


def _ahead(batches: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    """Reads the next batch while one is replayed."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="replay") as executor:
        upcoming = executor.submit(next, batches, None)
        while (batch := upcoming.result()) is not None:
            upcoming = executor.submit(next, batches, None)
            yield batch


def _replay_batch(state: State, records: list[bytes]) -> None:
    done = 0
    while done < len(records):
        count = state.head.replay_run(records[done:], state.next_offset)
        done += count
        state.next_offset += count
        if done < len(records):
            with _naming(f"replay record {state.next_offset}"):
                _replay_control(state, records[done])
            done += 1
            state.next_offset += 1


def _replay_control(state: State, record: bytes) -> None:
    match state.parts.kernels.decode_control(record):
        case MetadataRecord() | AttributesRecord() as told:
            state.metadata.take(told)
        case DeleteRecord() as delete:
            apply_delete(state, delete, state.next_offset)
        case None:
            state.head.replay(record, state.next_offset)


def apply_delete(state: State, delete: DeleteRecord, offset: int) -> None:
    """Reads see it at once: in the head it removes, in blocks it hides."""
    entry = DeleteEntry(
        offset=offset,
        tenant=delete.tenant,
        matchers=delete.matchers,
        min_ns=delete.min_ns,
        max_ns=delete.max_ns,
        made_at_ns=state.parts.clock.now_ns(),
    )
    with state.lock:
        state.deletes.append(entry)
        state.head.delete(delete.tenant, delete.matchers, delete.min_ns, delete.max_ns, offset)
