import pytest
from hypothesis import given
from hypothesis import strategies as st

from orrery.errors import Exhausted
from orrery.settings import Limits
from orrery.tenancy.admission import (
    BURST_SECONDS,
    IDLE_SECONDS,
    NO_LIMIT,
    TIME_MIN_NS,
)
from tests.tenancy.parts import DAY_NS, OPERATOR, Parts

SECOND_NS = 10**9


def parts_with(**limits):
    return Parts(defaults=Limits(**limits))


def test_rate_is_refused_with_what_it_was_and_when_to_come_again():
    parts = parts_with(samples_per_second=100)
    parts.admission.admit("a", 1000)
    with pytest.raises(Exhausted, match="limit samples_per_second is 100") as caught:
        parts.admission.admit("a", 50)
    excess = caught.value.excess
    assert (excess.limit, excess.scope, excess.value) == ("samples_per_second", "tenant a", 100)
    assert excess.current == 100
    assert excess.retry_after_seconds == pytest.approx(0.5)
    parts.clock.advance(excess.retry_after_seconds)
    parts.admission.admit("a", 50)


def test_tenants_do_not_share_a_rate():
    parts = parts_with(samples_per_second=100)
    parts.admission.admit("a", 1000)
    parts.admission.admit("b", 1000)


def test_batch_larger_than_the_burst_passes_when_nothing_is_owed():
    parts = parts_with(samples_per_second=100)
    parts.admission.admit("a", 5000)
    with pytest.raises(Exhausted) as caught:
        parts.admission.admit("a", 1)
    assert caught.value.excess.retry_after_seconds == pytest.approx(40.01)


def test_what_was_not_stored_is_given_back():
    parts = parts_with(samples_per_second=100, samples_per_day=1000)
    parts.admission.admit("a", 1000)
    parts.admission.give_back("a", 1000)
    parts.admission.admit("a", 1000)


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0, 3)), min_size=1, max_size=60))
def test_no_more_than_the_rate_and_one_burst_is_ever_admitted(steps):
    parts = parts_with(samples_per_second=100)
    admitted = 0
    for count, pause_seconds in steps:
        try:
            parts.admission.admit("a", count)
        except Exhausted:
            pass
        else:
            admitted += count
        parts.clock.advance(pause_seconds)
    assert admitted <= 100 * (BURST_SECONDS + parts.clock.seconds) + 500


def test_day_starts_over_at_midnight_utc():
    parts = parts_with(samples_per_day=100)
    parts.clock.advance(3600)
    parts.admission.admit("a", 100)
    with pytest.raises(Exhausted, match="samples_per_day") as caught:
        parts.admission.admit("a", 1)
    assert caught.value.excess.retry_after_seconds == 23 * 3600
    parts.clock.advance(23 * 3600)
    parts.admission.admit("a", 100)


def test_day_survives_a_restart():
    before = parts_with(samples_per_day=100)
    before.admission.admit("a", 100)
    after = Parts(defaults=Limits(samples_per_day=100), clock=before.clock)
    after.admission.restore_day_counts(*before.admission.day_counts())
    with pytest.raises(Exhausted):
        after.admission.admit("a", 1)
    tomorrow = Parts(defaults=Limits(samples_per_day=100))
    tomorrow.clock.time_ns += DAY_NS
    tomorrow.admission.restore_day_counts(*before.admission.day_counts())
    tomorrow.admission.admit("a", 100)


def test_bounds_without_limits():
    bounds = parts_with(active_series=0, new_series_per_second=0).admission.bounds("a", 0)
    assert bounds.time_min_ns == TIME_MIN_NS
    assert (bounds.active_series_max, bounds.new_series_allowed) == (NO_LIMIT, True)


def test_bounds():
    parts = parts_with(
        sample_age_seconds=60, sample_future_seconds=5, active_series=7, label_count=3
    )
    bounds = parts.admission.bounds("a", 1000 * SECOND_NS)
    assert (bounds.time_min_ns, bounds.time_max_ns) == (940 * SECOND_NS, 1005 * SECOND_NS)
    assert (bounds.active_series_max, bounds.label_count_max) == (7, 3)


def test_far_future_stays_a_time():
    bounds = parts_with(sample_future_seconds=10**12).admission.bounds("a", 0)
    assert bounds.time_max_ns == 2**63 - 1


def test_new_series_are_a_rate():
    parts = parts_with(new_series_per_second=10)
    assert parts.admission.bounds("a", 0).new_series_allowed
    parts.admission.registered("a", 130)
    assert not parts.admission.bounds("a", 0).new_series_allowed
    refusal = parts.admission.new_series_exhausted("a")
    assert refusal.excess.limit == "new_series_per_second"
    assert refusal.excess.retry_after_seconds == pytest.approx(3.1)
    parts.clock.advance(2.9)
    assert not parts.admission.bounds("a", 0).new_series_allowed
    parts.clock.advance(0.2)
    assert parts.admission.bounds("a", 0).new_series_allowed


def test_query_budget():
    budget = parts_with(query_series=0, query_samples=9, query_seconds=2).admission.query("a")
    assert (budget.series_max, budget.samples_max, budget.seconds_max) == (NO_LIMIT, 9, 2)


def test_limits_set_for_a_tenant_hold_at_once():
    parts = parts_with(samples_per_second=100)
    parts.admission.admit("a", 1000)
    parts.administration.set_limits(OPERATOR, "a", {"samples_per_second": 0})
    parts.admission.admit("a", 10**9)


def test_idle_tenants_leave_nothing():
    parts = parts_with(samples_per_second=100)
    for number in range(100):
        parts.admission.admit(f"t{number}", 1)
        parts.admission.accepted(f"t{number}", 1)
    assert parts.admission.active_count() == 100
    list(parts.admission.changed())
    parts.clock.advance(IDLE_SECONDS)
    parts.admission.admit("z", 1)
    assert parts.admission.active() == ["z"]


def test_usage_nobody_has_read_is_not_dropped():
    parts = parts_with()
    parts.admission.accepted("a", 5)
    parts.clock.advance(IDLE_SECONDS)
    parts.admission.admit("z", 1)
    assert [tenant for tenant, _, _ in parts.admission.changed()] == ["a"]


def test_usage_counts():
    parts = parts_with(samples_per_second=10)
    parts.admission.admit("a", 100)
    parts.admission.accepted("a", 90)
    parts.admission.refused("a", "rejected", 10)
    parts.admission.queried("a", "answered", 1234)
    with pytest.raises(Exhausted):
        parts.admission.admit("a", 1)
    ((tenant, usage, day_samples),) = parts.admission.changed()
    assert (tenant, day_samples) == ("a", 100)
    assert usage.samples_accepted == 90
    assert usage.samples_refused == {"rejected": 10}
    assert usage.requests_refused == {"samples_per_second": 1}
    assert (usage.queries, usage.query_samples_read) == ({"answered": 1}, 1234)
    assert list(parts.admission.changed()) == []


def test_all_tenants_together_are_in_the_servers_metrics():
    parts = parts_with()
    for tenant in ("a", "b"):
        parts.admission.registered(tenant, 1)
        parts.admission.accepted(tenant, 5)
        parts.admission.refused(tenant, "rejected", 2)
    value = parts.telemetry.registry.get_sample_value
    assert value("orrery_samples_accepted_total") == 10
    assert value("orrery_series_registered_total") == 2
    assert value("orrery_samples_refused_total", {"reason": "rejected"}) == 4
