"""From when on a tenant's data changed: never later than it truly did."""

from hypothesis import given
from hypothesis import strategies as st

from orrery.store.touches import (
    CHANGES_MAX,
    MERGED_NS,
    TENANTS_MAX,
    TIME_MAX_NS,
    TIME_MIN_NS,
    Touches,
)


def test_what_changed_before_a_mark_is_seen_by_it():
    touches = Touches()
    mark = touches.mark("acme")
    assert touches.changed_from_ns("acme", mark) == TIME_MAX_NS
    touches.changed("acme", 500 * MERGED_NS)
    touches.changed("other", 0)
    later = touches.mark("acme")
    touches.changed("acme", 700 * MERGED_NS)
    assert touches.changed_from_ns("acme", mark) == 500 * MERGED_NS
    assert touches.changed_from_ns("acme", later) == 700 * MERGED_NS
    touches.changed("acme", 600 * MERGED_NS)
    assert touches.changed_from_ns("acme", later) == 600 * MERGED_NS
    touches.changed("acme", None)
    assert touches.changed_from_ns("acme", touches.mark("acme")) == TIME_MAX_NS


def test_what_nobody_watched_is_taken_for_changed():
    touches = Touches()
    assert touches.changed_from_ns("acme", 0) == TIME_MIN_NS
    mark = touches.mark("acme")
    for number in range(TENANTS_MAX):
        touches.mark(f"tenant-{number}")
    assert not touches.is_watched("acme")
    touches.changed("acme", 5)
    touches.mark("acme")
    assert touches.changed_from_ns("acme", mark) == TIME_MIN_NS
    mark = touches.mark("acme")
    touches.all_changed()
    assert touches.changed_from_ns("acme", mark) == TIME_MIN_NS
    assert touches.mark("acme") > mark
    assert touches.changed_from_ns("acme", mark) == TIME_MIN_NS


minutes = st.integers(0, 50).map(lambda minute: minute * MERGED_NS // 2)


@given(st.lists(minutes, max_size=40))
def test_no_change_is_missed(times):
    touches = Touches()
    marks = []
    for time in times:
        marks.append(touches.mark("acme"))
        touches.changed("acme", time)
    for place, mark in enumerate(marks):
        told = touches.changed_from_ns("acme", mark)
        assert told <= min(times[place:])


def test_writes_that_go_forward_take_bounded_room_and_stay_told_apart():
    touches = Touches()
    marks = []
    for second in range(0, 4 * CHANGES_MAX * 60, 30):
        marks.append((touches.mark("acme"), second * 1_000_000_000))
        touches.changed("acme", second * 1_000_000_000)
    for mark, written_ns in marks[-CHANGES_MAX:]:
        told = touches.changed_from_ns("acme", mark)
        assert written_ns - MERGED_NS <= told <= written_ns
    assert touches.changed_from_ns("acme", marks[0][0]) == 0
