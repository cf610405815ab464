"""Roll-ups: carries out the plans of ``rollup_plan``, and says what reads may use of them.

Called by the engine's compaction thread, by hand, and by its snapshots.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orrery.store.bounds import DAY_NS, MINUTE_NS
from orrery.store.kernels import BlockSummary, KeepRow
from orrery.store.manifest import BlockEntry, DeleteEntry
from orrery.store.outputs import replacing
from orrery.store.retention import Policy, held, kept, wanted_from_ns
from orrery.store.rollup_plan import (
    Block,
    RollupPlan,
    Wishes,
    joined,
    levels_of,
    pick_rollup,
    unrolled_blocks,
    unrolled_from,
    whole_days,
)
from orrery.store.state import Ended, Levels, OpenBlock, State, rows_of
from orrery.store.windows import Range

CLOSE_MARGIN_NS = 30 * MINUTE_NS
"""A day is rolled up so long after its last window of the head could be flushed."""

LEVELS_CACHED_MAX = 1024
_TIME_MAX_NS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class View:
    """What is decided upon, as it was at one moment."""

    blocks: tuple[OpenBlock, ...]
    damaged: Mapping[str, tuple[BlockEntry, Collection[str]]]
    """Those in quarantine by name, with their tenants: they stay as they are, and so do the days
    they meet, whether they can be opened, and are among ``blocks``, or not."""
    deletes: tuple[DeleteEntry, ...]
    next_offset: int
    policies: Mapping[str, Policy]
    wishes: Mapping[int, Wishes]

    def whole_blocks(self) -> list[OpenBlock]:
        """Those that may be rewritten or let go of."""
        return [block for block in self.blocks if block.entry.name not in self.damaged]

    def raw(self) -> list[Block]:
        """With those of their tenants that are rolled up at all."""
        wished = frozenset(t for wishes in self.wishes.values() for t in wishes.tenants)
        if not wished:
            return []
        found = [(block.entry, block.tenants) for block in self.blocks]
        found += self._lost()
        return [
            Block(entry, frozenset(tenant for tenant in wished if tenant in tenants))
            for entry, tenants in found
            if entry.resolution_ns == 0
        ]

    def blocked(self) -> list[Range]:
        """Days of which it is not known what they hold."""
        return joined(whole_days(entry.min_ns, entry.max_ns) for entry, _ in self.damaged.values())

    def coarse(self, resolution_ns: int) -> list[Block]:
        return [
            Block(block.entry, frozenset(block.tenants))
            for block in self.blocks
            if block.entry.resolution_ns == resolution_ns
        ]

    def unrolled(self) -> frozenset[str]:
        entries = [block.entry for block in self.blocks] + [entry for entry, _ in self._lost()]
        return unrolled_blocks(entries, self.wishes)

    def _lost(self) -> list[tuple[BlockEntry, Collection[str]]]:
        opened = {block.entry.name for block in self.blocks}
        return [found for name, found in self.damaged.items() if name not in opened]


def view(state: State) -> View:
    with state.lock:
        blocks, deletes = tuple(state.blocks.values()), tuple(state.deletes)
        next_offset = state.manifest.next_offset
        damaged = {
            entry.name: (entry, state.quarantine.tenants_of(entry.name))
            for entry in state.manifest.blocks
            if entry.name in state.quarantine.held
        }
    # Not under the lock: what thousands of tenants keep may have to be read first.
    policies = _policies(state, blocks)
    lost = [tenants for _, tenants in damaged.values()]
    holders = [*(block.tenants for block in blocks), *lost]
    wishes = _wishes(state, policies, holders)
    return View(blocks, damaged, deletes, next_offset, policies, wishes)


def _policies(state: State, blocks: Sequence[OpenBlock]) -> Mapping[str, Policy]:
    """Of the tenants in ``blocks``; who keeps all may be missing."""
    known = state.policies
    fresh = [block for block in blocks if block.entry.name not in known.blocks]
    if fresh:
        known.found |= state.parts.retention.each(
            lambda: {tenant for block in fresh for tenant in block.tenants}, known.found.keys()
        )
        known.blocks.update(block.entry.name for block in fresh)
    return known.found


def _wishes(
    state: State, policies: Mapping[str, Policy], holders: Sequence[Collection[str]]
) -> dict[int, Wishes]:
    """Of tenants that some block holds anything of: no other may keep coarse blocks for ever."""
    now_ns = state.parts.clock.now_ns()
    tenants: dict[int, set[str]] = {}
    from_ns: dict[int, int] = {}
    for tenant, policy in policies.items():
        if not policy.resolutions_ns or not any(tenant in own for own in holders):
            continue
        rows = kept(policy, now_ns)
        for resolution_ns in policy.resolutions_ns:
            tenants.setdefault(resolution_ns, set()).add(tenant)
            times = [wanted_from_ns(row, resolution_ns) for row in rows]
            oldest_ns = min(time_ns for time_ns in times if time_ns is not None)
            from_ns[resolution_ns] = min(oldest_ns, from_ns.get(resolution_ns, oldest_ns))
    return {
        resolution_ns: Wishes(resolution_ns, frozenset(own), from_ns[resolution_ns])
        for resolution_ns, own in sorted(tenants.items())
    }


def held_rows(state: State, seen: View) -> dict[str, list[KeepRow]]:
    """From when on each tenant's samples stay on the disk; who keeps all is not in it."""
    unrolled_ns, raw = _TIME_MAX_NS, seen.raw()
    for resolution_ns, wishes in seen.wishes.items():
        coarse = seen.coarse(resolution_ns)
        unrolled_ns = min(unrolled_ns, unrolled_from(raw, coarse, wishes, seen.deletes))
    if seen.wishes:
        heads = [source.time_range for source in state.head.sources()]
        unrolled_ns = min([unrolled_ns, *(own[0] for own in heads if own is not None)])
    now_ns = state.parts.clock.now_ns()
    return {
        tenant: held(policy, now_ns, unrolled_ns=unrolled_ns)
        for tenant, policy in seen.policies.items()
        if policy.rules
    }


