from orrery.tenancy.usage import UsageSeries
from tests.tenancy.parts import Parts


def test_usage_becomes_series_of_the_tenant():
    parts = Parts()
    written = {}

    def write(tenant, *, series, time_ns, values):
        assert time_ns == parts.clock.now_ns()
        written[tenant] = dict(zip(series, values.tolist(), strict=True))

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
    assert series["orrery_tenant_limit", (("limit", "active_series"),)] == 1_000_000
    assert usage.write() == 0
