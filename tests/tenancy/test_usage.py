from concurrent.futures import Future

from orrery.settings import Limits
from orrery.tenancy.usage import WRITES_UNDER_WAY_MAX, UsageSeries
from tests.memory_engine import done
from tests.tenancy.parts import OPERATOR, Parts


def test_usage_becomes_series_of_the_tenant():
    parts = Parts()
    written = {}

    def write(tenant, *, series, time_ns, values):
        assert time_ns == parts.clock.now_ns()
        written[tenant] = dict(zip(series, values.tolist(), strict=True))
        return done(None)

    usage = UsageSeries(
        admission=parts.admission, active_series=lambda tenant: 7, write=write, clock=parts.clock
    )
    parts.admission.accepted("a", 5)
    parts.admission.refused("a", "rejected", 2)
    assert usage.write() == 1
    series = written["a"]
    assert series["orrery_tenant_samples_accepted_total", ()] == 5
    assert series["orrery_tenant_samples_refused_total", (("reason", "rejected"),)] == 2
    assert series["orrery_tenant_active_series", ()] == 7
    assert not any(name == "orrery_tenant_limit" for name, _ in series)
    assert usage.write() == 0


def test_limits_of_its_own_are_series_of_the_tenant():
    parts, written = Parts(), []

    def write(tenant, *, series, time_ns, values):
        written.append(dict(zip(series, values.tolist(), strict=True)))
        return done(None)

    usage = UsageSeries(
        admission=parts.admission, active_series=lambda tenant: 7, write=write, clock=parts.clock
    )
    limits = {"active_series": 50, "samples_per_day": Limits().samples_per_day}
    parts.administration.set_limits(OPERATOR, "a", limits)
    parts.admission.accepted("a", 5)
    usage.write()
    found = {labels: value for (name, labels), value in written[0].items() if "limit" in name}
    assert found == {(("limit", "active_series"),): 50}


def test_many_tenants_are_on_their_way_at_once():
    parts, under_way, most = Parts(), [], []

    def write(tenant, *, series, time_ns, values):
        written = Later(under_way)
        under_way.append(written)
        most.append(len(under_way))
        return written

    usage = UsageSeries(
        admission=parts.admission, active_series=lambda tenant: 7, write=write, clock=parts.clock
    )
    for number in range(WRITES_UNDER_WAY_MAX + 10):
        parts.admission.accepted(f"t{number}", 1)
    assert usage.write() == WRITES_UNDER_WAY_MAX + 10
    assert (max(most), under_way) == (WRITES_UNDER_WAY_MAX, [])


class Later(Future):
    """Done once it is waited for."""

    def __init__(self, under_way):
        super().__init__()
        self.under_way = under_way

    def result(self, timeout=None):
        self.under_way.remove(self)
