"""Label sets in the core: what sequences do, and what languages ask of them."""

import numpy as np
import pytest

from orrery.kernels.answer import vector_json
from orrery.kernels.label_rows import LabelRows, join_rows, take_rows
from orrery.kernels.memory_source import memory_source
from orrery.kernels.meter import Meter
from orrery.kernels.series import encode_series
from orrery.kernels.snapshot import Snapshot

NAMES = (("cpu", "b"), ("cpu", "a"), ("mem", "a"))


@pytest.fixture
def rows() -> LabelRows:
    return selected([encode_series(name, "", [("host", host)]) for name, host in NAMES])


def selected(series: list[bytes]) -> LabelRows:
    ones = np.ones(len(series))
    meter = Meter(samples_max=1000, series_max=100, deadline_seconds=None)
    source = memory_source("t", series, np.arange(len(series) + 1), ones, ones)
    snapshot = Snapshot([source], [])
    selection = snapshot.select("t", [], -100, 100, meter)
    return selection.promql_labels(0, len(selection))


def labels(name: str, host: str):
    return (("__name__", name), ("host", host))


SORTED = [labels("cpu", "a"), labels("cpu", "b"), labels("mem", "a")]


def test_rows_are_a_sequence_of_label_sets(rows):
    assert len(rows) == 3
    assert list(rows) == rows.tuples() == SORTED
    assert rows[1] == rows[-2] == SORTED[1]
    assert list(rows[:2]) == SORTED[:2]
    assert list(rows[::-1]) == SORTED[::-1]
    with pytest.raises(IndexError):
        rows[3]


def test_rows_are_taken_and_joined(rows):
    places = np.array([2, 0])
    expected = [SORTED[2], SORTED[0]]
    assert list(take_rows(rows, places)) == take_rows(SORTED, places) == expected
    with pytest.raises(IndexError):
        rows.take(np.array([3]))
    other = selected([encode_series("z", "", [("a", "1")])])
    mixed = [rows, other]
    assert list(join_rows(mixed)) == [*SORTED, (("__name__", "z"), ("a", "1"))]
    assert join_rows([rows, SORTED]) == SORTED + SORTED
    assert join_rows([]) == []


@pytest.mark.parametrize(
    ("names", "without", "index", "groups"),
    [
        (["host"], False, [0, 1, 0], [(("host", "a"),), (("host", "b"),)]),
        (["host"], True, [0, 0, 1], [(("__name__", "cpu"),), (("__name__", "mem"),)]),
        (["absent"], False, [0, 0, 0], [()]),
    ],
)
def test_rows_are_grouped(rows, names, without, index, groups):
    found, keys = rows.with_labels(names, without=without).groups()
    assert found.tolist() == index
    assert keys.tuples() == groups


def test_rows_tell_repeats_order_and_values(rows):
    hosts = rows.with_labels(["host"], without=False)
    assert rows.is_distinct()
    assert not hosts.is_distinct()
    assert hosts.order().tolist() == [0, 2, 1]
    assert rows.values("__name__") == ["cpu", "mem"]
    assert rows.values("absent") == []


def test_rows_and_tuples_print_alike(rows):
    values, present = np.arange(3.0), np.array([True, False, True])
    assert vector_json(rows, 0, values, present) == vector_json(SORTED, 0, values, present)
