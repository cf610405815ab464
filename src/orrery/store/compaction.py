"""Which blocks to merge, cut or drop next: pure decisions over block entries.

The order of two sources decides which of two samples at one instant wins, and the order of a
merged block is the greatest of its inputs. So a merge may take only blocks that lie on the same
side, in that order, of every block left out that overlaps them in time.
"""

import itertools
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from orrery.store.manifest import BlockEntry, DeleteEntry
from orrery.store.windows import CLOSE_MARGIN_NS, LEVELS_NS, Range, is_settled, level_of, split

_SMALL_BYTES = 1024 * 1024
_COUNT_FULL = 4
_COUNT_OPEN_WINDOW = 8
# Above this level a block would outlive retention for long: only many of them are merged.
_LEVEL_LONG = 3
# Up to here all are merged; above it those whose series have few samples, of which a series' own
# entry in each block is a large part.
_LEVEL_DENSE = 2
_RATIO_MAX = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """Rewrite ``inputs`` into one block a range; ``level`` is what the outputs are marked with."""

    inputs: tuple[BlockEntry, ...]
    ranges: tuple[Range, ...]
    level: int
    reason: str


@dataclass(frozen=True, slots=True)
class Demands:
    """What beside merging asks for a rewrite: names of blocks with expired tenants or with
    samples that a delete hides. ``settled`` also wants every block written small, whatever its
    age. Blocks that are ``unrolled`` are merged with no other; ``dense`` ones not over many days:
    their series fill pages, and a wider block would not be smaller for it."""

    expired: Collection[str] = frozenset()
    deleted: Collection[str] = frozenset()
    settled: bool = False
    unrolled: frozenset[str] = frozenset()
    dense: frozenset[str] = frozenset()


def pick(
    blocks: Sequence[BlockEntry],
    *,
    now_ns: int,
    block_bytes_max: int,
    demands: Demands,
    block_range_ns_max: int = LEVELS_NS[-1],
    held: Sequence[BlockEntry] = (),
) -> Plan | None:
    """The next rewrite, or None where all is settled. Blocks that are ``held`` stay as they are,
    and on their side of every merge.

    Demands come first: a stream of small flushes always has something to merge.
    """
    plan = _pick_demanded(blocks, demands)
    if plan is not None:
        return plan
    for level, width_ns in enumerate(LEVELS_NS):
        if width_ns > block_range_ns_max:
            break
        plan = _pick_merge(
            blocks,
            level,
            now_ns=now_ns,
            block_bytes_max=block_bytes_max,
            held=held,
            apart=demands.unrolled | (demands.dense if level > _LEVEL_DENSE else frozenset()),
        )
        if plan is not None:
            return plan
    return _pick_single(blocks, now_ns=now_ns, settled=demands.settled)


def safe_groups(
    candidates: Sequence[BlockEntry], others: Iterable[BlockEntry]
) -> list[list[BlockEntry]]:
    """Candidates in groups that may be merged whole, each in order; see the module's docstring."""
    if not candidates:
        return []
    min_ns = min(block.min_ns for block in candidates)
    max_ns = max(block.max_ns for block in candidates)
    blockers = [b.offset_last for b in others if b.min_ns <= max_ns and b.max_ns >= min_ns]
    groups: dict[tuple[bool, ...], list[BlockEntry]] = defaultdict(list)
    for block in sorted(candidates, key=lambda block: (block.offset_last, block.min_ns)):
        # A tie is a piece of the same flush, reaching elsewhere: it has no side.
        if block.offset_last not in blockers:
            groups[tuple(block.offset_last > last for last in blockers)].append(block)
    return list(groups.values())


