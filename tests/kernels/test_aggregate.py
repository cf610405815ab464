"""Aggregations against their definition, in plain Python."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orrery.errors import Invalid
from orrery.kernels.aggregate import Folding, aggregate, histogram_quantile, pick


def exact_variance(values):
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    return float(sum((value - mean) ** 2 for value in exact) / len(exact))


def exact_quantile(values):
    ordered = sorted(values)
    rank = 0.3 * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] * (1 - (rank - low)) + ordered[high] * (rank - low)


OPERATIONS = {
    "sum": math.fsum,
    "avg": lambda values: float(sum(map(Fraction, values)) / len(values)),
    "min": min,
    "max": max,
    "count": len,
    "group": lambda _values: 1,
    "stddev": lambda values: math.sqrt(exact_variance(values)),
    "stdvar": exact_variance,
    "quantile": exact_quantile,
}


@pytest.mark.parametrize("operation", OPERATIONS)
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 2),
            st.lists(st.none() | st.floats(-1e6, 1e6, width=32), min_size=3, max_size=3),
        ),
        max_size=8,
    )
)
def test_an_operation_is_what_its_definition_says(operation, rows):
    given_values = np.array([[v or 0.0 for v in row] for _, row in rows]).reshape(-1, 3)
    marks = np.array([[v is not None for v in row] for _, row in rows], dtype=np.bool_)
    index = np.array([group for group, _ in rows], dtype=np.int64)
    values, present = aggregate(operation, given_values, marks.reshape(-1, 3), index, 3, 0.3)
    for group in range(3):
        for step in range(3):
            members = [row[step] for own, row in rows if own == group and row[step] is not None]
            assert present[group, step] == bool(members)
            if members:
                wanted = OPERATIONS[operation](members)
                assert values[group, step] == pytest.approx(wanted, rel=1e-9, abs=1e-6)


def test_a_parameter_may_change_from_step_to_step():
    values = np.array([[1.0, 1.0], [3.0, 3.0]])
    marks = np.ones((2, 2), dtype=np.bool_)
    index = np.zeros(2, dtype=np.uint32)
    got, _ = aggregate("quantile", values, marks, index, 1, [0.0, 1.0])
    assert got.tolist() == [[1.0, 3.0]]
    assert pick("topk", values, marks, index, 1, [1.0, 2.0]).tolist() == [
        [False, True],
        [True, True],
    ]


def test_what_does_not_fit_is_refused():
    values, marks = np.zeros((1, 2)), np.ones((1, 2), dtype=np.bool_)
    for index, count, parameter in [
        ([1], 1, 0.0),
        ([-1], 1, 0.0),
        ([0, 0], 1, 0.0),
        ([0], 1, [1, 2, 3]),
    ]:
        with pytest.raises(Invalid, match="cannot aggregate"):
            aggregate("sum", values, marks, np.array(index), count, parameter)
    with pytest.raises(Invalid, match="median"):
        aggregate("median", values, marks, np.array([0]), 1)
    with pytest.raises(Invalid, match="not a number"):
        pick("topk", values, marks, np.array([0]), 1, math.nan)


def test_quantiles_of_a_classic_histogram():
    bounds = np.array([0.1, 0.2, 1.0, math.inf])
    counts = np.array([[1.0, 5.0], [3.0, 4.0], [4.0, 6.0], [4.0, 6.0]])
    present = np.ones((4, 2), dtype=np.bool_)
    values, marks, forced = histogram_quantile(bounds, counts, present, 0.5)
    assert values == pytest.approx([0.15, 0.06])
    assert marks.all()
    assert forced.tolist() == [False, True]
    present[:, 1] = False
    assert histogram_quantile(bounds, counts, present, 0.5)[1].tolist() == [True, False]
    with pytest.raises(Invalid, match="buckets"):
        histogram_quantile(bounds[1:], counts, present, 0.5)


@pytest.mark.parametrize("operation", ["sum", "avg", "min", "max", "count", "stddev", "quantile"])
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8), st.integers(0, 8))
def test_parts_give_what_the_whole_gives(operation, given_values, cut):
    values = np.array(given_values).reshape(-1, 1)
    marks, index = values > -9e5, np.arange(len(values), dtype=np.uint32) % 2
    folding = Folding(operation, 1)
    for part in (slice(cut), slice(cut, None)):
        folding.add(values[part], marks[part], index[part], 2)
    whole = aggregate(operation, values, marks, index, 2, np.nan)
    for got, expected in zip(folding.result(), whole, strict=True):
        assert got.tobytes() == expected.tobytes()
    with pytest.raises(Invalid):
        folding.result()
