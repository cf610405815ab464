"""Quantiles, fractions and moments of native histograms; ``functions.histograms`` calls it.

Observations are thought to lie in their bucket as if its logarithms were drawn evenly, evenly in
the zero bucket and in custom buckets.
"""

import math
from collections.abc import Callable

import numpy as np

from orrery.languages.promql import histogram_notes
from orrery.languages.promql.histogram import Histogram, Shown

NAN_RESULT = "input to histogram_quantile has NaN observations, result is NaN"
NAN_SKEW = "input to histogram_quantile has NaN observations, result is skewed higher"
NAN_EXCLUDED = (
    "input to histogram_fraction has NaN observations, which are excluded from all fractions"
)

Note = Callable[[str], None]


def quantile(level: float, histogram: Histogram, note: Note, name: str) -> float:
    if level < 0:
        return -math.inf
    if level > 1:
        return math.inf
    if histogram.count == 0 or math.isnan(level):
        return math.nan
    shown = histogram.shown()
    # Observations that are no number lie in no bucket, as if above all others.
    has_nan = math.isnan(histogram.sum)
    from_below = has_nan or level < 0.5
    rank = (level if from_below else 1 - level) * histogram.count
    counts = shown.counts if from_below else shown.counts[::-1]
    if not len(counts):
        if has_nan:
            note(histogram_notes.for_name(NAN_RESULT, name))
        return math.nan if has_nan else 0.0
    running = np.cumsum(counts)
    place = min(int(np.searchsorted(running, rank, side="left")), len(counts) - 1)
    reached = min(float(running[place]), histogram.count)
    at = place if from_below else len(counts) - 1 - place
    lower, upper, count = (float(column[at]) for column in (shown.lower, shown.upper, shown.counts))
    lower, upper = _zero_ends(histogram, lower, upper)
    if histogram.is_custom:
        if lower == -math.inf:
            # The first bucket ends below zero, or starts at it.
            if upper <= 0:
                return upper
            lower = 0.0
        elif upper == math.inf:
            return lower
    if reached < rank:
        if has_nan:
            note(histogram_notes.for_name(NAN_RESULT, name))
            return math.nan
        return upper
    if has_nan:
        total = float(running[-1])
        if total < histogram.count:
            note(histogram_notes.for_name(NAN_SKEW, name))
    inside = rank - (reached - count) if from_below else reached - rank
    share = inside / count
    if histogram.is_custom or (lower <= 0 <= upper):
        return lower + (upper - lower) * share
    return _between_logarithms(lower, upper, share)


def _between_logarithms(lower: float, upper: float, share: float) -> float:
    if lower > 0:
        low, high = math.log2(lower), math.log2(upper)
        return math.exp2(low + (high - low) * share)
    low, high = math.log2(-upper), math.log2(-lower)
    return -math.exp2(low + (high - low) * (1 - share))


def _zero_ends(histogram: Histogram, lower: float, upper: float) -> tuple[float, float]:
    """The zero bucket ends at zero where all other observations lie on one side of it."""
    if lower < 0 < upper:
        has_below, has_above = (
            len(side.indexes) > 0 for side in (histogram.negative, histogram.positive)
        )
        if has_above and not has_below:
            return 0.0, upper
        if has_below and not has_above:
            return lower, 0.0
    return lower, upper


def fraction(lower: float, upper: float, histogram: Histogram, note: Note, name: str) -> float:
    """The share of observations between the two; NaN where there are none at all."""
    if histogram.count == 0 or math.isnan(lower) or math.isnan(upper):
        return math.nan
    if math.isnan(histogram.sum):
        note(histogram_notes.for_name(NAN_EXCLUDED, name))
    if lower >= upper:
        return 0.0
    shown = histogram.shown()
    total = histogram.count
    if not math.isnan(histogram.sum):
        ranks = [rank_of(end, histogram, shown, total) for end in (lower, upper)]
    else:
        held = float(shown.counts.sum())
        ranks = [rank_of(end, histogram, shown, held) for end in (lower, upper)]
    return (ranks[1] - ranks[0]) / total


def rank_of(value: float, histogram: Histogram, shown: Shown, most: float) -> float:
    """How many observations lie below a value; at most ``most``."""
    rank = 0.0
    columns = (column.tolist() for column in (shown.lower, shown.upper, shown.counts))
    for lower, upper, count in zip(*columns, strict=True):
        is_linear = histogram.is_custom or lower <= 0 <= upper
        lower, upper = _zero_ends(histogram, lower, upper)
        if lower == -math.inf and upper > 0 and value >= 0:
            # As a classic histogram's first bucket, this one is thought to start at zero.
            lower = 0.0
        if lower >= value:
            break
        if upper > value:
            rank += float(count) * _share_below(value, lower, upper, is_linear=is_linear)
            break
        rank += float(count)
    else:
        return most
    return min(rank, most)


def _share_below(value: float, lower: float, upper: float, *, is_linear: bool) -> float:
    if math.isinf(lower) or math.isinf(upper):
        return 0.0 if math.isinf(upper) else 1.0
    if is_linear:
        return (value - lower) / (upper - lower)
    low, high, at = (math.log2(abs(end)) for end in (lower, upper, value))
    return (at - low) / (high - low)


def variance(histogram: Histogram) -> float:
    """Around the mean, each observation taken for the middle of its bucket."""
    with np.errstate(all="ignore"):
        mean = np.float64(histogram.sum) / histogram.count
        shown = histogram.shown()
        if histogram.is_custom:
            middles = (shown.upper + shown.lower) / 2
        else:
            middles = np.sqrt(shown.upper * shown.lower)
            middles = np.where(shown.upper < 0, -middles, middles)
            middles = np.where((shown.lower <= 0) & (shown.upper >= 0), 0.0, middles)
        spread = shown.counts * (middles - mean) ** 2
        return float(spread.sum() / np.float64(histogram.count))
