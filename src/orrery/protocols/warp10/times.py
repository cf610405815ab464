"""Times and durations as Warp 10's arguments have them, in nanoseconds and in its time units."""

import re
from datetime import UTC, datetime, timedelta

from orrery.errors import Invalid

UNITS_NS = {"ms": 1_000_000, "us": 1_000, "ns": 1}
SECOND_NS = 1_000_000_000
TIME_MIN_NS = -(2**63)
TIME_MAX_NS = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ISO = re.compile(
    r"(?P<base>[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9:]+)?)(?:[.,](?P<fraction>[0-9]{1,9}))?"
    r"(?P<zone>Z|[+-][0-9:]{2,5})?"
)
_DURATION = re.compile(
    r"P(?:(?P<weeks>[0-9]+)W)?(?:(?P<days>[0-9]+)D)?"
    r"(?:T(?:(?P<hours>[0-9]+)H)?(?:(?P<minutes>[0-9]+)M)?(?:(?P<seconds>[0-9]+)"
    r"(?:\.(?P<fraction>[0-9]{1,9}))?S)?)?"
)
_SECONDS = {"weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}


def read_long(name: str, text: str) -> int:
    """A whole number of 64 bits, as Java reads it."""
    if re.fullmatch(r"[+-]?[0-9]{1,20}", text) and TIME_MIN_NS <= int(text) <= TIME_MAX_NS:
        return int(text)
    raise Invalid(f"Invalid value {text!r} of parameter '{name}': it is not a number")


def read_time(name: str, text: str, *, now_ns: int, unit_ns: int) -> int:
    """A number of time units, ``now``, or a time of ISO 8601; in time units."""
    if text == "now":
        return now_ns // unit_ns
    if re.fullmatch(r"[+-]?[0-9]+", text):
        return read_long(name, text)
    return _iso_ns(name, text) // unit_ns


def read_duration(name: str, text: str, *, unit_ns: int) -> int:
    """A number of time units or a duration of ISO 8601; in time units."""
    if not text.strip().startswith("P"):
        return read_long(name, text)
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise Invalid(
            f"Invalid value {text!r} of parameter '{name}': it is no duration of weeks, days, "
            "hours, minutes and seconds"
        )
    parts = found.groupdict(default="0")
    total_ns = SECOND_NS * sum(int(parts[key]) * seconds for key, seconds in _SECONDS.items())
    total_ns += int(parts["fraction"].ljust(9, "0"))
    return min(total_ns, TIME_MAX_NS) // unit_ns


def _iso_ns(name: str, text: str) -> int:
    found = _ISO.fullmatch(text)
    try:
        if found is None:
            raise ValueError("it has no such form")
        base, zone = found["base"], found["zone"] or "Z"
        # What has no time zone is UTC.
        moment = datetime.fromisoformat(base + (zone if "T" in base else ""))
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        seconds = (moment - _EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError) as error:
        raise Invalid(
            f"Invalid value {text!r} of parameter '{name}': it is neither a number nor a time of "
            "ISO 8601"
        ) from error
    return seconds * SECOND_NS + int((found["fraction"] or "0").ljust(9, "0"))


def bounded_ns(time: int, unit_ns: int) -> int:
    return max(TIME_MIN_NS, min(TIME_MAX_NS, time * unit_ns))
