"""Rules of retention: what can be kept, which rule holds, and who may say so."""

import pytest

from orrery.errors import Denied, Invalid
from orrery.settings import Limits
from orrery.store.retention import KEEP_ALL, KeepRule
from orrery.tenancy.access import EVERYTHING, Caller
from orrery.tenancy.administration import OPERATOR
from orrery.tenancy.retention import RetentionRule, default_rule, keep_rule
from tests.tenancy.parts import Parts

LONG = "(" * 70
"""So long when escaped that a hash stands for it."""
HOUR_NS = 3600 * 10**9
DEBUG = [("job", "=", "debug")]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), KeepRule()),
        (Limits(retention_seconds=86_400), KeepRule(raw_days=1.0)),
        (
            Limits(retention_seconds=86_400, downsampling="1h:90d,1d"),
            KeepRule(raw_days=1.0, coarse_days=((HOUR_NS, 90.0), (24 * HOUR_NS, None))),
        ),
    ],
)
def test_limits_make_the_rule_for_all_that_no_rule_matches(limits, expected):
    assert default_rule(limits) == expected


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (RetentionRule(raw_days=0.0), "0 days"),
        (RetentionRule(raw_days=2.0, resolutions={"1h": 1.0}), "at least as long"),
        (RetentionRule(raw_days=None, resolutions={"1h": 9.0}), "at least as long"),
        (RetentionRule(raw_days=1.0, resolutions={"1h": None, "1d": 9.0}), "at least as long"),
        (RetentionRule(raw_days=1.0, resolutions={"7m": None}), "divide a day"),
        (RetentionRule(raw_days=1.0, resolutions={"30s": None}), "a minute or longer"),
        (RetentionRule(raw_days=1.0, resolutions={"40m": None, "1h": None}), "multiple"),
        (RetentionRule(raw_days=1.0, resolutions={"60m": None, "1h": None}), "each once"),
        (RetentionRule(raw_days=1.0, resolutions={"soon": None}), "duration 'soon'"),
    ],
)
def test_what_cannot_be_kept_is_refused(rule, message):
    with pytest.raises(Invalid, match=message):
        keep_rule(rule)


def test_rules_hold_at_once_and_limits_behind_them():
    parts = Parts()
    administration = parts.administration
    assert parts.retention.of("acme") is KEEP_ALL
    rule = RetentionRule(matchers=DEBUG, raw_days=2.0, resolutions={"1h": 30.0})
    administration.set_retention(OPERATOR, "acme", [rule])
    administration.set_limits(OPERATOR, "acme", {"retention_seconds": 10 * 86_400})
    policy = parts.retention.of("acme")
    assert policy.rules == (
        KeepRule((("job", "=", "debug"),), 2.0, ((HOUR_NS, 30.0),)),
        KeepRule(raw_days=10.0),
    )
    assert policy.resolutions_ns == {HOUR_NS}
    assert administration.retention(OPERATOR, "acme") == (rule,)
    assert Parts(objects=parts.objects).retention.of("acme") == policy
    administration.set_retention(OPERATOR, "acme", [])
    assert parts.retention.of("acme").rules == (KeepRule(raw_days=10.0),)


def test_a_limit_that_contradicts_the_resolutions_is_refused():
    administration = Parts().administration
    with pytest.raises(Invalid, match="at least as long"):
        administration.set_limits(OPERATOR, "acme", {"downsampling": "1h:2d"})
    changes = {"retention_seconds": 86_400, "downsampling": "1h:2d"}
    assert administration.set_limits(OPERATOR, "acme", changes).limits.downsampling == "1h:2d"


def test_matchers_are_checked_and_a_tenant_may_only_look_at_rules():
    parts = Parts()
    bad = RetentionRule(matchers=[("job", "=~", "(")], raw_days=1.0)
    with pytest.raises(Invalid):
        parts.administration.set_retention(OPERATOR, "acme", [bad])
    tenant = Caller("acme", EVERYTHING)
    assert parts.administration.retention(tenant, "acme") == ()
    with pytest.raises(Denied):
        parts.administration.set_retention(tenant, "acme", [])


def test_samples_older_than_any_rule_keeps_are_refused():
    parts = Parts()
    rules = [RetentionRule(matchers=DEBUG, raw_days=2.0), RetentionRule(raw_days=9.0)]
    parts.administration.set_retention(OPERATOR, "acme", rules)
    assert parts.retention.raw_days_min("acme") == 2.0
    admission = parts.admission
    admission.raw_days = parts.retention.raw_days_min
    now_ns = parts.clock.now_ns()
    assert admission.bounds("acme", now_ns).time_min_ns == now_ns - 48 * HOUR_NS
    assert admission.bounds("other", now_ns).time_min_ns == -(2**63)


@pytest.mark.parametrize("limits", [{}, {"retention_seconds": 86_400}])
def test_many_tenants_are_asked_for_at_once(limits):
    parts = Parts(defaults=Limits(**limits))
    rule = RetentionRule(matchers=DEBUG, raw_days=0.5)
    parts.administration.set_retention(OPERATOR, "ruled", [rule])
    parts.administration.set_limits(OPERATOR, "limited", {"retention_seconds": 10 * 86_400})
    tenants = {"ruled", "limited", "plain", "(odd)", LONG}
    asked = []

    def all_tenants():
        asked.append(True)
        return tenants

    found = parts.retention.among(all_tenants, ())
    assert {tenant: found.get(tenant, KEEP_ALL) for tenant in tenants} == {
        tenant: parts.retention.of(tenant) for tenant in tenants
    }
    assert found["ruled"].rules[0].raw_days == 0.5
    # Only where everybody keeps something less are all of them looked at.
    assert asked == [True] * len(limits)
    assert "ruled" not in parts.retention.among(all_tenants, {"ruled"})


def test_a_tenant_whose_name_is_hashed_is_found_among_all():
    parts = Parts()
    parts.administration.set_retention(OPERATOR, LONG, [RetentionRule(raw_days=0.5)])
    assert set(parts.retention.among(lambda: {"plain", LONG}, ())) == {LONG}
