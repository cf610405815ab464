"""Durations and numbers as PromQL writes them; for ``parse`` and ``print``."""

import math
import re

MILLISECOND_NS = 1_000_000
SECOND_NS = 1_000_000_000
_UNITS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_DURATION = re.compile("".join(rf"(?:(\d+){unit})?" for unit in _UNITS_MS))
DURATION_NS_MAX = (1 << 63) - 1


def duration_ns(text: str) -> int | None:
    """``1h30m`` in nanoseconds; None where it is not one (units out of order, or too long)."""
    match = _DURATION.fullmatch(text)
    if match is None:
        return None
    counts = [int(group or 0) for group in match.groups()]
    total_ms = sum(count * unit for count, unit in zip(counts, _UNITS_MS.values(), strict=True))
    total = total_ms * MILLISECOND_NS
    return total if total <= DURATION_NS_MAX else None


def number(text: str) -> float | None:
    """A number literal: as Go reads it, an integer of any base first, then a float."""
    lower = text.lower().replace("_", "")
    if lower in ("inf", "nan"):
        return float(lower)
    if lower.startswith("0x"):
        return float(int(lower, 16))
    if len(lower) > 1 and lower[0] == "0" and all(digit in "01234567" for digit in lower):
        return float(int(lower, 8))
    try:
        return float(lower)
    except ValueError:
        return None


def format_duration(duration: int) -> str:
    """Nanoseconds as Prometheus writes them: years and weeks only where nothing remains."""
    milliseconds = abs(duration) // MILLISECOND_NS
    if milliseconds == 0:
        return "0s"
    parts = []
    for unit, size in _UNITS_MS.items():
        if unit in ("y", "w") and milliseconds % size:
            continue
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return ("-" if duration < 0 else "") + "".join(parts)


def format_number(value: float) -> str:
    """A float as Go's ``%v`` writes it: shortest digits, an exponent from 1e21 on."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = _decimal(value)
    if exponent < -4 or exponent >= 21:
        mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
        return f"{sign}{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    return sign + _plain(digits, exponent)


def format_plain(value: float) -> str:
    """A float with shortest digits and never an exponent, as label values hold it."""
    if math.isnan(value) or math.isinf(value):
        return format_number(value)
    sign, digits, exponent = _decimal(value)
    return sign + _plain(digits, exponent)


def _decimal(value: float) -> tuple[str, str, int]:
    """Sign, shortest digits and the decimal exponent of the first of them."""
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return sign, "0", 0
    leading_zeros = len(whole + fraction) - len(digits)
    place = len(whole) - 1 - leading_zeros + int(exponent or 0)
    return sign, digits.rstrip("0") or "0", place


def _plain(digits: str, exponent: int) -> str:
    if exponent < 0:
        return "0." + "0" * (-exponent - 1) + digits
    if len(digits) <= exponent + 1:
        return digits + "0" * (exponent + 1 - len(digits))
    return digits[: exponent + 1] + "." + digits[exponent + 1 :]
