"""Functions of range vectors: each names the window kernel that reads the samples."""

import numpy as np

from orrery.languages.promql.durations import format_number
from orrery.languages.promql.functions.absence import absent_labels
from orrery.languages.promql.functions.registry import (
    RANGE,
    SCALAR,
    VECTOR,
    Arguments,
    over_range,
    whole,
)
from orrery.languages.promql.values import Floats, Notes, Vector, fail

COUNTER_ENDINGS = ("_total", "_sum", "_count", "_bucket")


def absence(arguments: Arguments, vector: Vector) -> Vector:
    """One series of ones at the steps where no row has a sample."""
    missing = ~vector.present.any(axis=0).reshape(1, -1)
    labels = absent_labels(arguments.node.arguments[0])
    return Vector([labels], np.ones(missing.shape), missing)


@whole("absent", VECTOR)
def absent(arguments: Arguments) -> Vector:
    return absence(arguments, arguments.vector(0))


@over_range("absent_over_time", kernel="present_over_time", finish=absence)
def absent_over_time(arguments: Arguments) -> None: ...


@over_range("rate", is_for_counters=True)
def rate(arguments: Arguments) -> None: ...


@over_range("increase", is_for_counters=True)
def increase(arguments: Arguments) -> None: ...


@over_range("delta")
def delta(arguments: Arguments) -> None: ...


@over_range("irate")
def irate(arguments: Arguments) -> None: ...


@over_range("idelta")
def idelta(arguments: Arguments) -> None: ...


@over_range("deriv")
def deriv(arguments: Arguments) -> None: ...


@over_range("predict_linear", RANGE, SCALAR)
def predict_linear(arguments: Arguments, seconds: Floats) -> None: ...


@over_range("resets")
def resets(arguments: Arguments) -> None: ...


@over_range("changes")
def changes(arguments: Arguments) -> None: ...


@over_range("avg_over_time")
def avg_over_time(arguments: Arguments) -> None: ...


@over_range("min_over_time")
def min_over_time(arguments: Arguments) -> None: ...


@over_range("max_over_time")
def max_over_time(arguments: Arguments) -> None: ...


@over_range("sum_over_time")
def sum_over_time(arguments: Arguments) -> None: ...


@over_range("count_over_time")
def count_over_time(arguments: Arguments) -> None: ...


@over_range("last_over_time", keeps_name=True)
def last_over_time(arguments: Arguments) -> None: ...


@over_range("first_over_time", keeps_name=True)
def first_over_time(arguments: Arguments) -> None: ...


@over_range("present_over_time")
def present_over_time(arguments: Arguments) -> None: ...


@over_range("stddev_over_time")
def stddev_over_time(arguments: Arguments) -> None: ...


@over_range("stdvar_over_time")
def stdvar_over_time(arguments: Arguments) -> None: ...


@over_range("mad_over_time")
def mad_over_time(arguments: Arguments) -> None: ...


@over_range("ts_of_first_over_time")
def ts_of_first_over_time(arguments: Arguments) -> None: ...


@over_range("ts_of_last_over_time")
def ts_of_last_over_time(arguments: Arguments) -> None: ...


@over_range("ts_of_max_over_time")
def ts_of_max_over_time(arguments: Arguments) -> None: ...


@over_range("ts_of_min_over_time")
def ts_of_min_over_time(arguments: Arguments) -> None: ...


@over_range("quantile_over_time", SCALAR, RANGE, checks_late=True)
def quantile_over_time(arguments: Arguments, levels: Floats) -> None:
    note_bad_quantiles(arguments.notes, levels, arguments.node.arguments[0].start)


@over_range("double_exponential_smoothing", RANGE, SCALAR, SCALAR)
def double_exponential_smoothing(arguments: Arguments, smoothing: Floats, trend: Floats) -> None:
    for name, factors in (("smoothing", smoothing), ("trend", trend)):
        for factor in factors[~((factors > 0) & (factors < 1))][:1]:
            fail(f"invalid {name} factor. Expected: 0 < {name[0]}f < 1, got: {factor:f}")


def note_bad_quantiles(notes: Notes, levels: Floats, start: int) -> None:
    for level in np.unique(levels[~((levels >= 0) & (levels <= 1))]).tolist():
        message = f"quantile value should be between 0 and 1, got {format_number(level)}"
        notes.warn(message, start)
