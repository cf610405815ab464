"""Window functions over series that hold native histograms, window by window.

The kernels of the core see the floats of such a series alone. :func:`overlaid` keeps what they
gave for windows without a histogram and evaluates the others here; ``reading`` and ``windowing``
call it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from orrery.languages.promql import histogram_notes
from orrery.languages.promql.histogram import (
    Hint,
    Histogram,
    Incompatible,
    Sum,
    added,
    averaged,
    coarser,
    decoded,
    subtracted,
)
from orrery.languages.promql.values import (
    SECOND_NS,
    STALE_BITS,
    Floats,
    Indexes,
    Notes,
    Vector,
    are_held,
)
from orrery.model.effects import Mixed, Window
from orrery.model.selector import PROMQL_NAME

EXTRAPOLATED_MAX = 1.1
"""So many times the distance between samples the first or last one may be from the window's end."""

OF_FLOATS_ALONE = frozenset(
    {
        "deriv",
        "predict_linear",
        "min_over_time",
        "max_over_time",
        "stddev_over_time",
        "stdvar_over_time",
        "mad_over_time",
        "quantile_over_time",
        "ts_of_min_over_time",
        "ts_of_max_over_time",
        "double_exponential_smoothing",
    }
)
"""Kernels that leave histograms out, and say so where there are floats as well."""

OF_THE_NEWEST = frozenset({"instant", "timestamp"})


@dataclass(slots=True)
class Samples:
    """The samples of one series, ascending; histograms are decoded when they are looked at."""

    times_ns: Indexes
    values: Floats
    held: "list[Histogram | bytes | None]"

    def histogram(self, at: int) -> Histogram | None:
        held = self.held[at]
        if isinstance(held, bytes):
            held = self.held[at] = decoded(held)
        return held

    def is_stale(self, at: int) -> bool:
        histogram = self.histogram(at)
        if histogram is not None:
            return histogram.is_stale
        return bool(self.values[at].view(np.int64) == STALE_BITS)

    def without_stale(self) -> "Samples":
        live = [at for at in range(len(self.held)) if not self.is_stale(at)]
        if len(live) == len(self.held):
            return self
        return Samples(self.times_ns[live], self.values[live], [self.held[at] for at in live])


def of_mixed(mixed: Mixed) -> Samples:
    return Samples(mixed.times_ns, mixed.values, list(mixed.payloads))


