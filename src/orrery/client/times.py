"""Times and durations as people write them in Python, to nanoseconds; used by ``api``."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np

from orrery.errors import Invalid
from orrery.languages.promql.durations import duration_ns

Time = datetime | np.datetime64 | str | float
"""A number is Unix seconds; a text is ISO 8601; without a zone it is UTC."""

Duration = timedelta | np.timedelta64 | str | float
"""A number is seconds; a text is Prometheus' (``5m``, ``1h30m``)."""

TIME_MIN_NS = -(2**63)
TIME_MAX_NS = 2**63 - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def to_time_ns(time: Time) -> int:
    if isinstance(time, str):
        return text_ns(time)
    if isinstance(time, datetime):
        return datetime_ns(time)
    if isinstance(time, np.datetime64):
        return numpy_ns(time)
    return seconds_ns(time, "time", "a number is Unix seconds")


def text_ns(text: str) -> int:
    try:
        return datetime_ns(datetime.fromisoformat(text))
    except ValueError as error:
        raise Invalid(f"cannot read time {text!r}: it is not ISO 8601") from error


def datetime_ns(time: datetime) -> int:
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return bounded((aware - EPOCH) // MICROSECOND * 1000, time, "time")


def numpy_ns(time: np.datetime64) -> int:
    if np.isnat(time):
        raise Invalid("cannot read time NaT: it is no time")
    whole = time.astype("datetime64[s]")
    seconds = int(whole.astype(np.int64))
    rest = (time - whole).astype("timedelta64[ns]")
    return bounded(seconds * 1_000_000_000 + int(rest.astype(np.int64)), time, "time")


def to_duration_ns(duration: Duration) -> int:
    if isinstance(duration, str):
        found = duration_ns(duration) if duration else None
        if found is None:
            raise Invalid(f"cannot read duration {duration!r}: it is not like '5m' or '1h30m'")
        return found
    if isinstance(duration, timedelta):
        return bounded(duration // MICROSECOND * 1000, duration, "duration")
    if isinstance(duration, np.timedelta64):
        if np.isnat(duration):
            raise Invalid("cannot read duration NaT: it is no duration")
        return int(duration.astype("timedelta64[ns]").astype(np.int64))
    return seconds_ns(duration, "duration", "a number is seconds")


def seconds_ns(seconds: float, what: str, meaning: str) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | np.number):
        kind = type(seconds).__name__
        raise Invalid(f"cannot read {what} {seconds!r}: a {kind} is not supported")
    if isinstance(seconds, int | np.integer):
        return bounded(int(seconds) * 1_000_000_000, seconds, what, meaning)
    if not math.isfinite(seconds):
        raise Invalid(f"cannot read {what} {seconds!r}: it is not finite")
    fraction, whole = math.modf(float(seconds))
    nanoseconds = int(whole) * 1_000_000_000 + round(fraction * 1e6) * 1000
    return bounded(nanoseconds, seconds, what, meaning)


def bounded(nanoseconds: int, given: object, what: str, meaning: str = "") -> int:
    if TIME_MIN_NS <= nanoseconds <= TIME_MAX_NS:
        return nanoseconds
    hint = f" ({meaning})" if meaning else ""
    raise Invalid(f"cannot read {what} {given!r}: it is outside 64 bits of nanoseconds{hint}")