def _pick_merge(
    blocks: Sequence[BlockEntry],
    level: int,
    *,
    now_ns: int,
    block_bytes_max: int,
    held: Sequence[BlockEntry],
    apart: frozenset[str],
) -> Plan | None:
    width = LEVELS_NS[level]
    windows: dict[int, list[BlockEntry]] = defaultdict(list)
    for block in blocks:
        if block.min_ns // width == block.max_ns // width and block.name not in apart:
            windows[block.min_ns // width].append(block)
    for window, inside in sorted(windows.items(), reverse=True):
        if len(inside) < 2:
            continue
        chosen = {block.name for block in inside}
        closed = (window + 1) * width + CLOSE_MARGIN_NS <= now_ns
        for group in safe_groups(inside, [*(b for b in blocks if b.name not in chosen), *held]):
            part = _within_bytes(group, block_bytes_max)
            if _is_worth(part, level, closed=closed):
                hull = (min(b.min_ns for b in part), max(b.max_ns for b in part))
                return Plan(tuple(part), (hull,), max(1, level), "merge")
    return None


def _within_bytes(group: list[BlockEntry], block_bytes_max: int) -> list[BlockEntry]:
    """The first run of neighbours in order that fits; pieces of one flush stay together."""
    run: list[BlockEntry] = []
    for _, pieces in itertools.groupby(group, key=lambda block: block.offset_last):
        unit = list(pieces)
        if sum(block.byte_count for block in [*run, *unit]) <= block_bytes_max:
            run += unit
        elif len(run) >= 2:
            break
        else:
            fits = sum(block.byte_count for block in unit) <= block_bytes_max
            run = unit if fits else []
    return run


def _is_worth(part: list[BlockEntry], level: int, *, closed: bool) -> bool:
    """Bounds how often a sample is rewritten: the inputs must be of similar size, or tiny."""
    if len(part) < 2:
        return False
    sizes = sorted(block.byte_count for block in part)
    similar = sizes[-1] <= _RATIO_MAX * sum(sizes[:-1]) or sum(sizes) <= _SMALL_BYTES
    if level > _LEVEL_LONG or not closed:
        return similar and len(part) >= _COUNT_OPEN_WINDOW
    return similar


def _pick_demanded(blocks: Sequence[BlockEntry], demands: Demands) -> Plan | None:
    for names, reason in ((demands.expired, "retention"), (demands.deleted, "delete")):
        for block in blocks:
            if block.name in names:
                return _alone(block, reason)
    return None


def _pick_single(blocks: Sequence[BlockEntry], *, now_ns: int, settled: bool) -> Plan | None:
    for block in blocks:
        if level_of(block.min_ns, block.max_ns) == len(LEVELS_NS):
            ranges = split(block.min_ns, block.max_ns, LEVELS_NS[-1])
            return Plan((block,), tuple(ranges), max(1, block.level), "split")
    for block in blocks:
        # A flush writes fast; what nothing will be merged with any more is written small once.
        is_old = is_settled(block.max_ns, now_ns=now_ns)
        if block.level == 0 and (settled or is_old):
            return _alone(block, "settle")
    return None


def _alone(block: BlockEntry, reason: str) -> Plan:
    level = max(1, block.level)
    return Plan((block,), ((block.min_ns, block.max_ns),), level, reason)


def needs_delete(block: BlockEntry, tenants: Collection[str], delete: DeleteEntry) -> bool:
    """Whether the block may hold samples that this delete hides."""
    return (
        block.deletes_through < delete.offset
        and block.offset_first < delete.offset
        and block.min_ns <= delete.max_ns
        and block.max_ns >= delete.min_ns
        and delete.tenant in tenants
    )


def needed_deletes(
    deletes: Iterable[DeleteEntry],
    blocks: Iterable[tuple[BlockEntry, Collection[str]]],
) -> tuple[DeleteEntry, ...]:
    """Those that some block still needs; the others are out of every block."""
    kept = list(blocks)
    return tuple(
        delete
        for delete in deletes
        if any(needs_delete(block, tenants, delete) for block, tenants in kept)
    )


def expired_entirely(
    block: BlockEntry, tenants: Collection[str], cuts_ns: Mapping[str, int]
) -> bool:
    """Whether every sample is older than its tenant keeps; ``cuts_ns`` lacks who keeps all."""
    return bool(tenants) and all(
        tenant in cuts_ns and block.max_ns < cuts_ns[tenant] for tenant in tenants
    )


def expired_partly(block: BlockEntry, tenants: Collection[str], cuts_ns: Mapping[str, int]) -> bool:
    """Whether some tenant of the block keeps nothing of it."""
    return any(tenant in tenants for tenant, cut_ns in cuts_ns.items() if block.max_ns < cut_ns)