def of_row(vector: Vector, row: int, times_ns: Indexes) -> Samples:
    """A row of a table: between its steps anything may have happened, resets too."""
    assert vector.histograms is not None
    at = np.nonzero(vector.present[row])[0]
    held = [
        one if one is None or one.hint is Hint.GAUGE else replace(one, hint=Hint.UNKNOWN)
        for one in vector.histograms[row, at].tolist()
    ]
    return Samples(times_ns[at], vector.values[row, at], held)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the notes of a window function belong."""

    notes: Notes
    start: int


@dataclass(frozen=True, slots=True)
class Span:
    """The samples of one window: those from ``first`` to before ``last``."""

    samples: Samples
    first: int
    last: int
    end_ns: int
    range_ns: int
    name: str
    place: Place

    @property
    def count(self) -> int:
        return self.last - self.first

    def histograms(self) -> list[Histogram]:
        found = (self.samples.histogram(at) for at in range(self.first, self.last))
        return [one for one in found if one is not None]

    def points(self) -> Iterator[tuple[float, Histogram | None]]:
        for at in range(self.first, self.last):
            yield float(self.samples.values[at]), self.samples.histogram(at)

    def point(self, at: int) -> float | Histogram:
        histogram = self.samples.histogram(at)
        return float(self.samples.values[at]) if histogram is None else histogram

    def times_ns(self) -> Indexes:
        return self.samples.times_ns[self.first : self.last]

    def warn(self, message: str) -> None:
        self.place.notes.warn(message, self.place.start)

    def inform(self, message: str) -> None:
        self.place.notes.inform(message, self.place.start)

    def note_sum(self, found: Sum, operation: str, *, tells_collisions: bool = True) -> Histogram:
        if found.collides and tells_collisions:
            self.warn(histogram_notes.collision(operation))
        if found.is_rebound:
            self.inform(histogram_notes.rebound(operation))
        return found.histogram


Answer = float | Histogram | None


def overlaid(vector: Vector, rows: Mapping[int, Samples], window: Window, place: Place) -> Vector:
    """``vector`` is what the kernel gave for the floats alone."""
    if not rows:
        return vector
    values, present = vector.values.copy(), vector.present.copy()
    histograms = np.full(values.shape, None)
    for row, samples in rows.items():
        name = dict(vector.labels[row]).get(PROMQL_NAME, "")
        for step, answer in answers(samples, window, name, place):
            present[row, step] = answer is not None
            if isinstance(answer, Histogram):
                histograms[row, step] = answer
            elif answer is not None:
                values[row, step] = answer
    has_histograms = bool(are_held(histograms).any())
    return Vector(vector.labels, values, present, histograms if has_histograms else None)


def answers(
    samples: Samples, window: Window, name: str, place: Place
) -> Iterator[tuple[int, Answer]]:
    """Of the steps whose windows hold histograms that the function looks at."""
    function = window.function
    if function not in OF_THE_NEWEST:
        samples = samples.without_stale()
    ends_ns = window.start_ns + window.step_ns * np.arange(window.step_count) - window.offset_ns
    lasts = np.searchsorted(samples.times_ns, ends_ns, side="right")
    firsts = np.searchsorted(samples.times_ns, ends_ns - window.range_ns, side="right")
    counts = np.cumsum([0, *(one is not None for one in samples.held)])
    held = counts[lasts] - counts[firsts]
    for step in np.nonzero(held)[0].tolist():
        first, last = int(firsts[step]), int(lasts[step])
        span = Span(samples, first, last, int(ends_ns[step]), window.range_ns, name, place)
        if function in OF_FLOATS_ALONE:
            if held[step] < span.count:
                span.inform(histogram_notes.ignored_in_range(name))
            continue
        try:
            yield step, FUNCTIONS[function](span)
        except Incompatible:
            span.warn(histogram_notes.mixed_schemas(name))
            yield step, None


# --- single samples


def newest(span: Span) -> Answer:
    at = span.last - 1
    return None if span.samples.is_stale(at) else span.point(at)


def time_of_newest(span: Span) -> Answer:
    at = span.last - 1
    return None if span.samples.is_stale(at) else seconds(span.samples.times_ns[at])


def seconds(time_ns: np.int64) -> float:
    return float(time_ns // SECOND_NS + (time_ns % SECOND_NS) / SECOND_NS)


# --- what changes


def increase(span: Span, *, is_counter: bool = True, is_rate: bool = False) -> Answer:
    """The growth from the first to the last histogram, extrapolated to the ends of the window where
    it seems to go on to them."""
    histograms = span.histograms()
    if len(histograms) < span.count:
        span.warn(histogram_notes.mixed(span.name))
        return None
    if len(histograms) < 2:
        return None
    grown = growth(span, histograms) if is_counter else difference(span, histograms)
    first_ns, last_ns = int(span.times_ns()[0]), int(span.times_ns()[-1])
    sampled = (last_ns - first_ns) / SECOND_NS
    to_start = (first_ns - (span.end_ns - span.range_ns)) / SECOND_NS
    to_end = (span.end_ns - last_ns) / SECOND_NS
    distance = sampled / (len(histograms) - 1)
    if to_start >= distance * EXTRAPOLATED_MAX:
        to_start = distance / 2
    if is_counter and grown.count > 0 and histograms[0].count >= 0:
        # No counter was ever below zero.
        to_start = min(to_start, sampled * (histograms[0].count / grown.count))
    if to_end >= distance * EXTRAPOLATED_MAX:
        to_end = distance / 2
    factor = (sampled + to_start + to_end) / sampled
    return grown.multiplied(factor / (span.range_ns / SECOND_NS) if is_rate else factor)


def growth(span: Span, histograms: list[Histogram]) -> Histogram:
    """Of a counter, resets made good. Raises Incompatible."""
    if any(one.hint is Hint.GAUGE for one in histograms):
        span.warn(histogram_notes.not_a_counter(span.name))
    first, last = histograms[0], histograms[-1]
    if histograms[1].began_anew(first):
        # The first one tells nothing then, not even what its buckets are.
        first = replace(
            Histogram(histograms[1].schema, Hint.UNKNOWN, 0.0, 0.0, 0.0, 0.0),
            bounds=histograms[1].bounds,
        )
    if any(one.is_custom != first.is_custom for one in histograms[1:]):
        raise Incompatible
    schema = min(one.schema for one in (first, *histograms[1:]))
    found = note_difference(span, coarser(last, schema), first)
    previous = first
    for current in histograms[1:]:
        if current.began_anew(previous):
            found = span.note_sum(added([found, previous]), "addition", tells_collisions=False)
        previous = current
    return replace(found, hint=Hint.GAUGE)


def difference(span: Span, histograms: list[Histogram]) -> Histogram:
    first, last = histograms[0], histograms[-1]
    found = note_difference(span, last, first)
    if first.hint is not Hint.GAUGE or last.hint is not Hint.GAUGE:
        span.warn(histogram_notes.not_a_gauge(span.name))
    return found


def note_difference(span: Span, left: Histogram, right: Histogram) -> Histogram:
    return span.note_sum(subtracted(left, right), "subtraction", tells_collisions=False)


def rate(span: Span) -> Answer:
    return increase(span, is_rate=True)


def delta(span: Span) -> Answer:
    return increase(span, is_counter=False)


def idelta(span: Span, *, is_rate: bool = False) -> Answer:
    if span.count < 2:
        return None
    before, now = span.samples.histogram(span.last - 2), span.samples.histogram(span.last - 1)
    if before is None and now is None:
        return float_difference(span, is_rate=is_rate)
    if before is None or now is None:
        span.warn(histogram_notes.mixed(span.name))
        return None
    is_gauge = [one.hint is Hint.GAUGE for one in (before, now)]
    if is_rate and any(is_gauge):
        span.warn(histogram_notes.not_a_counter(span.name))
    if not is_rate and not all(is_gauge):
        span.warn(histogram_notes.not_a_gauge(span.name))
    if is_rate and now.began_anew(before):
        found = replace(now, hint=Hint.GAUGE)
    else:
        found = note_difference(span, now, before)
    return found.divided(_interval_seconds(span)) if is_rate else found


def float_difference(span: Span, *, is_rate: bool) -> float:
    """The last two samples are floats, though histograms lie before them."""
    before, now = (float(value) for value in span.samples.values[span.last - 2 : span.last])
    if not is_rate:
        return now - before
    return (now if now < before else now - before) / _interval_seconds(span)


def _interval_seconds(span: Span) -> float:
    times_ns = span.samples.times_ns
    return int(times_ns[span.last - 1] - times_ns[span.last - 2]) / SECOND_NS


def irate(span: Span) -> Answer:
    return idelta(span, is_rate=True)


def resets(span: Span) -> Answer:
    return _pairs(
        span,
        lambda before, now: now < before,
        lambda before, now: now.began_anew(before),
    )


def changes(span: Span) -> Answer:
    return _pairs(
        span,
        lambda before, now: now != before and not (np.isnan(now) and np.isnan(before)),
        lambda before, now: not now.equals(before),
    )


def _pairs(
    span: Span,
    floats: Callable[[float, float], bool],
    histograms: Callable[[Histogram, Histogram], bool],
) -> float:
    """How many samples differ from the one before; another kind always does."""
    points = list(span.points())
    count = 0
    for (value, histogram), (next_value, following) in pairwise(points):
        if histogram is None and following is None:
            count += floats(value, next_value)
        elif histogram is None or following is None:
            count += 1
        else:
            count += histograms(histogram, following)
    return float(count)


# --- over time


def _over_time(span: Span, combine: Callable[[Sequence[Histogram]], Sum]) -> Answer:
    histograms = span.histograms()
    if len(histograms) < span.count:
        span.warn(histogram_notes.mixed(span.name))
        return None
    return span.note_sum(combine(histograms), "aggregation")


FUNCTIONS: Mapping[str, Callable[[Span], Answer]] = {
    "instant": newest,
    "timestamp": time_of_newest,
    "rate": rate,
    "increase": increase,
    "delta": delta,
    "irate": irate,
    "idelta": idelta,
    "resets": resets,
    "changes": changes,
    "sum_over_time": lambda span: _over_time(span, added),
    "avg_over_time": lambda span: _over_time(span, averaged),
    "count_over_time": lambda span: float(span.count),
    "present_over_time": lambda _: 1.0,
    "first_over_time": lambda span: span.point(span.first),
    "last_over_time": lambda span: span.point(span.last - 1),
    "ts_of_first_over_time": lambda span: seconds(span.samples.times_ns[span.first]),
    "ts_of_last_over_time": lambda span: seconds(span.samples.times_ns[span.last - 1]),
}
