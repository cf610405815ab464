import pytest

from orrery.errors import Invalid
from orrery.protocols.prometheus.arguments import (
    TIME_MAX_NS,
    TIME_MIN_NS,
    parse_duration,
    parse_limit,
    parse_time,
    unescape_label,
)

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0", 0),
        ("1", SECOND),
        ("-1.5", -1_500_000_000),
        ("1435781430.781", 1_435_781_430_781_000_000),
        ("1435781430.7815", 1_435_781_430_782_000_000),
        ("1.5e9", 1_500_000_000 * SECOND),
        ("2015-07-01T20:10:51.781Z", 1_435_781_451_781_000_000),
        ("2015-07-01T20:10:51.123456789Z", 1_435_781_451_123_456_789),
        ("2015-07-01T22:10:51+02:00", 1_435_781_451 * SECOND),
        ("2015-07-01T14:40:51-05:30", 1_435_781_451 * SECOND),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("-292273086-05-16T16:47:06Z", TIME_MIN_NS),
        ("292277025-08-18T07:12:54.999999999Z", TIME_MAX_NS),
    ],
)
def test_times(text, wanted):
    assert parse_time(text) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'cannot parse "" to a valid timestamp'),
        ("foo", 'cannot parse "foo" to a valid timestamp'),
        ("NaN", 'cannot parse "NaN" to a valid timestamp'),
        ("1e999", 'cannot parse "1e999" to a valid timestamp'),
        ("2015-13-01T00:00:00Z", 'cannot parse "2015-13-01T00:00:00Z" to a valid timestamp'),
        ("2015-07-01", 'cannot parse "2015-07-01" to a valid timestamp'),
        ("1e12", 'cannot parse "1e12" to a valid timestamp. It overflows int64'),
        ("٣", 'cannot parse "٣" to a valid timestamp'),
    ],
)
def test_bad_times(text, message):
    with pytest.raises(Invalid) as caught:
        parse_time(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("15", 15 * SECOND),
        ("0.5", SECOND // 2),
        ("15s", 15 * SECOND),
        ("1h30m", 5400 * SECOND),
        ("1y1w1d", (365 + 7 + 1) * 86400 * SECOND),
        ("250ms", 250_000_000),
        ("-5", -5 * SECOND),
        ("0", 0),
    ],
)
def test_durations(text, wanted):
    assert parse_duration(text) == wanted


@pytest.mark.parametrize("text", ["", "s", "1m1h", "1.5h", "-5m", "1s1s", "five"])
def test_bad_durations(text):
    with pytest.raises(Invalid, match="to a valid duration"):
        parse_duration(text)


def test_a_duration_that_overflows_says_so():
    with pytest.raises(Invalid, match="It overflows int64"):
        parse_duration("1e30")


@pytest.mark.parametrize(("text", "wanted"), [("0", 0), ("7", 7), ("+7", 7)])
def test_limits(text, wanted):
    assert parse_limit(text) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-1", "limit must be non-negative"),
        ("x", 'strconv.Atoi: parsing "x": invalid syntax'),
        ("1.5", 'strconv.Atoi: parsing "1.5": invalid syntax'),
    ],
)
def test_bad_limits(text, message):
    with pytest.raises(Invalid) as caught:
        parse_limit(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("host", "host"),
        ("U__host_2e_name", "host.name"),
        ("U__a__b", "a_b"),
        ("U___1f600_", "\U0001f600"),
        ("U__", ""),
        ("U__bad_", "U__bad_"),
        ("U__x_d800_", "U__x_d800_"),
        ("U__x_zz_", "U__x_zz_"),
    ],
)
def test_escaped_label_names(name, wanted):
    assert unescape_label(name) == wanted
