"""Flush: a frozen generation of the head becomes blocks, one manifest version, a shorter log.

Called by the engine's flush thread, by recovery, and by hand.
"""

from orrery.errors import OrreryError
from orrery.store.checkpoint import write_checkpoint
from orrery.store.kernels import BlockSummary
from orrery.store.manifest import BlockEntry
from orrery.store.outputs import Outputs
from orrery.store.state import Flushed, Frozen, State
from orrery.store.windows import LEVELS_NS, flush_ranges, is_settled, join_settled


def flush_reason(state: State) -> str | None:
    """Why a flush is due now, or None."""
    parts, bounds = state.parts, state.parts.bounds
    if state.frozen:
        return "retry"
    if state.head.memory_bytes >= bounds.head_bytes_flush:
        return "memory"
    if parts.log.size_bytes(parts.partition, state.frozen_through) >= bounds.log_replay_bytes_max:
        return "log"
    closed = (parts.clock.now_ns() - bounds.window_close_margin_ns) // bounds.window_ns
    began = (state.generation_began_ns - bounds.window_close_margin_ns) // bounds.window_ns
    return "window" if closed > began and state.next_offset > state.frozen_through else None


def flush(state: State) -> bool:
    """Writes out all that is applied. False where there was nothing. One caller at a time."""
    flushed = False
    while state.frozen or _freeze(state):
        _flush_frozen(state, state.frozen[0])
        flushed = True
    return flushed


def _freeze(state: State) -> bool:
    with state.apply_lock, state.lock:
        next_offset = state.next_offset
        if next_offset == state.frozen_through:
            return False
        generation = state.head.freeze(next_offset)
        state.frozen.append(Frozen(generation, state.frozen_through, next_offset))
        state.frozen_through = next_offset
        state.generation_began_ns = state.parts.clock.now_ns()
        return True


def _flush_frozen(state: State, frozen: Frozen) -> None:
    began = state.parts.clock.monotonic_seconds()
    outputs = Outputs(state)
    try:
        _write_blocks(state, frozen, outputs)
        checkpoint = write_checkpoint(state, state.checkpoint)
        metadata, changes = _write_metadata(state)
        state.commit(
            add=outputs.blocks,
            swap=lambda: _release(state, frozen),
            flushed=Flushed(frozen.next_offset, checkpoint.names, metadata),
        )
    finally:
        state.settle(outputs.blocks)
        state.settle_objects()
    state.checkpoint = checkpoint
    state.metadata_saved = changes
    seconds = state.parts.clock.monotonic_seconds() - began
    state.parts.observe(
        "flush_done",
        {
            "blocks": len(outputs.blocks),
            "samples": outputs.sample_count,
            "bytes": outputs.byte_count,
            "next_offset": frozen.next_offset,
            "seconds": seconds,
        },
    )
    trim(state, frozen.next_offset)


def _release(state: State, frozen: Frozen) -> None:
    state.frozen.remove(frozen)
    if frozen.generation is not None:
        state.head.release(frozen.generation)


def _write_blocks(state: State, frozen: Frozen, outputs: Outputs) -> None:
    bounds = state.parts.bounds
    time_range = frozen.generation.time_range if frozen.generation is not None else None
    if frozen.generation is None or time_range is None:
        return
    with state.lock:
        deletes = state.delete_rows()
    source = frozen.generation.source()
    now_ns = state.parts.clock.now_ns()
    ranges = flush_ranges(
        *time_range,
        now_ns=now_ns,
        blocks_max=bounds.blocks_per_flush_max,
        window_ns=bounds.window_ns,
    )
    if bounds.block_range_ns_max >= LEVELS_NS[1]:
        ranges = join_settled(ranges, now_ns=now_ns)
    last = frozen.next_offset - 1
    for min_ns, max_ns in ranges:
        # What nothing recent will be merged with is written small at once, not twice.
        small = is_settled(max_ns, now_ns=now_ns)

        def write(
            path: str, min_ns: int = min_ns, max_ns: int = max_ns, small: bool = small
        ) -> BlockSummary | None:
            return state.parts.kernels.write_block(
                [source],
                deletes,
                path,
                min_ns=min_ns,
                max_ns=max_ns,
                keep={},
                small=small,
                offsets=(frozen.offset_first, last),
            )

        def entry_of(name: str, summary: BlockSummary, small: bool = small) -> BlockEntry:
            offsets = (frozen.offset_first, last)
            return state.entry(name, summary, offsets=offsets, through=last, level=int(small))

        outputs.add(write, entry_of)


def _write_metadata(state: State) -> tuple[str, int]:
    changes = state.metadata.changes
    if changes == state.metadata_saved:
        return state.manifest.metadata, changes
    name = state.object_name("metadata", ".json")
    state.parts.objects.put(name, state.metadata.encode())
    return name, changes


def trim(state: State, next_offset: int) -> None:
    with state.lock:
        # A pin taken after this names a manifest that begins at `next_offset` or later.
        offset = state.pins.log_offset(next_offset)
    try:
        state.parts.log.trim(state.parts.partition, offset)
    except OrreryError as error:
        # The next flush trims again; until then the log is only longer than it must be.
        state.parts.observe("log_trim_failed", {"error": str(error)})
