"""Compaction, retention and physical deletion: carries out the plans of ``compaction``.

Called by the engine's compaction thread and by hand. One caller at a time.
"""

from collections.abc import Callable, Sequence

from orrery.errors import Corrupt, Unavailable
from orrery.store.compaction import (
    Demands,
    Plan,
    expired_entirely,
    expired_partly,
    needs_delete,
    pick,
)
from orrery.store.kernels import BlockSummary, DeleteRow
from orrery.store.manifest import DeleteEntry
from orrery.store.quarantine import suspect
from orrery.store.state import Ended, OpenBlock, State

Progress = Callable[[str, int, int], None]
"""(what is being done, bytes done, bytes known to be left)"""


def compact_once(state: State, *, eager: bool = False) -> Plan | None:
    """One rewrite; None where nothing is due. ``eager``: deletes are applied without delay."""
    if state.rewrites_ended:
        raise Ended("cannot compact: the store is closing")
    with state.lock:
        blocks, deletes = state.whole_blocks(), list(state.deletes)
        held = [e for e in state.manifest.blocks if e.name in state.quarantine.held]
    # Not under the lock: what thousands of tenants keep may have to be read first.
    demands = _demands(state, blocks, deletes, eager=eager)
    plan = pick(
        [block.entry for block in blocks],
        now_ns=state.parts.clock.now_ns(),
        block_bytes_max=state.parts.bounds.block_bytes_max,
        block_range_ns_max=state.parts.bounds.block_range_ns_max,
        demands=demands,
        held=held,
    )
    if plan is not None:
        try:
            _carry_out(state, plan)
        except Corrupt as error:
            suspect(state, error)
            raise
    return plan


def drop_expired(state: State) -> list[str]:
    """Lets go of blocks in which every tenant's samples are older than it keeps."""
    with state.lock:
        blocks = state.whole_blocks()
    cuts_ns = state.cuts_ns({tenant for block in blocks for tenant in block.tenants})
    names = [b.entry.name for b in blocks if expired_entirely(b.entry, b.tenants, cuts_ns)]
    if names:
        state.commit(add=[], drop=names)
        state.parts.observe("blocks_expired", {"blocks": len(names)})
    return names


def forget_deletes(state: State) -> None:
    """Commits once where the manifest lists deletes that no block needs any more."""
    with state.lock:
        kept = [(block.entry, block.tenants) for block in state.blocks.values()]
        kept += state.quarantine.lost_with_tenants()
        needed = [
            any(needs_delete(entry, tenants, delete) for entry, tenants in kept)
            for delete in state.manifest.deletes
        ]
    if not all(needed):
        state.commit(add=[])


def _demands(
    state: State, blocks: Sequence[OpenBlock], deletes: Sequence[DeleteEntry], *, eager: bool
) -> Demands:
    cuts_ns = state.cuts_ns({tenant for block in blocks for tenant in block.tenants})
    delay_ns = 0 if eager else state.parts.bounds.delete_rewrite_after_ns
    before_ns = state.parts.clock.now_ns() - delay_ns
    due = [delete for delete in deletes if delete.made_at_ns <= before_ns]
    return Demands(
        expired=frozenset(
            b.entry.name for b in blocks if expired_partly(b.entry, b.tenants, cuts_ns)
        ),
        deleted=frozenset(
            b.entry.name
            for b in blocks
            if any(needs_delete(b.entry, b.tenants, delete) for delete in due)
        ),
        settled=eager,
    )


def _carry_out(state: State, plan: Plan) -> None:
    began = state.parts.clock.monotonic_seconds()
    with state.lock:
        inputs = [state.blocks[entry.name] for entry in plan.inputs]
        deletes = state.delete_rows()
        # A delete is listed before it counts as applied, so all up to here are in `deletes`.
        through = max([delete.offset for delete in state.deletes], default=0)
    through = max(through, *(entry.deletes_through for entry in plan.inputs))
    outputs: list[OpenBlock] = []
    try:
        _write_outputs(state, plan, inputs, deletes, through, outputs)
        state.commit(add=outputs, drop=[entry.name for entry in plan.inputs])
    except Unavailable as error:
        if state.rewrites_ended:
            raise Ended(f"cannot compact: the store is closing: {error}") from error
        raise
    finally:
        state.settle(outputs)
    state.parts.observe(
        "compaction_done",
        {
            "reason": plan.reason,
            "inputs": len(inputs),
            "outputs": len(outputs),
            "bytes_in": sum(entry.byte_count for entry in plan.inputs),
            "bytes_out": sum(block.entry.byte_count for block in outputs),
            "seconds": state.parts.clock.monotonic_seconds() - began,
        },
    )


def _write_outputs(
    state: State,
    plan: Plan,
    inputs: list[OpenBlock],
    deletes: list[DeleteRow],
    through: int,
    outputs: list[OpenBlock],
) -> None:
    """Appends to ``outputs`` as it goes: what was written before an error is settled, too."""
    tenants = {tenant for block in inputs for tenant in block.tenants}
    keep_from_ns = state.cuts_ns(tenants)
    sources = state.sources(inputs)
    offsets = (
        min(entry.offset_first for entry in plan.inputs),
        max(entry.offset_last for entry in plan.inputs),
    )
    for min_ns, max_ns in plan.ranges:

        def write(path: str, min_ns: int = min_ns, max_ns: int = max_ns) -> BlockSummary | None:
            return state.parts.kernels.write_block(
                sources,
                deletes,
                path,
                min_ns=min_ns,
                max_ns=max_ns,
                keep_from_ns=keep_from_ns,
                small=True,
                offsets=offsets,
                cancellation=state.cancellation,
            )

        made = state.files.create(write)
        if made is not None:
            name, summary = made
            entry = state.entry(name, summary, offsets=offsets, through=through, level=plan.level)
            outputs.append(state.open_output(name, entry))
