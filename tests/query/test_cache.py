"""The result cache by itself: what it joins, keeps, drops and believes."""

import numpy as np
import pytest

from orrery.query.cache import KEY_BYTES, Asked, Key, ResultCache, Table
from tests.query.fakes import FakeChanges

KEY = Key("acme", ("up",), 10, 3)


def table(first, last, **rows):
    """``rows`` have a number a step, or None."""
    given = [[value for value in row] for row in rows.values()]
    present = np.array([[value is not None for value in row] for row in given]).reshape(
        len(rows), last + 1 - first
    )
    values = np.array([[value or 0.0 for value in row] for row in given]).reshape(present.shape)
    return Table(first, last, [(("x", name),) for name in rows], values, present)


def shown(found: Table):
    rows = zip(found.labels, found.values.tolist(), found.present.tolist(), strict=True)
    return {
        labels[0][1]: [value if there else None for value, there in zip(row, marks, strict=True)]
        for labels, row, marks in rows
    }


def cache(bytes_max=1 << 20, changes=None):
    outcomes = []
    made = ResultCache(
        changes=changes or FakeChanges(),
        bytes_max=bytes_max,
        counted=lambda outcome, bytes_held: outcomes.append((outcome, bytes_held)),
    )
    return made, outcomes


def asked(first, last, key=KEY, before_ns=0, after_ns=0):
    return Asked(key, first, last, before_ns, after_ns)


def test_neighbours_are_joined_row_by_row_in_the_order_of_labels():
    held, outcomes = cache()
    held.keep(held.look(asked(2, 3)), [table(2, 3, b=[1, 2], d=[None, 5])])
    look = held.look(asked(1, 5))
    assert look.missing() == [(1, 1), (4, 5)]
    answer = held.keep(look, [table(1, 1, c=[7]), table(4, 5, a=[None, 9], d=[6, None])])
    assert shown(answer) == {
        "a": [None, None, None, None, 9],
        "b": [None, 1, 2, None, None],
        "c": [7, None, None, None, None],
        "d": [None, None, 5, 6, None],
    }
    assert [labels[0][1] for labels in answer.labels] == ["a", "b", "c", "d"]
    whole = held.look(asked(2, 4))
    assert whole.missing() == []
    assert shown(whole.table.cut(2, 4)) == {"b": [1, 2, None], "d": [None, 5, 6]}
    assert [outcome for outcome, _ in outcomes] == ["miss", "part", "hit"]


def test_a_question_apart_takes_the_place():
    held, _ = cache()
    held.keep(held.look(asked(0, 3)), [table(0, 3, a=[1, 2, 3, 4])])
    look = held.look(asked(10, 11))
    assert look.table is None
    held.keep(look, [table(10, 11, a=[1, 2])])
    assert held.look(asked(0, 3)).table is None


def test_steps_that_read_what_changed_or_is_not_kept_are_not_believed():
    changes = FakeChanges()
    held, _ = cache(changes=changes)
    held.keep(held.look(asked(0, 5)), [table(0, 5, a=[1, 2, 3, 4, 5, 6])])
    # Steps lie at 3, 13, 23, 33, 43 and 53.
    changes.marks, changes.changed_ns, changes.kept_ns = 1, 43, 13
    look = held.look(asked(0, 5))
    assert look.missing() == [(0, 0), (4, 5)]
    look = held.look(asked(0, 5, before_ns=1, after_ns=9))
    assert look.missing() == [(0, 1), (4, 5)]
    look = held.look(asked(0, 5, before_ns=0, after_ns=10))
    assert look.missing() == [(0, 0), (3, 5)]
    # What was joined while less was kept stays doubtful when more is kept again.
    held.keep(look, [table(0, 0, a=[1]), table(3, 5, a=[4, 5, 6])])
    changes.kept_ns = -(2**63)
    assert held.look(asked(0, 5)).missing() == [(0, 0)]
    changes.changed_ns = -(2**63)
    changes.marks = 2
    assert held.look(asked(0, 5)).table is None


def test_what_is_held_is_bounded():
    one = table(0, 9, a=range(1, 11))
    held, outcomes = cache(bytes_max=5 * one.byte_count)
    keys = [Key("acme", (number,), 10, 0) for number in range(8)]
    for key in keys:
        held.keep(held.look(asked(0, 9, key)), [one])
    assert [held.look(asked(0, 9, key)).table is not None for key in keys] == [False] * 3 + [
        True
    ] * 5
    assert outcomes[-1] == ("hit", 5 * one.byte_count)
    held.look(asked(0, 9, keys[3]))
    held.keep(held.look(asked(0, 9, keys[0])), [one])
    assert held.look(asked(0, 9, keys[3])).table is not None
    assert held.look(asked(0, 9, keys[4])).table is None


@pytest.mark.parametrize("bytes_max", [0, KEY_BYTES])
def test_what_is_too_large_is_answered_and_not_held(bytes_max):
    held, _ = cache(bytes_max=bytes_max)
    assert held.is_on == bool(bytes_max)
    assert shown(held.keep(held.look(asked(0, 1)), [table(0, 1, a=[1, 2])])) == {"a": [1, 2]}
    assert held.look(asked(0, 1)).table is None


def test_a_run_does_not_grow_for_ever():
    held, _ = cache()
    for first in range(0, 100, 2):
        look = held.look(asked(first, first + 3))
        held.keep(look, [table(*run, a=[1] * (run[1] + 1 - run[0])) for run in look.missing()])
    found = held.look(asked(98, 101)).table
    assert (found.first, found.last) == (94, 101)
