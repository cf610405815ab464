"""Opening a store: manifest, checkpoints, blocks, then the log from the manifest's next offset.

Called by the engine. What it does is in the order in which a crash at any point is harmless.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from orrery.errors import Corrupt, Invalid
from orrery.store.blocks import BlockFiles
from orrery.store.flush import flush
from orrery.store.kernels import DeleteRecord, MetadataRecord
from orrery.store.manifest import DeleteEntry, Manifest, ManifestStore, check_files
from orrery.store.metadata import Metadata
from orrery.store.pins import Pins
from orrery.store.state import OpenBlock, Parts, State

# `definitions` from here on are none; it answers where the sequence stands.
_NO_DEFINITIONS = 2**63 - 1


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
        generation_began_ns=parts.clock.now_ns(),
    )
    _load_objects(state, manifest)
    _open_blocks(state, manifest)
    _replay(state)
    return state


def _load_objects(state: State, manifest: Manifest) -> None:
    for name in manifest.checkpoints:
        content = _object(state, name)
        with _naming(f"read checkpoint {name!r}"):
            state.table.load_definitions(content)
    if manifest.metadata:
        state.metadata.load(_object(state, manifest.metadata), name=manifest.metadata)
    _, state.checkpoint_since = state.table.definitions(_NO_DEFINITIONS)
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
    check_files(manifest, lambda name: state.files.path(name).exists())
    for entry in manifest.blocks:
        path = state.files.path(entry.name)
        handle, summary = state.parts.kernels.open_block(str(path))
        if summary.byte_count != entry.byte_count:
            raise Corrupt(
                f"cannot open block {str(path)!r}: it has {summary.byte_count} bytes, the "
                f"manifest says {entry.byte_count}"
            )
        state.blocks[entry.name] = OpenBlock(entry, handle, summary.tenants)
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
    count = 0
    for offset, record in parts.log.read(parts.partition, start):
        if offset != state.next_offset:
            raise Corrupt(
                f"cannot open the store: the log gives record {offset}, replay needs record "
                f"{state.next_offset}"
            )
        with _naming(f"replay record {offset}"):
            _replay_record(state, record, offset)
        state.next_offset = offset + 1
        count += 1
        if state.head.memory_bytes >= parts.bounds.head_bytes_flush:
            flush(state)
    parts.observe("replay_done", {"records": count, "next_offset": state.next_offset})


def _replay_record(state: State, record: bytes, offset: int) -> None:
    control = state.parts.kernels.decode_control(record)
    match control:
        case None:
            state.head.replay(record, offset)
        case MetadataRecord():
            state.metadata.put(control.tenant, control.rows)
        case DeleteRecord():
            apply_delete(state, control, offset)


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
