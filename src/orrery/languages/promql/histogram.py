"""A native histogram as queries see it, and its arithmetic; every evaluator uses it.

Buckets that hold nothing are not kept. Histograms meet in the coarser of their layouts: the wider
zero bucket, the smaller schema, the custom bounds that all of them have.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache

import numpy as np

from orrery.kernels.histogram import decode_histogram
from orrery.languages.promql.durations import format_number
from orrery.languages.promql.values import STALE_BITS, Floats, Indexes

SCHEMA_CUSTOM = -53
_EXPONENT_MAX = 1024


class Hint(IntEnum):
    """What is known about counters beginning anew; the numbers are those of the payload."""

    UNKNOWN = 0
    RESET = 1
    NOT_RESET = 2
    GAUGE = 3


class Incompatible(Exception):
    """Exponential and custom buckets have no common layout."""


@dataclass(frozen=True, slots=True, eq=False)
class Buckets:
    """Counts, none of them zero, by rising index."""

    indexes: Indexes
    counts: Floats

    def scaled(self, factor: float) -> "Buckets":
        return kept(self.indexes, self.counts * factor)

    def equals(self, other: "Buckets") -> bool:
        return np.array_equal(self.indexes, other.indexes) and np.array_equal(
            self.counts, other.counts, equal_nan=True
        )


EMPTY = Buckets(np.zeros(0, dtype=np.int64), np.zeros(0))


def kept(indexes: Indexes, counts: Floats) -> Buckets:
    held = counts != 0
    return Buckets(indexes, counts) if held.all() else Buckets(indexes[held], counts[held])


def gathered(indexes: Indexes, counts: Floats) -> Buckets:
    """Buckets of rising indexes, those that share one made one."""
    if not len(indexes):
        return EMPTY
    first = np.nonzero(np.diff(indexes, prepend=indexes[0] - 1))[0]
    return kept(indexes[first], np.add.reduceat(counts, first))


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """Buckets in the order of the values they hold, negative ones first; ``rules`` tells which of
    their ends belong to them: 0 the upper, 1 the lower, 3 both."""

    rules: Indexes
    lower: Floats
    upper: Floats
    counts: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    schema: int
    hint: Hint
    zero_threshold: float
    zero_count: float
    count: float
    sum: float
    positive: Buckets = EMPTY
    negative: Buckets = EMPTY
    bounds: tuple[float, ...] = ()

    @property
    def is_custom(self) -> bool:
        return self.schema == SCHEMA_CUSTOM

    @property
    def is_stale(self) -> bool:
        return bool(np.float64(self.sum).view(np.int64) == STALE_BITS)

    def __str__(self) -> str:
        """As ``count_values`` calls it."""
        shown = self.shown()
        columns = (shown.rules, shown.lower, shown.upper, shown.counts)
        parts = [f"count:{format_number(self.count)}", f"sum:{format_number(self.sum)}"]
        for rule, lower, upper, count in zip(*(c.tolist() for c in columns), strict=True):
            ends = f"{format_number(lower)},{format_number(upper)}"
            left, right = "[" if rule else "(", ")" if rule == 1 else "]"
            parts.append(f"{left}{ends}{right}:{format_number(count)}")
        return "{" + ", ".join(parts) + "}"

    def multiplied(self, factor: float) -> "Histogram":
        with np.errstate(all="ignore"):
            return replace(
                self,
                hint=Hint.GAUGE if factor < 0 else self.hint,
                zero_count=self.zero_count * factor,
                count=self.count * factor,
                sum=self.sum * factor,
                positive=self.positive.scaled(factor),
                negative=self.negative.scaled(factor),
            )

    def divided(self, divisor: float) -> "Histogram":
        with np.errstate(all="ignore"):
            inverse = np.float64(divisor)
            emptied = divisor == 0
            return replace(
                self,
                hint=Hint.GAUGE if divisor < 0 else self.hint,
                zero_count=float(self.zero_count / inverse),
                count=float(self.count / inverse),
                sum=float(self.sum / inverse),
                positive=EMPTY if emptied else _divided(self.positive, divisor),
                negative=EMPTY if emptied else _divided(self.negative, divisor),
            )

    def equals(self, other: "Histogram") -> bool:
        own = (self.zero_threshold, self.zero_count, self.count, self.sum)
        others = (other.zero_threshold, other.zero_count, other.count, other.sum)
        return (
            (self.schema, self.bounds) == (other.schema, other.bounds)
            and np.array_equal(own, others, equal_nan=True)
            and self.positive.equals(other.positive)
            and self.negative.equals(other.negative)
        )

    def began_anew(self, previous: "Histogram") -> bool:
        """Whether this is a counter that was reset after ``previous``."""
        if self.hint is Hint.RESET or self.count < previous.count:
            return True
        if self.is_custom != previous.is_custom:
            return True
        if self.is_custom:
            bounds = common_bounds([self, previous])
            return _falls(
                _rebound(self, bounds).positive,
                _rebound(previous, bounds).positive,
            )
        if self.schema > previous.schema or self.zero_threshold < previous.zero_threshold:
            return True
        before = widened(previous, self.zero_threshold)
        if before.zero_threshold != self.zero_threshold or self.zero_count < before.zero_count:
            return True
        before = coarser(before, self.schema)
        return _falls(self.positive, before.positive) or _falls(self.negative, before.negative)

    def shown(self) -> Shown:
        """Every bucket that holds something, the zero bucket where it holds more than nothing."""
        parts = [
            (
                -bound(self, self.negative.indexes[::-1]),
                -bound(self, self.negative.indexes[::-1] - 1),
                self.negative.counts[::-1],
            ),
            (
                bound(self, self.positive.indexes - 1),
                bound(self, self.positive.indexes),
                self.positive.counts,
            ),
        ]
        if self.zero_count > 0:
            width = np.array([self.zero_threshold])
            parts.insert(1, (-width, width, np.array([self.zero_count])))
        lower, upper, counts = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        holds_lower, holds_upper = lower < 0, upper > 0
        if self.is_custom:
            holds_lower, holds_upper = lower == -np.inf, np.ones(len(upper), dtype=np.bool_)
        elif self.zero_count > 0:
            zero = len(self.negative.indexes)
            holds_lower[zero] = holds_upper[zero] = True
        rules = np.where(holds_lower & holds_upper, 3, np.where(holds_lower, 1, 0))
        return Shown(rules, lower, upper, counts)


def decoded(payload: bytes) -> Histogram:
    parts = decode_histogram(payload)
    schema, hint, zero_threshold, zero_count, count, total, positive, negative, bounds = parts
    return Histogram(
        schema,
        Hint(hint),
        zero_threshold,
        zero_count,
        count,
        total,
        Buckets(*positive),
        Buckets(*negative),
        tuple(bounds),
    )


def _divided(buckets: Buckets, divisor: float) -> Buckets:
    return kept(buckets.indexes, buckets.counts / divisor)


def _falls(now: Buckets, before: Buckets) -> bool:
    """Whether a bucket holds less than it did."""
    if not len(before.indexes):
        return bool((now.counts < 0).any())
    at = np.searchsorted(now.indexes, before.indexes)
    found = np.append(now.indexes, np.iinfo(np.int64).max)[at] == before.indexes
    counts = np.where(found, np.append(now.counts, 0.0)[at], 0.0)
    return bool((counts < before.counts).any())


# --- bounds


@cache
def _fractions(schema: int) -> Floats:
    """The bounds between 1 and 2."""
    parts = 1 << schema
    return np.array([2.0 ** (part / parts) for part in range(parts)])


def bound(histogram: Histogram, indexes: Indexes) -> Floats:
    """The upper ends of positive buckets; the lower end of one is the upper of the one before."""
    if histogram.is_custom:
        table = np.array([-np.inf, *histogram.bounds, np.inf])
        return table[np.clip(indexes + 1, 0, len(table) - 1)]
    schema = histogram.schema
    if schema > 0:
        exponents, base = indexes >> schema, _fractions(schema)[indexes & ((1 << schema) - 1)]
    else:
        exponents, base = indexes << -schema, np.ones(len(indexes))
    # The bucket below the one that is open ends at the largest number there is.
    is_largest = (exponents == _EXPONENT_MAX) & (base == 1.0)
    with np.errstate(over="ignore"):
        found = np.ldexp(base, np.clip(exponents, -4096, 4096).astype(np.int32))
    return np.where(is_largest, np.finfo(np.float64).max, found)


# --- layouts


def coarser(histogram: Histogram, schema: int) -> Histogram:
    """In a smaller schema: neighbouring buckets made one."""
    shift = histogram.schema - schema
    if shift <= 0 or histogram.is_custom:
        return histogram

    def merged(buckets: Buckets) -> Buckets:
        return gathered(((buckets.indexes - 1) >> shift) + 1, buckets.counts)

    return replace(
        histogram,
        schema=schema,
        positive=merged(histogram.positive),
        negative=merged(histogram.negative),
    )


def widened(histogram: Histogram, threshold: float) -> Histogram:
    """With a zero bucket at least so wide; it ends where a bucket ends that holds something."""
    if threshold <= histogram.zero_threshold:
        return histogram
    while True:
        reached = threshold
        for buckets in (histogram.positive, histogram.negative):
            inside = bound(histogram, buckets.indexes - 1) < threshold
            if inside.any():
                ends = bound(histogram, buckets.indexes[inside])
                reached = max(reached, float(ends.max()))
        if reached == threshold:
            break
        threshold = reached
    taken = 0.0
    sides = []
    for buckets in (histogram.positive, histogram.negative):
        outside = bound(histogram, buckets.indexes) > threshold
        taken += float(buckets.counts[~outside].sum())
        sides.append(Buckets(buckets.indexes[outside], buckets.counts[outside]))
    return replace(
        histogram,
        zero_threshold=threshold,
        zero_count=histogram.zero_count + taken,
        positive=sides[0],
        negative=sides[1],
    )


def common_bounds(histograms: Sequence[Histogram]) -> tuple[float, ...]:
    """The custom bounds that all have."""
    first, *others = histograms
    if all(one.bounds == first.bounds for one in others):
        return first.bounds
    shared = set(first.bounds).intersection(*(one.bounds for one in others))
    return tuple(sorted(shared))


def _rebound(histogram: Histogram, bounds: tuple[float, ...]) -> Histogram:
    if histogram.bounds == bounds:
        return histogram
    ends = bound(histogram, histogram.positive.indexes)
    indexes = np.searchsorted(np.array(bounds), ends).astype(np.int64)
    return replace(histogram, bounds=bounds, positive=gathered(indexes, histogram.positive.counts))


def aligned(histograms: Sequence[Histogram]) -> list[Histogram]:
    """All in one layout. Raises Incompatible where there is none."""
    if len({one.is_custom for one in histograms}) > 1:
        raise Incompatible
    if histograms[0].is_custom:
        bounds = common_bounds(histograms)
        return [_rebound(one, bounds) for one in histograms]
    threshold = max(one.zero_threshold for one in histograms)
    while True:
        histograms = [widened(one, threshold) for one in histograms]
        reached = max(one.zero_threshold for one in histograms)
        if reached == threshold:
            break
        threshold = reached
    schema = min(one.schema for one in histograms)
    return [coarser(one, schema) for one in histograms]


# --- sums


@dataclass(frozen=True, slots=True, eq=False)
class Sum:
    """``collides``: one of the counters was reset, another was not; ``is_rebound``: custom bounds
    differed."""

    histogram: Histogram
    collides: bool
    is_rebound: bool


def added(histograms: Sequence[Histogram]) -> Sum:
    """The sum, with the rounding made good. Raises Incompatible."""
    hint, collides = _joined_hint(histograms)
    is_rebound = any(one.bounds != histograms[0].bounds for one in histograms)
    total = _total(aligned(histograms))
    return Sum(replace(total, hint=hint), collides, is_rebound)


def subtracted(left: Histogram, right: Histogram) -> Sum:
    """Counts may become negative; what is left is a gauge. Raises Incompatible."""
    _, collides = _joined_hint([left, right])
    first, second = aligned([left, right])
    difference = _total([first, second.multiplied(-1.0)])
    is_rebound = left.bounds != right.bounds
    return Sum(replace(difference, hint=Hint.GAUGE), collides, is_rebound)


def averaged(histograms: Sequence[Histogram]) -> Sum:
    """Raises Incompatible."""
    found = added(histograms)
    count = len(histograms)
    if overflows(found.histogram) and not any(map(overflows, histograms)):
        return added([one.divided(count) for one in histograms])
    return replace(found, histogram=found.histogram.divided(count))


def overflows(histogram: Histogram) -> bool:
    numbers = (histogram.zero_count, histogram.count, histogram.sum)
    sides = (histogram.positive.counts, histogram.negative.counts)
    return bool(np.isinf(numbers).any() or any(np.isinf(side).any() for side in sides))


def _joined_hint(histograms: Sequence[Histogram]) -> tuple[Hint, bool]:
    hints = {one.hint for one in histograms}
    collides = {Hint.RESET, Hint.NOT_RESET} <= hints
    if len(hints) == 1:
        return histograms[0].hint, False
    return (Hint.GAUGE if Hint.GAUGE in hints else Hint.UNKNOWN), collides


def _total(histograms: Sequence[Histogram]) -> Histogram:
    """Of histograms in one layout."""
    numbers = np.array([(one.zero_count, one.count, one.sum) for one in histograms])
    zero_count, count, total = compensated(numbers).tolist()
    return replace(
        histograms[0],
        zero_count=zero_count,
        count=count,
        sum=total,
        positive=_bucket_totals([one.positive for one in histograms]),
        negative=_bucket_totals([one.negative for one in histograms]),
    )


def _bucket_totals(sides: Sequence[Buckets]) -> Buckets:
    indexes = np.unique(np.concatenate([side.indexes for side in sides]))
    table = np.zeros((len(sides), len(indexes)))
    for row, side in enumerate(sides):
        table[row, np.searchsorted(indexes, side.indexes)] = side.counts
    return kept(indexes, compensated(table))


def compensated(table: Floats) -> Floats:
    """Sums of the columns by Neumaier's method, row after row."""
    total = table[0].copy()
    lost = np.zeros_like(total)
    with np.errstate(all="ignore"):
        for row in table[1:]:
            following = total + row
            larger = np.abs(total) >= np.abs(row)
            low = np.where(larger, (total - following) + row, (row - following) + total)
            lost += np.where(np.isinf(following), 0.0, low)
            total = following
        return np.asarray(np.where(np.isinf(total), total, total + lost))
