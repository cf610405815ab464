"""Quantiles and fractions of classic histograms: counters by upper bound, in the label ``le``."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from orrery.languages.promql.durations import format_number
from orrery.languages.promql.functions.native import with_natives
from orrery.languages.promql.functions.ranges import note_bad_quantiles
from orrery.languages.promql.functions.registry import SCALAR, STRING, VECTOR, Arguments, whole
from orrery.languages.promql.histogram import Histogram as NativeHistogram
from orrery.languages.promql.histogram_quantile import fraction as native_fraction
from orrery.languages.promql.histogram_quantile import quantile as native_quantile
from orrery.languages.promql.tokens import go_quote
from orrery.languages.promql.values import (
    Bools,
    Floats,
    Indexes,
    Vector,
    concatenate,
    drop_name,
    empty,
    fail,
    merge_duplicates,
    set_labels,
)
from orrery.model.effects import Labels
from orrery.model.selector import PROMQL_NAME

BOUND = "le"
# Relative differences below this are the noise of float arithmetic, not lost observations.
NOISE = 1e-12
_SMALLEST_NORMAL = 2.2250738585072014e-308


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """One histogram at the steps that have the same buckets: ``counts`` is (buckets, steps)."""

    labels: Labels
    name: str
    bounds: Floats
    counts: Floats
    steps: Indexes


@whole("histogram_quantile", SCALAR, VECTOR)
def histogram_quantile(arguments: Arguments) -> Vector:
    levels = arguments.scalar(0)
    note_bad_quantiles(arguments.notes, levels, arguments.node.arguments[0].start)
    return quantiles(arguments, 1, levels)


def quantiles(arguments: Arguments, index: int, levels: Floats) -> Vector:
    """Of the classic and the native histograms of the vector at ``index``."""

    def native(one: NativeHistogram, step: int, name: str) -> float:
        return native_quantile(levels[step], one, lambda note: arguments.inform(note, index), name)

    def classic(one: Histogram) -> Floats:
        return quantile(arguments, one, levels[one.steps], index)

    found = over_histograms(arguments, index, classic)
    return with_natives(arguments, index, native, found, BOUND)


@whole("histogram_quantiles", VECTOR, STRING, SCALAR, repeats=True)
def histogram_quantiles(arguments: Arguments) -> Vector:
    """Several quantiles at once, told apart by a label that holds the level."""
    label = arguments.text(1)
    parts = []
    for index in range(2, len(arguments.values)):
        levels = arguments.scalar(index)
        note_bad_quantiles(arguments.notes, levels, arguments.node.arguments[index].start)
        found = quantiles(arguments, 0, levels)
        for level in np.unique(levels):
            same = (levels == level) | (np.isnan(levels) & np.isnan(level))
            changes = {label: format_level(float(level))}
            labels = [set_labels(one, changes) for one in found.labels]
            parts.append(Vector(labels, found.values, found.present & same))
    return merge_duplicates(concatenate(parts, arguments.steps))


def format_level(level: float) -> str:
    """As OpenMetrics writes floats: never without a point, an exponent or letters."""
    text = format_number(level)
    return text if any(sign in text for sign in ".eNI") else f"{text}.0"


@whole("histogram_fraction", SCALAR, SCALAR, VECTOR)
def histogram_fraction(arguments: Arguments) -> Vector:
    lower, upper = arguments.scalar(0), arguments.scalar(1)

    def native(one: NativeHistogram, step: int, name: str) -> float:
        ends = float(lower[step]), float(upper[step])
        return native_fraction(*ends, one, lambda note: arguments.inform(note, 2), name)

    def classic(one: Histogram) -> Floats:
        return fraction(one, lower[one.steps], upper[one.steps])

    return with_natives(arguments, 2, native, over_histograms(arguments, 2, classic), BOUND)


def over_histograms(
    arguments: Arguments, index: int, read: Callable[[Histogram], Floats]
) -> Vector:
    """``read`` of every classic histogram of the vector at ``index``, put back into one table."""
    vector = arguments.vector(index)
    rows: dict[Labels, int] = {}
    found = list(histograms(arguments, index))
    for one in found:
        rows.setdefault(one.labels, len(rows))
    if not rows:
        return empty(arguments.steps)
    values = np.zeros((len(rows), vector.values.shape[1]))
    present = np.zeros(values.shape, dtype=np.bool_)
    for one in found:
        values[rows[one.labels], one.steps] = read(one)
        present[rows[one.labels], one.steps] = True
    return Vector(list(rows), values, present)


def histograms(arguments: Arguments, index: int) -> Iterator[Histogram]:
    """The buckets grouped by everything but their bound."""
    vector = arguments.vector(index).only_floats().without_empty_rows()
    members: dict[Labels, list[tuple[float, int]]] = {}
    for row, labels in enumerate(vector.labels):
        held = dict(labels)
        text = held.pop(BOUND, "")
        bound = _bound(text)
        if bound is None:
            _note_bad_bound(arguments, index, text, held.get(PROMQL_NAME, ""))
            continue
        key = tuple(pair for pair in labels if pair[0] != BOUND)
        members.setdefault(key, []).append((bound, row))
    by_labels: dict[Labels, list[Labels]] = {}
    for key in members:
        by_labels.setdefault(drop_name(key), []).append(key)
    taken: dict[Labels, Bools] = {}
    for key, buckets in members.items():
        rows = np.array([row for _, row in buckets])
        if len(by_labels[drop_name(key)]) > 1:
            used = vector.present[rows].any(axis=0)
            if (taken.setdefault(drop_name(key), np.zeros_like(used)) & used).any():
                fail("vector cannot contain metrics with the same labelset")
            taken[drop_name(key)] |= used
        yield from _by_pattern(vector, key, buckets)


def _bound(text: str) -> float | None:
    try:
        return float(text.replace("_", "x"))
    except ValueError:
        return None


def _note_bad_bound(arguments: Arguments, index: int, text: str, name: str) -> None:
    message = f"bucket label {go_quote(BOUND)} is missing or has a malformed value of "
    message += go_quote(text)
    arguments.warn(message + (f" for metric name {go_quote(name)}" if name else ""), index)


def _by_pattern(
    vector: Vector, key: Labels, buckets: list[tuple[float, int]]
) -> Iterator[Histogram]:
    """One histogram for each set of buckets that some steps have in common."""
    buckets = sorted(buckets)
    rows = np.array([row for _, row in buckets])
    bounds = np.array([bound for bound, _ in buckets])
    present = vector.present[rows]
    patterns, number_of = np.unique(present, axis=1, return_inverse=True)
    for number_, pattern in enumerate(patterns.T):
        if not pattern.any():
            continue
        steps = np.nonzero(number_of.reshape(-1) == number_)[0]
        counts = vector.values[np.ix_(rows[pattern], steps)]
        joined, first = np.unique(bounds[pattern], return_index=True)
        yield Histogram(
            drop_name(key),
            dict(key).get(PROMQL_NAME, ""),
            joined,
            np.add.reduceat(counts, first, axis=0),
            steps,
        )


def _is_whole(one: Histogram) -> bool:
    return len(one.bounds) >= 2 and one.bounds[-1] == math.inf


def quantile(arguments: Arguments, one: Histogram, levels: Floats, index: int) -> Floats:
    """Linear within the bucket the rank falls in; NaN where there is no histogram to speak of."""
    outside = np.where(levels < 0, -np.inf, np.where(levels > 1, np.inf, np.nan))
    inside = (levels >= 0) & (levels <= 1)
    if not _is_whole(one):
        return outside
    counts, forced = monotonic(one.counts)
    if (forced & inside).any():
        _note_forced(arguments, one, index)
    total = counts[-1]
    rank = levels * total
    last = len(one.bounds) - 1
    bucket = np.minimum((~(counts[:-1] >= rank)).sum(axis=0), last)
    column = np.arange(len(rank))
    below = np.maximum(bucket - 1, 0)
    start = np.where(bucket > 0, one.bounds[below], 0.0)
    count_below = np.where(bucket > 0, counts[below, column], 0.0)
    in_bucket = counts[bucket, column] - count_below
    found = start + (one.bounds[bucket] - start) * ((rank - count_below) / in_bucket)
    found = np.where((bucket == 0) & (one.bounds[0] <= 0), one.bounds[0], found)
    found = np.where(bucket == last, one.bounds[last - 1], found)
    return np.where(inside & (total != 0), found, outside)


def _note_forced(arguments: Arguments, one: Histogram, index: int) -> None:
    where = "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile"
    message = f"input to histogram_quantile needed to be fixed for monotonicity (see {where})"
    suffix = f" for metric name {go_quote(one.name)}" if one.name else ""
    arguments.inform(message + suffix, index)


def monotonic(counts: Floats) -> tuple[Floats, Bools]:
    """The counts made never to fall, and the steps where more than noise had to be mended."""
    fixed = counts.copy()
    forced = np.zeros(counts.shape[1], dtype=np.bool_)
    previous = fixed[0].copy()
    for current in fixed[1:]:
        near = almost_equal(previous, current)
        falls = (current < previous) & ~near
        forced |= falls
        held = near | falls
        current[held] = previous[held]
        previous = current.copy()
    return fixed, forced


def almost_equal(left: Floats, right: Floats) -> Bools:
    both = np.abs(left) + np.abs(right)
    difference = np.abs(left - right)
    tiny = (left == 0) | (right == 0) | (both < _SMALLEST_NORMAL)
    scale = np.minimum(both, np.finfo(np.float64).max)
    near = np.where(tiny, difference < NOISE * _SMALLEST_NORMAL, difference / scale < NOISE)
    return np.asarray((left == right) | near | (np.isnan(left) & np.isnan(right)))


def fraction(one: Histogram, lower: Floats, upper: Floats) -> Floats:
    """The share of observations in [lower, upper]."""
    counts, _ = monotonic(one.counts)
    total = counts[-1]
    if one.bounds[-1] != math.inf:
        return np.full(len(lower), np.nan)
    share = (rank_of(one.bounds, counts, upper) - rank_of(one.bounds, counts, lower)) / total
    share = np.where(lower >= upper, 0.0, share)
    unknown = np.isnan(lower) | np.isnan(upper) | (total == 0) | np.isnan(total)
    return np.where(unknown, np.nan, share)


def rank_of(bounds: Floats, counts: Floats, values: Floats) -> Floats:
    """How many observations lie below each value, linear within a bucket."""
    column = np.arange(len(values))
    last = len(bounds) - 1
    bucket = np.minimum(np.searchsorted(bounds, values, side="left"), last)
    below = np.maximum(bucket - 1, 0)
    # The first bucket starts at zero, or has no lower end where its bound is not positive.
    first_start = 0.0 if bounds[0] > 0 else -np.inf
    start = np.where(bucket > 0, bounds[below], first_start)
    count_below = np.where(bucket > 0, counts[below, column], 0.0)
    end = bounds[bucket]
    share = (values - start) / (end - start)
    within = count_below + (counts[bucket, column] - count_below) * share
    within = np.where(values <= start, count_below, within)
    # An open bucket tells nothing about where in it observations lie: it gives none to a range
    # that ends inside it.
    within = np.where((end == np.inf) & (values < np.inf), count_below, within)
    is_open_below = (start == -np.inf) & (values > -np.inf)
    return np.where((values >= end) | is_open_below, counts[bucket, column], within)
