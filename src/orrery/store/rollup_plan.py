"""What to roll up next: pure decisions over block entries, for ``rollups``.

Coarse blocks of one resolution never overlap. One stands for all samples of its tenants in its
time range that records up to its ``offset_last`` brought, and for the deletes up to its
``deletes_through``: whatever came later makes days of it *stale*. A tenant that it does not name
was not rolled up. Samples are rolled up by whole days, a while after the day is over.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orrery.store.bounds import DAY_NS
from orrery.store.compaction import needs_delete
from orrery.store.manifest import BlockEntry, DeleteEntry
from orrery.store.windows import Range

SHORT_NS, LONG_NS = 16 * DAY_NS, 128 * DAY_NS
"""Coarse blocks are merged inside windows of these widths; what is old is rolled up by the long
one at once."""

MERGED_BYTES_MAX = 64 * 1024 * 1024
_TIME_MAX_NS = 2**63 - 1
_TIME_MIN_NS = -(2**63)


@dataclass(frozen=True, slots=True)
class Block:
    """A live block and the tenants it names."""

    entry: BlockEntry
    tenants: frozenset[str]


@dataclass(frozen=True, slots=True)
class RollupPlan:
    """Write one block of ``resolution_ns`` over ``coverage``: ``days`` from the samples in ``raw``,
    the rest from the rows of ``old``, which it replaces."""

    resolution_ns: int
    coverage: Range
    days: tuple[Range, ...]
    raw: tuple[BlockEntry, ...]
    old: tuple[BlockEntry, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Wishes:
    """``tenants``: those with the resolution; ``from_ns``: what is older no rule of any keeps."""

    resolution_ns: int
    tenants: frozenset[str]
    from_ns: int


def pick_rollup(
    raw: Sequence[Block],
    coarse: Sequence[Block],
    wishes: Wishes,
    *,
    deletes: Sequence[DeleteEntry],
    due: Sequence[DeleteEntry],
    closed_ns: int,
    blocked: Sequence[Range] = (),
) -> RollupPlan | None:
    """The next work for one resolution. ``closed_ns``: days up to here are over; ``due``: deletes
    that are to be applied now, where all have to be once a block is written;
    ``blocked``: days that are left as they are, because samples or rows in them cannot be read."""
    raw = [block for block in raw if block.tenants & wishes.tenants]
    for block in coarse:
        if _is_blocked(block.entry, blocked):
            continue
        days = stale_days(raw, block, wishes.tenants, deletes)
        is_due = any(needs_delete(block.entry, block.tenants, delete) for delete in due)
        if is_due or stale_days(raw, block, wishes.tenants, due):
            entry = block.entry
            coverage = (entry.min_ns, entry.max_ns)
            return _plan(wishes, coverage, days, raw, [entry], "late")
    window = next(_open_windows(raw, coarse, wishes, closed_ns, blocked), None)
    if window is not None:
        coverage = (window[0][0], window[-1][1])
        return _plan(wishes, coverage, window, raw, [], "days")
    unsettled = [
        *blocked,
        *(
            (block.entry.min_ns, block.entry.max_ns)
            for block in coarse
            if any(needs_delete(block.entry, block.tenants, delete) for delete in deletes)
            or stale_days(raw, block, wishes.tenants, deletes)
        ),
    ]
    return _pick_merge(coarse, wishes, closed_ns, unsettled)


def _plan(
    wishes: Wishes,
    coverage: Range,
    days: Sequence[Range],
    raw: Sequence[Block],
    old: Sequence[BlockEntry],
    reason: str,
) -> RollupPlan:
    read = [b.entry for b in raw if any(_meet(b.entry, low, high) for low, high in days)]
    return RollupPlan(wishes.resolution_ns, coverage, tuple(days), tuple(read), tuple(old), reason)


def _meet(entry: BlockEntry, min_ns: int, max_ns: int) -> bool:
    return entry.min_ns <= max_ns and entry.max_ns >= min_ns


def _is_blocked(entry: BlockEntry, blocked: Iterable[Range]) -> bool:
    return any(_meet(entry, low, high) for low, high in blocked)


def is_fresh(raw: BlockEntry, coarse: BlockEntry) -> bool:
    """Whether a block of samples came after the coarse one was made, into its time."""
    return raw.offset_first > coarse.offset_last and _meet(raw, coarse.min_ns, coarse.max_ns)


def stale_days(
    raw: Iterable[Block],
    coarse: Block,
    tenants: frozenset[str],
    deletes: Sequence[DeleteEntry],
) -> list[Range]:
    """Days of a coarse block that samples know better, joined where they touch."""
    entry, found = coarse.entry, []
    touching = [delete for delete in deletes if needs_delete(entry, coarse.tenants, delete)]
    for block in raw:
        if not _meet(block.entry, entry.min_ns, entry.max_ns):
            continue
        low, high = max(block.entry.min_ns, entry.min_ns), min(block.entry.max_ns, entry.max_ns)
        if is_fresh(block.entry, entry) or not (block.tenants & tenants) <= coarse.tenants:
            found.append(whole_days(low, high))
        for delete in touching:
            # By the day: a block that the delete is out of already still has the rest of its days.
            first, last = whole_days(
                max(entry.min_ns, delete.min_ns), min(entry.max_ns, delete.max_ns)
            )
            if delete.tenant in block.tenants and first <= high and last >= low:
                found.append(whole_days(max(low, first), min(high, last)))
    return joined(found)


def unrolled_from(
    raw: Iterable[Block],
    coarse: Sequence[Block],
    wishes: Wishes,
    deletes: Sequence[DeleteEntry],
) -> int:
    """All samples before this time are rolled up at this resolution."""
    raw = [block for block in raw if block.tenants & wishes.tenants]
    days = [day for block in coarse for day in stale_days(raw, block, wishes.tenants, deletes)]
    days += _open_days(raw, coarse, wishes, _TIME_MAX_NS)
    return min((low for low, _ in days), default=_TIME_MAX_NS)


def _open_windows(
    raw: Sequence[Block],
    coarse: Sequence[Block],
    wishes: Wishes,
    closed_ns: int,
    blocked: Iterable[Range],
) -> Iterator[list[Range]]:
    """Days that no coarse block covers, those of one window together, the oldest first."""
    for low, high in without(_open_days(raw, coarse, wishes, closed_ns), blocked):
        width_ns = SHORT_NS if low > closed_ns - LONG_NS else LONG_NS
        window = (low - 1) // width_ns
        yield [(low, min(high, (window + 1) * width_ns))]


def _open_days(
    raw: Iterable[Block], coarse: Sequence[Block], wishes: Wishes, closed_ns: int
) -> list[Range]:
    spans = []
    for block in raw:
        low_ns = max(block.entry.min_ns, wishes.from_ns, _TIME_MIN_NS + DAY_NS)
        high_ns = min(block.entry.max_ns, _TIME_MAX_NS - DAY_NS)
        if low_ns <= high_ns:
            spans.append(whole_days(low_ns, high_ns))
    left = without(joined(spans), [(b.entry.min_ns, b.entry.max_ns) for b in coarse])
    return [(low, min(high, closed_ns)) for low, high in left if low <= closed_ns]


def _pick_merge(
    coarse: Sequence[Block], wishes: Wishes, closed_ns: int, unsettled: Sequence[Range]
) -> RollupPlan | None:
    """A merge takes its inputs for the whole of their time: nothing ``unsettled`` lies in it."""
    for width_ns in (SHORT_NS, LONG_NS):
        windows: dict[int, list[BlockEntry]] = {}
        for block in coarse:
            first, last = (block.entry.min_ns - 1) // width_ns, (block.entry.max_ns - 1) // width_ns
            if first == last and (first + 1) * width_ns <= closed_ns:
                windows.setdefault(first, []).append(block.entry)
        for _, inside in sorted(windows.items()):
            size = sum(entry.byte_count for entry in inside)
            coverage = (min(e.min_ns for e in inside), max(e.max_ns for e in inside))
            is_settled = all(high < coverage[0] or low > coverage[1] for low, high in unsettled)
            if len(inside) > 1 and size <= MERGED_BYTES_MAX and is_settled:
                inside.sort(key=lambda entry: entry.min_ns)
                return _plan(wishes, coverage, (), (), inside, "merge")
    return None


def levels_of(
    tenant: str, entries: Iterable[BlockEntry], resolutions_ns: Iterable[int]
) -> list[tuple[int, list[Range]]]:
    """Where a tenant's rows hold all that is flushed: per resolution the ranges, ascending.
    ``entries`` are the blocks that name the tenant."""
    own = [Block(entry, frozenset([tenant])) for entry in entries]
    raw = [block for block in own if block.entry.resolution_ns == 0]
    levels = []
    for resolution_ns in sorted(resolutions_ns):
        covered: list[Range] = []
        for block in own:
            entry = block.entry
            if entry.resolution_ns == resolution_ns:
                stale = stale_days(raw, block, frozenset([tenant]), ())
                covered += without([(entry.min_ns, entry.max_ns)], stale)
        levels.append((resolution_ns, joined(covered)))
    return levels


def unrolled_blocks(entries: Sequence[BlockEntry], wishes: Mapping[int, Wishes]) -> frozenset[str]:
    """Names of blocks that are not to be merged before they are rolled up: afterwards their offsets
    would no longer tell that they are."""
    coarse = [entry for entry in entries if entry.resolution_ns in wishes]
    return frozenset(
        entry.name
        for entry in entries
        if entry.resolution_ns == 0 and any(is_fresh(entry, one) for one in coarse)
    )


def whole_days(min_ns: int, max_ns: int) -> Range:
    """The days, as buckets bound them, that hold the range."""
    return ((min_ns - 1) // DAY_NS * DAY_NS + 1, ((max_ns - 1) // DAY_NS + 1) * DAY_NS)


def joined(ranges: Iterable[Range]) -> list[Range]:
    """Ascending; those that overlap or touch as one."""
    out: list[Range] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], high))
        else:
            out.append((low, high))
    return out


def without(ranges: Iterable[Range], holes: Iterable[Range]) -> list[Range]:
    left = list(ranges)
    for low, high in holes:
        parts = [((a, min(b, low - 1)), (max(a, high + 1), b)) for a, b in left]
        left = [part for pair in parts for part in pair if part[0] <= part[1]]
    return left
