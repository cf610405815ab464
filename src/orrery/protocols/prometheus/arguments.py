"""Reads the arguments of Prometheus' HTTP API: times, durations, limits, repeats.

Messages are worded as Prometheus 3 words them (``web/api/v1/api.go``): clients show them, and
some look into them.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from orrery.errors import Invalid
from orrery.server.http import Request

T = TypeVar("T")

SECOND_NS = 1_000_000_000
TIME_MIN_NS = -(2**63)
TIME_MAX_NS = 2**63 - 1
"""Prometheus' own bounds lie outside what 64 bits of nanoseconds hold; they mean "all"."""

EXTREME_TIMES = {
    "-292273086-05-16T16:47:06Z": TIME_MIN_NS,
    "292277025-08-18T07:12:54.999999999Z": TIME_MAX_NS,
}
RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
DURATION = re.compile(
    r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII
)
SECONDS = (365 * 86400, 7 * 86400, 86400, 3600, 60, 1)
UNITS_NS = (*(seconds * SECOND_NS for seconds in SECONDS), 1_000_000)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Arguments:
    """Query and form arguments of one request; the first of a repeated one counts."""

    def __init__(self, request: Request) -> None:
        # As in Go a form's argument goes before one of the same name in the URL.
        self._pairs = [*request.form_arguments(), *request.query_arguments()]
        self._firsts = dict(reversed(self._pairs))

    def text(self, name: str) -> str:
        return self._firsts.get(name, "")

    def texts(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]

    def read(self, name: str, parse: Callable[[str], T]) -> T:
        """The parsed argument; what is wrong with it is told under its name."""
        try:
            return parse(self.text(name))
        except Invalid as error:
            raise bad_argument(name, error) from error

    def read_or(self, name: str, parse: Callable[[str], T], default: T) -> T:
        return self.read(name, parse) if self.text(name) else default

    def time_or(self, name: str, default: int) -> int:
        if not self.text(name):
            return default
        try:
            return parse_time(self.text(name))
        except Invalid as error:
            cause = f"invalid time value for '{name}': {error}"
            raise bad_argument(name, cause) from error


def bad_argument(name: str, cause: object) -> Invalid:
    return Invalid(f'invalid parameter "{name}": {cause}')


def quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def parse_time(text: str) -> int:
    """Unix seconds, kept to the millisecond, or RFC 3339; nanoseconds out."""
    if FLOAT.fullmatch(text):
        return within(round_seconds(text), text, "a valid timestamp")
    if text in EXTREME_TIMES:
        return EXTREME_TIMES[text]
    match = RFC3339.fullmatch(text)
    if match is None:
        raise Invalid(f"cannot parse {quote(text)} to a valid timestamp")
    return within(calendar_ns(match, text), text, "a valid timestamp")


def round_seconds(text: str) -> int:
    seconds = float(text)
    if not math.isfinite(seconds):
        raise Invalid(f"cannot parse {quote(text)} to a valid timestamp")
    fraction, whole = math.modf(seconds)
    return int(whole) * SECOND_NS + math.floor(fraction * 1000 + 0.5) * 1_000_000


def calendar_ns(match: re.Match[str], text: str) -> int:
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    zone = match[8]
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise Invalid(f"cannot parse {quote(text)} to a valid timestamp") from error
    since = moment - EPOCH
    if zone not in ("Z", "z"):
        ahead = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        since += ahead if zone[0] == "-" else -ahead
    nanoseconds = int((match[7] or "").ljust(9, "0")[:9])
    return (since.days * 86400 + since.seconds) * SECOND_NS + nanoseconds


def within(time_ns: int, text: str, meaning: str) -> int:
    if TIME_MIN_NS <= time_ns <= TIME_MAX_NS:
        return time_ns
    raise Invalid(f"cannot parse {quote(text)} to {meaning}. It overflows int64")


def parse_duration(text: str) -> int:
    """Float seconds or Prometheus' units (``1h30m``); nanoseconds out."""
    if FLOAT.fullmatch(text):
        seconds = float(text)
        if not abs(seconds) < TIME_MAX_NS / SECOND_NS:
            raise Invalid(f"cannot parse {quote(text)} to a valid duration. It overflows int64")
        return within(int(seconds * SECOND_NS), text, "a valid duration")
    if text == "0":
        return 0
    match = DURATION.fullmatch(text)
    if match is None or not text:
        raise Invalid(f"cannot parse {quote(text)} to a valid duration")
    parts = zip(match.groups(), UNITS_NS, strict=True)
    total_ns = sum(int(count) * unit_ns for count, unit_ns in parts if count)
    return within(total_ns, text, "a valid duration")


def parse_limit(text: str) -> int:
    """How many to answer at most; 0 is no limit."""
    if re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII) is None:
        raise Invalid(f"strconv.Atoi: parsing {quote(text)}: invalid syntax")
    limit = int(text)
    if limit < 0:
        raise Invalid("limit must be non-negative")
    return limit


def unescape_label(name: str) -> str:
    """Undoes ``U__`` escaping of a UTF-8 label name in a path (Prometheus' "values" scheme):
    ``_hex_`` is a character, ``__`` an underscore; what is not well formed stays as it is."""
    if not name.startswith("U__"):
        return name
    found: list[str] = []
    rest = name[3:]
    while rest:
        match = re.match(r"[^_]+|__|_([0-9a-fA-F]{1,6})_", rest)
        if match is None or not valid_escape(match[1]):
            return name
        part = match[0]
        found.append(chr(int(match[1], 16)) if match[1] else "_" if part == "__" else part)
        rest = rest[match.end() :]
    return "".join(found)


def valid_escape(digits: str | None) -> bool:
    if digits is None:
        return True
    code = int(digits, 16)
    return code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF
