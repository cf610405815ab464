import pytest

from orrery.errors import Exhausted, Unavailable
from orrery.kernels.meter import Meter


def test_a_limit_is_named_with_value_and_current():
    meter = Meter(samples_max=10, series_max=0)
    meter.add_samples(10)
    with pytest.raises(Exhausted, match="query_samples") as caught:
        meter.add_samples(5)
    excess = caught.value.excess
    assert excess is not None
    assert (excess.limit, excess.value, excess.current) == ("query_samples", 10, 15)
    assert meter.samples_read == 15


def test_a_late_query_stops():
    with pytest.raises(Exhausted, match="query_seconds"):
        Meter(samples_max=0, series_max=0, deadline_seconds=0.0).check()


def test_a_cancelled_query_stops():
    meter = Meter(samples_max=0, series_max=0)
    meter.check()
    meter.cancel()
    with pytest.raises(Unavailable, match="cancelled"):
        meter.check()
