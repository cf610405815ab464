"""The clock and the calendar: what time a step is, and what day a value falls on (UTC)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from orrery.languages.promql.functions.registry import (
    SCALAR,
    VECTOR,
    Arguments,
    scalar_vector,
    whole,
)
from orrery.languages.promql.values import SECOND_NS, Floats, Vector, without_names

Seconds = NDArray[np.int64]
Days = NDArray[np.datetime64]

# numpy's calendar holds far more; years beyond four digits are nobody's data.
CALENDAR_SECONDS_MAX = 253_402_300_799


@whole("time", returns=SCALAR)
def time(arguments: Arguments) -> Floats:
    return arguments.steps.seconds()


@whole("step", returns=SCALAR)
def step(arguments: Arguments) -> Floats:
    return np.full(arguments.steps.count, arguments.query.steps.step_ns / SECOND_NS)


@whole("range", returns=SCALAR)
def query_range(arguments: Arguments) -> Floats:
    length_ns = arguments.query.end_ns - arguments.query.steps.start_ns
    return np.full(arguments.steps.count, length_ns / SECOND_NS)


@whole("start", returns=SCALAR)
def start(arguments: Arguments) -> Floats:
    return np.full(arguments.steps.count, arguments.query.steps.start_ns / SECOND_NS)


@whole("end", returns=SCALAR)
def end(arguments: Arguments) -> Floats:
    return np.full(arguments.steps.count, arguments.query.end_ns / SECOND_NS)


@whole("timestamp", VECTOR)
def timestamp(arguments: Arguments) -> Vector:
    """The time of the step; of a bare selector ``evaluate`` asks for the samples' own times."""
    source = arguments.vector(0)
    seconds = np.broadcast_to(arguments.steps.seconds(), source.values.shape)
    return without_names(source.with_values(seconds))


@whole("minute", VECTOR, optional_count=1)
def minute(arguments: Arguments) -> Vector:
    return calendar(arguments, lambda seconds, _: seconds // 60 % 60)


@whole("hour", VECTOR, optional_count=1)
def hour(arguments: Arguments) -> Vector:
    return calendar(arguments, lambda seconds, _: seconds // 3600 % 24)


@whole("day_of_week", VECTOR, optional_count=1)
def day_of_week(arguments: Arguments) -> Vector:
    # The first of January 1970 was a Thursday; Sunday is 0.
    return calendar(arguments, lambda seconds, _: (seconds // 86_400 + 4) % 7)


@whole("day_of_month", VECTOR, optional_count=1)
def day_of_month(arguments: Arguments) -> Vector:
    return calendar(arguments, lambda _, days: _count(days, "M") + 1)


@whole("day_of_year", VECTOR, optional_count=1)
def day_of_year(arguments: Arguments) -> Vector:
    return calendar(arguments, lambda _, days: _count(days, "Y") + 1)


@whole("days_in_month", VECTOR, optional_count=1)
def days_in_month(arguments: Arguments) -> Vector:
    return calendar(arguments, _days_in_month)


@whole("month", VECTOR, optional_count=1)
def month(arguments: Arguments) -> Vector:
    months = "datetime64[M]"
    return calendar(arguments, lambda _, days: days.astype(months).astype(np.int64) % 12 + 1)


@whole("year", VECTOR, optional_count=1)
def year(arguments: Arguments) -> Vector:
    years = "datetime64[Y]"
    return calendar(arguments, lambda _, days: days.astype(years).astype(np.int64) + 1970)


def calendar(arguments: Arguments, read: Callable[[Seconds, Days], NDArray[np.int64]]) -> Vector:
    """``read(seconds, days)`` of every value, taken as seconds since 1970, or of the step's own
    time; NaN where no calendar holds the value."""
    own = scalar_vector(arguments.steps.seconds())
    source = arguments.vector(0).only_floats() if arguments.values else own
    values = source.values
    with np.errstate(invalid="ignore"):
        held = np.abs(values) <= CALENDAR_SECONDS_MAX
    seconds = np.trunc(np.where(held, values, 0.0)).astype(np.int64)
    days = (seconds // 86_400).astype("datetime64[D]")
    return without_names(source.with_values(np.where(held, read(seconds, days), np.nan)))


def _count(days: Days, unit: str) -> NDArray[np.int64]:
    """Days since the start of the month or the year they fall in."""
    first = days.astype(f"datetime64[{unit}]").astype("datetime64[D]")
    return np.asarray((days - first).astype(np.int64), dtype=np.int64)


def _days_in_month(_: NDArray[np.int64], days: Days) -> NDArray[np.int64]:
    months = days.astype("datetime64[M]")
    following = (months + np.timedelta64(1, "M")).astype("datetime64[D]")
    length = following - months.astype("datetime64[D]")
    return np.asarray(length.astype(np.int64), dtype=np.int64)