def roll_up_once(state: State, *, eager: bool = False) -> RollupPlan | None:
    """One coarse block; None where nothing is due. ``eager``: deletes are applied without delay."""
    if state.rewrites_ended:
        raise Ended("cannot roll up: the store is closing")
    seen = view(state)
    now_ns, bounds = state.parts.clock.now_ns(), state.parts.bounds
    before_ns = now_ns - (0 if eager else bounds.delete_rewrite_after_ns)
    due = [delete for delete in seen.deletes if delete.made_at_ns <= before_ns]
    margin_ns = bounds.window_ns + bounds.window_close_margin_ns + CLOSE_MARGIN_NS
    closed_ns = (now_ns - margin_ns) // DAY_NS * DAY_NS
    raw = seen.raw()
    for resolution_ns, wishes in seen.wishes.items():
        plan = pick_rollup(
            raw,
            seen.coarse(resolution_ns),
            wishes,
            deletes=seen.deletes,
            due=due,
            closed_ns=closed_ns,
            blocked=seen.blocked(),
        )
        if plan is not None:
            _carry_out(state, seen, plan)
            return plan
    return None


def is_unwanted(entry: BlockEntry, wishes: Mapping[int, Wishes]) -> bool:
    """Whether no tenant keeps a row of a coarse block."""
    own = wishes.get(entry.resolution_ns)
    return own is None or entry.max_ns < own.from_ns


def levels(state: State, tenant: str, policy: Policy) -> Levels:
    """What coarse data a tenant's reads may use; remembered until the next commit."""
    with state.lock:
        manifest, blocks = state.manifest, list(state.blocks.values())
    found = state.levels.get(tenant)
    if found is not None and found[0] is manifest and found[1] == policy.resolutions_ns:
        return found[2]
    own = [block.entry for block in blocks if tenant in block.tenants]
    made = levels_of(tenant, own, policy.resolutions_ns)
    if len(state.levels) >= LEVELS_CACHED_MAX:
        state.levels.clear()
    state.levels[tenant] = (manifest, policy.resolutions_ns, made)
    return made


def _carry_out(state: State, seen: View, plan: RollupPlan) -> None:
    began = state.parts.clock.monotonic_seconds()
    through = max(
        [delete.offset for delete in seen.deletes] + [entry.deletes_through for entry in plan.old],
        default=0,
    )
    with replacing(state, plan.old, verb="roll up") as outputs:
        outputs.add(
            lambda path: _write(state, seen, plan, path),
            lambda name, summary: _entry(name, summary, plan, seen.next_offset - 1, through),
        )
    state.parts.observe(
        "rollup_done",
        {
            "reason": plan.reason,
            "resolution_seconds": plan.resolution_ns // 10**9,
            "days": sum((high - low) // DAY_NS + 1 for low, high in plan.days),
            "inputs": len(plan.old),
            "rows": outputs.sample_count,
            "bytes_out": outputs.byte_count,
            "seconds": state.parts.clock.monotonic_seconds() - began,
        },
    )


def _write(state: State, seen: View, plan: RollupPlan, path: str) -> BlockSummary | None:
    by_name = {block.entry.name: block for block in seen.blocks}
    rows = held_rows(state, seen)
    return state.parts.kernels.write_rollup(
        state.sources(_named(by_name, plan.raw)),
        state.sources(_named(by_name, plan.old)),
        rows_of(seen.deletes),
        path,
        resolution_ns=plan.resolution_ns,
        days=plan.days,
        keep=rows,
        offset_last=seen.next_offset - 1,
        cancellation=state.cancellation,
    )


def _named(blocks: Mapping[str, OpenBlock], entries: Iterable[BlockEntry]) -> Sequence[OpenBlock]:
    return [blocks[entry.name] for entry in entries]


def _entry(
    name: str, summary: BlockSummary, plan: RollupPlan, offset_last: int, through: int
) -> BlockEntry:
    return BlockEntry(
        name=name,
        min_ns=plan.coverage[0],
        max_ns=plan.coverage[1],
        offset_first=0,
        offset_last=offset_last,
        deletes_through=through,
        level=1,
        sample_count=summary.sample_count,
        byte_count=summary.byte_count,
        resolution_ns=plan.resolution_ns,
        tenant_count=len(summary.tenants),
    )
