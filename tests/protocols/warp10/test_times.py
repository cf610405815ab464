"""Times and durations in arguments."""

import pytest

from orrery.errors import Invalid
from orrery.protocols.warp10.times import read_duration, read_time

SECOND_US = 1_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", 7),
        ("-12", -12),
        ("+12", 12),
        ("1970-01-01", 0),
        ("1970-01-02T00:00", 86_400 * SECOND_US),
        ("1970-01-01T00:00:01Z", SECOND_US),
        ("1970-01-01T00:00:01.5", 1_500_000),
        ("1970-01-01T00:00:00.123456789Z", 123_456),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.5Z", -500_000),
        ("9999-12-31T23:59:59Z", 253_402_300_799 * SECOND_US),
    ],
)
def test_times(text, expected):
    assert read_time("end", text, now_ns=7_999, unit_ns=1000) == expected


@pytest.mark.parametrize(
    "text", ["", "soon", "1.5", "T", "1970-13-01", "9" * 20, "1970-01-01T25:00Z"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(Invalid, match="'end'"):
        read_time("end", text, now_ns=0, unit_ns=1000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", 5),
        ("P1D", 86_400 * SECOND_US),
        ("P1W", 7 * 86_400 * SECOND_US),
        ("PT1H2M3.5S", (3723 * SECOND_US) + 500_000),
        ("P1DT1S", 86_401 * SECOND_US),
    ],
)
def test_durations(text, expected):
    assert read_duration("timespan", text, unit_ns=1000) == expected


@pytest.mark.parametrize("text", ["P", "PT", "P1Y", "P1M", "PT1", "x", "1.5"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(Invalid, match="'timespan'"):
        read_duration("timespan", text, unit_ns=1000)
