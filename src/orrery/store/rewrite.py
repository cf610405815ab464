"""Compaction, retention and physical deletion: carries out the plans of ``compaction``.

Called by the engine's compaction thread and by hand. One caller at a time.
"""

from collections.abc import Callable, Mapping, Sequence

from orrery.store.compaction import (
    Demands,
    Plan,
    expired_entirely,
    expired_partly,
    needs_delete,
    pick,
)
from orrery.store.kernels import BlockSummary, DeleteRow, KeepRow
from orrery.store.manifest import BlockEntry
from orrery.store.outputs import Outputs, replacing
from orrery.store.quarantine import examine
from orrery.store.retention import Policies, floors_ns
from orrery.store.rollups import View, held_rows, is_unwanted, view
from orrery.store.state import Ended, OpenBlock, State

SPARED_MAX = 100_000

Progress = Callable[[str, int, int], None]
"""(what is being done, bytes done, bytes known to be left)"""


def begin_round(state: State) -> None:
    """Of what tenants keep, each is asked about once a round."""
    state.policies = Policies()
    examine(state)
    _drop_expired(state)


def end_round(state: State) -> None:
    _forget_deletes(state)
    state.policies = Policies()


def compact_once(state: State, *, eager: bool = False) -> Plan | None:
    """One rewrite; None where nothing is due. ``eager``: deletes are applied without delay."""
    if state.rewrites_ended:
        raise Ended("cannot compact: the store is closing")
    seen = view(state)
    blocks = [block for block in seen.whole_blocks() if block.entry.resolution_ns == 0]
    plan = pick(
        [block.entry for block in blocks],
        now_ns=state.parts.clock.now_ns(),
        block_bytes_max=state.parts.bounds.block_bytes_max,
        block_range_ns_max=state.parts.bounds.block_range_ns_max,
        demands=_demands(state, seen, blocks, eager=eager),
        held=[entry for entry, _ in seen.damaged.values() if entry.resolution_ns == 0],
    )
    if plan is not None:
        _carry_out(state, plan, held_rows(state, seen))
    return plan


def _drop_expired(state: State) -> None:
    """Lets go of blocks in which every tenant's samples, or rows, are older than it keeps."""
    seen = view(state)
    cuts_ns = floors_ns(held_rows(state, seen))
    names = [
        block.entry.name
        for block in seen.whole_blocks()
        if (
            is_unwanted(block.entry, seen.wishes)
            if block.entry.resolution_ns
            else expired_entirely(block.entry, block.tenants, cuts_ns)
        )
    ]
    if names:
        state.commit(add=[], drop=names)
        state.parts.observe("blocks_expired", {"blocks": len(names)})


def _forget_deletes(state: State) -> None:
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


def _demands(state: State, seen: View, blocks: Sequence[OpenBlock], *, eager: bool) -> Demands:
    rows = held_rows(state, seen)
    cuts_ns = floors_ns(rows)
    delay_ns = 0 if eager else state.parts.bounds.delete_rewrite_after_ns
    before_ns = state.parts.clock.now_ns() - delay_ns
    due = [delete for delete in seen.deletes if delete.made_at_ns <= before_ns]
    return Demands(
        expired=frozenset(
            b.entry.name
            for b in blocks
            if expired_partly(b.entry, b.tenants, cuts_ns) or _has_expired_series(state, b, rows)
        ),
        deleted=frozenset(
            b.entry.name
            for b in blocks
            if any(needs_delete(b.entry, b.tenants, delete) for delete in due)
        ),
        settled=eager,
        unrolled=seen.unrolled(),
        dense=frozenset(b.entry.name for b in blocks if state.parts.kernels.fills_pages(b.handle)),
    )


def _has_expired_series(
    state: State, block: OpenBlock, rows: Mapping[str, Sequence[KeepRow]]
) -> bool:
    """Whether a rule of a tenant keeps nothing of the block, and there are series that it is for.
    What was looked for in vain is remembered: a block does not change."""
    for tenant, own in rows.items():
        if len(own) < 2 or tenant not in block.tenants:
            continue
        for matchers, from_ns, _ in own:
            expired = (block.entry.name, tenant, matchers)
            if block.entry.max_ns >= from_ns or expired in state.spared:
                continue
            if _loses_series(state, block, tenant, own):
                return True
            if len(state.spared) >= SPARED_MAX:
                state.spared.clear()
            state.spared.add(expired)
    return False


def _loses_series(state: State, block: OpenBlock, tenant: str, own: Sequence[KeepRow]) -> bool:
    kernels, sources = state.parts.kernels, state.sources([block])
    whole = kernels.series_count(kernels.snapshot(sources, []), tenant)
    return (
        kernels.series_count(kernels.snapshot(sources, [], tenant=tenant, keep=own), tenant) < whole
    )


def _carry_out(state: State, plan: Plan, keep: Mapping[str, Sequence[KeepRow]]) -> None:
    began = state.parts.clock.monotonic_seconds()
    with state.lock:
        inputs = [state.blocks[entry.name] for entry in plan.inputs]
        deletes = state.delete_rows()
        # A delete is listed before it counts as applied, so all up to here are in `deletes`.
        through = max([delete.offset for delete in state.deletes], default=0)
    through = max(through, *(entry.deletes_through for entry in plan.inputs))
    with replacing(state, plan.inputs, verb="compact") as outputs:
        _write_outputs(state, plan, keep, inputs, deletes, through, outputs)
    state.parts.observe(
        "compaction_done",
        {
            "reason": plan.reason,
            "inputs": len(inputs),
            "outputs": len(outputs.blocks),
            "bytes_in": sum(entry.byte_count for entry in plan.inputs),
            "bytes_out": outputs.byte_count,
            "seconds": state.parts.clock.monotonic_seconds() - began,
        },
    )


def _write_outputs(
    state: State,
    plan: Plan,
    keep: Mapping[str, Sequence[KeepRow]],
    inputs: list[OpenBlock],
    deletes: list[DeleteRow],
    through: int,
    outputs: Outputs,
) -> None:
    sources = state.sources(inputs)
    offsets = (
        min(entry.offset_first for entry in plan.inputs),
        max(entry.offset_last for entry in plan.inputs),
    )

    def entry_of(name: str, summary: BlockSummary) -> BlockEntry:
        return state.entry(name, summary, offsets=offsets, through=through, level=plan.level)

    for min_ns, max_ns in plan.ranges:

        def write(path: str, min_ns: int = min_ns, max_ns: int = max_ns) -> BlockSummary | None:
            return state.parts.kernels.write_block(
                sources,
                deletes,
                path,
                min_ns=min_ns,
                max_ns=max_ns,
                keep=keep,
                small=True,
                offsets=offsets,
                cancellation=state.cancellation,
            )

        outputs.add(write, entry_of)
