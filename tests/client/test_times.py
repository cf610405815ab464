from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from orrery.client.times import to_duration_ns, to_time_ns
from orrery.errors import Invalid

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("time", "wanted"),
    [
        (0, 0),
        (1.5, 1_500_000_000),
        (-1.5, -1_500_000_000),
        (1_700_000_000.123456, 1_700_000_000_123_456_000),
        (np.int64(7), 7 * SECOND),
        (datetime(1970, 1, 2, tzinfo=UTC), 86400 * SECOND),
        (datetime(1970, 1, 2), 86400 * SECOND),
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 0),
        (np.datetime64("1970-01-01T00:00:00.000000001", "ns"), 1),
        (np.datetime64("1969-12-31"), -86400 * SECOND),
        ("1970-01-01T00:00:01Z", SECOND),
        ("1970-01-02", 86400 * SECOND),
    ],
)
def test_times(time, wanted):
    assert to_time_ns(time) == wanted


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ("noon", "cannot read time 'noon': it is not ISO 8601"),
        (1_700_000_000_000_000_000, "a number is Unix seconds"),
        (float("nan"), "it is not finite"),
        (np.datetime64("NaT"), "it is no time"),
        (np.datetime64("9999-01-01"), "outside 64 bits"),
        (True, "a bool is not supported"),
        (None, "a NoneType is not supported"),
    ],
)
def test_bad_times(time, message):
    with pytest.raises(Invalid) as caught:
        to_time_ns(time)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("duration", "wanted"),
    [
        (15, 15 * SECOND),
        (0.25, SECOND // 4),
        ("1h30m", 5400 * SECOND),
        (timedelta(minutes=1), 60 * SECOND),
        (np.timedelta64(5, "ms"), 5_000_000),
    ],
)
def test_durations(duration, wanted):
    assert to_duration_ns(duration) == wanted


@pytest.mark.parametrize("duration", ["fast", "", float("inf"), np.timedelta64("NaT"), None])
def test_bad_durations(duration):
    with pytest.raises(Invalid, match="cannot read duration"):
        to_duration_ns(duration)
