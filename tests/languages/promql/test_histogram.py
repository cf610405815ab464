"""Arithmetic of native histograms, against dictionaries of buckets."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orrery.kernels import window as kernels
from orrery.languages.promql import histogram as histograms
from orrery.languages.promql.histogram import (
    EMPTY,
    SCHEMA_CUSTOM,
    Buckets,
    Hint,
    Histogram,
    Incompatible,
    added,
    averaged,
    coarser,
    subtracted,
    widened,
)
from orrery.languages.promql.histogram_aggregate import Cell
from orrery.languages.promql.histogram_quantile import fraction, quantile, variance
from orrery.languages.promql.histogram_windows import FUNCTIONS, OF_FLOATS_ALONE


def buckets(counts: dict[int, float]) -> Buckets:
    held = sorted(counts.items())
    return Buckets(
        np.array([index for index, _ in held], dtype=np.int64),
        np.array([count for _, count in held], dtype=np.float64),
    )


def exponential(
    positive: dict[int, float],
    negative: dict[int, float] | None = None,
    *,
    schema: int = 0,
    zero: float = 0.0,
    threshold: float = 0.0,
    total: float = 0.0,
    hint: Hint = Hint.UNKNOWN,
) -> Histogram:
    count = zero + sum(positive.values()) + sum((negative or {}).values())
    sides = buckets(positive), buckets(negative or {})
    return Histogram(schema, hint, threshold, zero, count, total, *sides)


def custom(bounds: tuple[float, ...], counts: dict[int, float], total: float = 0.0) -> Histogram:
    count = sum(counts.values())
    return Histogram(
        SCHEMA_CUSTOM, Hint.UNKNOWN, 0.0, 0.0, count, total, buckets(counts), EMPTY, bounds
    )


def held(side: Buckets) -> dict[int, float]:
    return dict(zip(side.indexes.tolist(), side.counts.tolist(), strict=True))


counts = st.dictionaries(st.integers(-40, 40), st.integers(1, 1000).map(float), max_size=8)
any_histogram = st.builds(
    exponential,
    counts,
    counts,
    schema=st.integers(-2, 4),
    zero=st.integers(0, 50).map(float),
    threshold=st.sampled_from([0.0, 0.001, 0.5, 3.0]),
    total=st.integers(-1000, 1000).map(float),
)


def bucket_total(one: Histogram) -> float:
    return one.zero_count + one.positive.counts.sum() + one.negative.counts.sum()


@given(any_histogram, any_histogram)
@settings(deadline=None, max_examples=50)
def test_a_sum_holds_what_its_parts_held(left: Histogram, right: Histogram) -> None:
    found = added([left, right]).histogram
    assert found.schema == min(left.schema, right.schema)
    assert found.zero_threshold >= max(left.zero_threshold, right.zero_threshold)
    assert found.count == left.count + right.count == bucket_total(found)
    assert found.sum == left.sum + right.sum


@given(any_histogram, any_histogram)
@settings(deadline=None, max_examples=50)
def test_what_was_added_can_be_taken_away(left: Histogram, right: Histogram) -> None:
    whole = added([left, right]).histogram
    rest = subtracted(whole, right).histogram
    expected = coarser(widened(left, whole.zero_threshold), whole.schema)
    assert held(rest.positive) == held(expected.positive)
    assert held(rest.negative) == held(expected.negative)
    assert (rest.zero_count, rest.count, rest.hint) == (expected.zero_count, left.count, Hint.GAUGE)


@given(any_histogram, st.integers(-4, 4))
@settings(deadline=None, max_examples=50)
def test_a_coarser_schema_merges_buckets_that_lie_in_one(one: Histogram, schema: int) -> None:
    schema = min(schema, one.schema)
    found = coarser(one, schema)
    shift = one.schema - schema
    expected: dict[int, float] = {}
    for index, count in held(one.positive).items():
        merged = math.ceil(index / 2**shift)
        expected[merged] = expected.get(merged, 0.0) + count
    assert held(found.positive) == expected


@given(any_histogram)
@settings(deadline=None, max_examples=50)
def test_a_counter_that_grows_did_not_begin_anew(one: Histogram) -> None:
    grown = added([one, one]).histogram
    assert not grown.began_anew(one)
    assert not one.began_anew(one)
    if one.count:
        assert one.began_anew(grown)


@given(any_histogram, st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_the_fraction_below_a_quantile_is_its_level(one: Histogram, level: float) -> None:
    if not one.count:
        return
    one = replace(one, zero_threshold=0.0)
    value = quantile(level, one, pytest.fail, "")
    below = fraction(-math.inf, value, one, pytest.fail, "")
    # Between two buckets every level has one value: the fraction is that of either end.
    at_most = fraction(-math.inf, math.nextafter(value, math.inf), one, pytest.fail, "")
    assert below - 1e-9 <= level
    assert at_most >= level - 1e-9 or math.isclose(below, level, abs_tol=1e-9)


@given(st.lists(any_histogram, min_size=1, max_size=20))
@settings(deadline=None, max_examples=50)
def test_an_average_times_its_number_is_the_sum(several: list[Histogram]) -> None:
    total, mean = added(several).histogram, averaged(several).histogram
    assert math.isclose(mean.count * len(several), total.count)


def test_a_reset_shows_in_any_part() -> None:
    before = exponential({0: 2, 1: 3}, {0: 1}, zero=1, threshold=0.5)
    for after in (
        exponential({0: 1, 1: 9}, {0: 1}, zero=1, threshold=0.5),
        exponential({1: 9}, {0: 1}, zero=1, threshold=0.5),
        exponential({0: 2, 1: 9}, zero=1, threshold=0.5),
        exponential({0: 2, 1: 9}, {0: 1}, zero=0, threshold=0.5),
        exponential({0: 2, 1: 9}, {0: 1}, zero=1, threshold=0.1),
        exponential({0: 2, 1: 9}, {0: 1}, zero=1, threshold=0.5, schema=1),
        replace(exponential({0: 9, 1: 9}, {0: 9}, zero=9, threshold=0.5), hint=Hint.RESET),
        custom((1.0,), {0: 99}),
    ):
        assert after.began_anew(before)


def test_a_wider_zero_bucket_ends_where_a_bucket_ends() -> None:
    found = widened(exponential({0: 2, 1: 3, 4: 5}, zero=1, threshold=0.1), 1.5)
    assert (found.zero_threshold, found.zero_count) == (2.0, 6.0)
    assert held(found.positive) == {4: 5.0}


def test_custom_bounds_meet_in_those_they_share() -> None:
    left, right = custom((1, 2, 5), {0: 1, 1: 2, 3: 4}), custom((2, 5, 9), {0: 1, 2: 7})
    found = added([left, right])
    assert found.is_rebound
    assert found.histogram.bounds == (2, 5)
    assert held(found.histogram.positive) == {0: 4.0, 2: 11.0}
    with pytest.raises(Incompatible):
        added([left, exponential({0: 1})])


def test_hints_meet() -> None:
    reset, not_reset = (exponential({0: 1}, hint=hint) for hint in (Hint.RESET, Hint.NOT_RESET))
    gauge, unknown = (exponential({0: 1}, hint=hint) for hint in (Hint.GAUGE, Hint.UNKNOWN))
    assert added([reset, not_reset]).collides
    assert added([reset, not_reset]).histogram.hint is Hint.UNKNOWN
    assert added([reset, gauge]).histogram.hint is Hint.GAUGE
    assert added([unknown, reset]).histogram.hint is Hint.UNKNOWN
    assert unknown.multiplied(-1.0).hint is Hint.GAUGE


def test_rounding_is_made_good() -> None:
    parts = [exponential({0: 1}, total=total) for total in (1.0, 1e100, 1.0, -1e100)]
    assert added(parts).histogram.sum == 2.0


def test_an_average_that_overflows_as_a_sum() -> None:
    huge = replace(exponential({0: 1}), count=1.7e308)
    assert averaged([huge, huge]).histogram.count == pytest.approx(1.7e308)


def test_bounds_reach_the_largest_numbers() -> None:
    largest = exponential({1024: 1, 1025: 1})
    assert histograms.bound(largest, largest.positive.indexes).tolist() == [
        np.finfo(np.float64).max,
        math.inf,
    ]


def test_buckets_are_shown_in_the_order_of_their_values() -> None:
    shown = exponential({0: 1, 2: 2}, {0: 3, 1: 4}, zero=5, threshold=0.1).shown()
    assert shown.lower.tolist() == [-2, -1, -0.1, 0.5, 2]
    assert shown.upper.tolist() == [-1, -0.5, 0.1, 1, 4]
    assert shown.counts.tolist() == [4, 3, 5, 1, 2]
    assert shown.rules.tolist() == [1, 1, 3, 0, 0]
    assert custom((1.0,), {0: 1, 1: 1}).shown().rules.tolist() == [3, 0]


def test_observations_that_are_no_number_are_noted() -> None:
    notes: list[str] = []
    one = replace(exponential({1: 4}), count=5.0, sum=math.nan)
    assert math.isnan(quantile(1.0, one, notes.append, "x"))
    assert notes == ['input to histogram_quantile has NaN observations, result is NaN for metric '
                     'name "x"']  # fmt: skip
    assert fraction(-math.inf, math.inf, one, notes.append, "x") == 0.8
    assert math.isnan(variance(one))


def test_every_kernel_has_its_say_on_histograms() -> None:
    assert set(FUNCTIONS) | OF_FLOATS_ALONE == set(kernels.FUNCTIONS)
    assert not set(FUNCTIONS) & OF_FLOATS_ALONE


def test_a_histogram_as_text() -> None:
    one = exponential({0: 1, 1: 2}, {0: 1}, zero=2, threshold=0.001, total=10)
    assert str(one) == "{count:6, sum:10, [-1,-0.5):1, [-0.001,0.001]:2, (0.5,1]:1, (1,2]:2}"


def test_many_histograms_of_one_group_are_added_up_on_the_way() -> None:
    cell = Cell()
    for _ in range(50):
        cell.add(exponential({0: 1}, total=0.5))
    average = cell.average()
    assert average is not None
    assert (average.count, average.sum) == (1, 0.5)
    cell.add(custom((1.0,), {0: 1}))
    for _ in range(50):
        cell.add(exponential({0: 1}))
    assert cell.fold() is None
    assert cell.average() is None
