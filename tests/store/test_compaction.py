"""Decisions about blocks: where flushes cut, what may be merged, what is worth it."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orrery.store.bounds import DAY_NS, HOUR_NS, WINDOW_NS
from orrery.store.compaction import (
    Demands,
    expired_entirely,
    expired_partly,
    needed_deletes,
    needs_delete,
    pick,
    safe_groups,
)
from orrery.store.manifest import BlockEntry, DeleteEntry
from orrery.store.windows import LEVELS_NS, flush_ranges, join_settled, level_of, split

T = 1001 * LEVELS_NS[3]


def block(name, min_ns, max_ns, last, *, first=None, size=100_000, level=0, through=None):
    return BlockEntry(
        name=name,
        min_ns=min_ns,
        max_ns=max_ns,
        offset_first=last if first is None else first,
        offset_last=last,
        deletes_through=last if through is None else through,
        level=level,
        sample_count=1,
        byte_count=size,
        resolution_ns=0,
        tenant_count=1,
    )


def chosen(*blocks, now_ns=T + 1000 * DAY_NS, block_bytes_max=10**9, demands=None):
    plan = pick(
        blocks, now_ns=now_ns, block_bytes_max=block_bytes_max, demands=demands or Demands()
    )
    return plan and (plan.reason, [entry.name for entry in plan.inputs])


@pytest.mark.parametrize(
    ("min_ns", "max_ns", "level"),
    [
        (T, T, 0),
        (T, T + WINDOW_NS - 1, 0),
        (T, T + WINDOW_NS, 1),
        (T - 1, T, 4),
        (-1, 0, 7),
        (-(2**63), 2**63 - 1, 7),
    ],
)
def test_levels(min_ns, max_ns, level):
    assert level_of(min_ns, max_ns) == level


@given(st.integers(-(2**62), 2**62), st.integers(0, 2**61), st.integers(-(2**62), 2**62))
def test_flush_ranges_cover_all_without_overlap(min_ns, span, now_ns):
    ranges = flush_ranges(min_ns, min_ns + span, now_ns=now_ns, blocks_max=10)
    assert 1 <= len(ranges) <= 10
    assert (ranges[0][0], ranges[-1][1]) == (min_ns, min_ns + span)
    assert all(low <= high for low, high in ranges)
    assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(ranges))


@given(st.integers(-(2**62), 2**62), st.integers(0, 2**55), st.integers(-(2**62), 2**62))
def test_joined_ranges_cover_all_without_overlap(min_ns, span, now_ns):
    ranges = flush_ranges(min_ns, min_ns + span, now_ns=now_ns, blocks_max=10)
    joined = join_settled(ranges, now_ns=now_ns)
    assert (joined[0][0], joined[-1][1]) == (min_ns, min_ns + span)
    assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(joined))
    assert {low for low, _ in joined} <= {low for low, _ in ranges}


def test_only_settled_windows_are_joined():
    half_day = LEVELS_NS[1]
    ranges = split(0, 4 * half_day - 1, LEVELS_NS[0])
    whole = split(0, 4 * half_day - 1, half_day)
    assert join_settled(ranges, now_ns=100 * half_day) == whole
    assert join_settled(ranges, now_ns=0) == ranges
    # At this time the last window is settled in part: what is not stays as it was cut.
    joined = join_settled(ranges, now_ns=4 * half_day + half_day // 2)
    assert joined[:3] == whole[:3]
    assert joined[-3:] == ranges[-3:]


def test_split_covers_all():
    assert split(-5, 25, 10) == [(-5, -1), (0, 9), (10, 19), (20, 25)]


def test_blocks_of_a_closed_window_are_merged():
    assert chosen(block("a", T, T + 1, 1), block("b", T, T + 2, 2)) == ("merge", ["a", "b"])


def test_an_open_window_waits_until_there_are_many():
    few = [block(str(n), T, T + n, n) for n in range(7)]
    assert chosen(*few, now_ns=T + HOUR_NS) is None
    many = [*few, block("7", T, T + 7, 7)]
    assert chosen(*many, now_ns=T + HOUR_NS) == ("merge", list("01234567"))


def test_a_large_block_waits_for_its_like():
    large = block("a", T, T + 1, 1, size=10**8, level=1)
    assert chosen(large, block("b", T, T + 2, 2, size=2 * 10**6, level=1)) is None
    assert chosen(large, block("b", T, T + 2, 2, size=3 * 10**7)) == ("merge", ["a", "b"])


def test_what_would_be_too_large_is_not_merged():
    blocks = [block(str(n), T, T + n, n, size=400_000, level=1) for n in range(3)]
    assert chosen(*blocks, block_bytes_max=900_000) == ("merge", ["0", "1"])
    assert chosen(*blocks, block_bytes_max=500_000) is None


def test_windows_longer_than_allowed_are_not_merged():
    blocks = [block("a", T, T, 1, level=1), block("b", T + WINDOW_NS, T + WINDOW_NS, 2, level=1)]
    plan = {"now_ns": T + 1000 * DAY_NS, "block_bytes_max": 10**9, "demands": Demands()}
    assert pick(blocks, **plan) is not None
    assert pick(blocks, **plan, block_range_ns_max=WINDOW_NS) is None


def test_dense_blocks_are_not_merged_over_many_days():
    halves = [block("a", T, T + DAY_NS, 1), block("b", T + DAY_NS, T + 2 * DAY_NS - 1, 2)]
    apart = [block("a", T, T + DAY_NS, 1), block("b", T + 3 * DAY_NS, T + 3 * DAY_NS, 2)]
    dense = Demands(dense=frozenset({"a"}))
    settled = [msgspec.structs.replace(one, level=1) for one in apart]
    assert chosen(*halves, demands=dense) == ("merge", ["a", "b"])
    assert chosen(*settled) == ("merge", ["a", "b"])
    assert chosen(*settled, demands=dense) is None


def test_a_block_between_two_in_order_keeps_them_apart():
    old, new = block("old", T, T + 5, 1), block("new", T, T + 5, 9)
    across = block("across", T + 4, T + WINDOW_NS + 5, 5)
    groups = safe_groups([old, new], [across])
    assert [[b.name for b in group] for group in groups] == [["old"], ["new"]]
    elsewhere = block("across", T + 6, T + WINDOW_NS + 5, 5)
    assert [len(group) for group in safe_groups([old, new], [elsewhere])] == [2]


def test_a_piece_of_the_same_flush_has_no_side():
    piece, old = block("piece", T, T + 2, 5), block("old", T, T + 5, 1)
    across = block("across", T + 3, T + WINDOW_NS, 5)
    assert [[b.name for b in group] for group in safe_groups([piece, old], [across])] == [["old"]]


def test_a_block_across_all_windows_is_split():
    assert chosen(block("a", -1, 1, 1, level=1)) == ("split", ["a"])


def test_a_lonely_flushed_block_is_settled_once():
    assert chosen(block("a", T, T, 1)) == ("settle", ["a"])
    assert chosen(block("a", T, T, 1, level=1)) is None
    assert chosen(block("a", T, T, 1), now_ns=T + HOUR_NS) is None


def test_demands_come_before_merging():
    blocks = [block("a", T, T + 1, 1), block("b", T, T + 2, 2)]
    demands = Demands(deleted=frozenset("b"))
    assert chosen(*blocks, demands=demands) == ("delete", ["b"])
    demands = Demands(deleted=frozenset("a"), expired=frozenset("b"))
    assert chosen(*blocks, demands=demands) == ("retention", ["b"])


@pytest.mark.parametrize(
    ("offset", "low", "high", "tenant", "needed"),
    [
        (10, T, T, "a", True),
        (9, T, T, "a", False),
        (10, T - 5, T - 1, "a", False),
        (10, T + 6, T + 9, "a", False),
        (10, T + 5, T + 9, "a", True),
        (10, T, T, "b", False),
    ],
)
def test_which_blocks_need_a_delete(offset, low, high, tenant, needed):
    entry = block("x", T, T + 5, 9)
    delete = DeleteEntry(offset, tenant, (), low, high, 0)
    assert needs_delete(entry, frozenset("a"), delete) is needed
    assert needed_deletes([delete], [(entry, frozenset("a"))]) == ((delete,) if needed else ())


@pytest.mark.parametrize(
    ("cuts", "partly", "entirely"),
    [
        ({}, False, False),
        ({"a": T + 5}, False, False),
        ({"a": T + 6}, True, False),
        ({"a": T + 6, "b": T + 6}, True, True),
    ],
)
def test_expiry(cuts, partly, entirely):
    entry, tenants = block("x", T, T + 5, 1), frozenset("ab")
    assert expired_partly(entry, tenants, cuts) is partly
    assert expired_entirely(entry, tenants, cuts) is entirely


def test_by_hand_a_young_block_is_written_small_too():
    young = block("a", T, T + 1, 1)
    assert chosen(young, now_ns=T + 1) is None
    assert chosen(young, now_ns=T + 1, demands=Demands(settled=True)) == ("settle", ["a"])
    written_small = block("a", T, T + 1, 1, level=1)
    assert chosen(written_small, now_ns=T + 1, demands=Demands(settled=True)) is None
