import pytest

from orrery.errors import Denied, Invalid
from orrery.model.selector import Operator
from orrery.tenancy.access import Caller
from orrery.tenancy.administration import NotFound
from orrery.tenancy.tokens import Permission
from tests.tenancy.parts import OPERATOR, Parts

ADMIN_OF_A = Caller("a", frozenset({Permission.ADMIN}), token_id="t")


@pytest.fixture
def parts():
    return Parts()


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ({"permissions": ""}, "no permissions"),
        ({"tenant": "a b"}, "cannot use tenant"),
        ({"expires_seconds": 0}, "expires_seconds"),
        ({"expires_seconds": float("nan")}, "expires_seconds"),
        ({"expires_seconds": 1e12}, "expires_seconds"),
        ({"description": "x" * 1001}, "description"),
        ({"forced_labels": (("__name__", "x"),)}, "reserved"),
        ({"forced_labels": (("a", "x"), ("a", "y"))}, "given twice"),
        ({"forced_labels": (("", "x"),)}, "empty"),
        ({"forced_labels": (("a", "x" * 1001),)}, "longer"),
        ({"forced_matchers": (("a", Operator.REGEX, "("),)}, "not closed"),
        ({"forced_matchers": (("a", Operator.EQUAL, "b"),) * 33}, "more than 32"),
        ({"permissions": "admin", "forced_labels": (("a", "b"),)}, "could make another"),
    ],
)
def test_token_refused(parts, more, cause):
    with pytest.raises(Invalid, match=cause):
        parts.token(**more)
    assert parts.objects.contents == {}


def test_tokens_are_listed_with_revoked_ones(parts):
    _, first = parts.token("a")
    _, second = parts.token("b")
    parts.administration.revoke_token(OPERATOR, first.id)
    listed = {token.id: token for token in parts.administration.tokens(OPERATOR)}
    assert listed[first.id].revoked_ns == parts.clock.now_ns()
    assert listed[second.id].revoked_ns is None
    assert [token.id for token in parts.administration.tokens(OPERATOR, "b")] == [second.id]


def test_revoking_again_changes_nothing(parts):
    _, token = parts.token()
    first = parts.administration.revoke_token(OPERATOR, token.id)
    parts.clock.advance(5)
    assert parts.administration.revoke_token(OPERATOR, token.id) == first


@pytest.mark.parametrize("token_id", ["", "absent", "../tenants/a", "é"])
def test_revoking_what_is_not_there(parts, token_id):
    with pytest.raises(NotFound):
        parts.administration.revoke_token(OPERATOR, token_id)


def test_administrator_of_one_tenant_keeps_to_it(parts):
    _, own = parts.token("a")
    _, other = parts.token("b")
    administration = parts.administration
    assert [token.id for token in administration.tokens(ADMIN_OF_A)] == [own.id]
    parts.token("a", caller=ADMIN_OF_A)
    with pytest.raises(NotFound):
        administration.revoke_token(ADMIN_OF_A, other.id)
    for forbidden in (
        lambda: parts.token("b", caller=ADMIN_OF_A),
        lambda: parts.token("*", "admin", caller=ADMIN_OF_A),
        lambda: administration.tokens(ADMIN_OF_A, "b"),
        lambda: administration.tenants(ADMIN_OF_A),
        lambda: administration.tenant(ADMIN_OF_A, "b"),
        lambda: administration.create_tenant(ADMIN_OF_A, "c"),
        lambda: administration.set_limits(ADMIN_OF_A, "a", {"active_series": 0}),
    ):
        with pytest.raises(Denied):
            forbidden()
    assert administration.tenant(ADMIN_OF_A, "a").name == "a"


def test_tenants(parts):
    parts.administration.create_tenant(OPERATOR, "created", "for tests")
    parts.administration.set_limits(OPERATOR, "limited*", {"active_series": 5})
    assert parts.administration.tenants(OPERATOR) == ["created", "limited*", "with-data"]
    assert parts.administration.tenant(OPERATOR, "created").description == "for tests"
    with pytest.raises(Invalid, match="it exists"):
        parts.administration.create_tenant(OPERATOR, "created")


def test_limits_are_changed_one_by_one(parts):
    set_limits = parts.administration.set_limits
    set_limits(OPERATOR, "a", {"active_series": 5, "query_seconds": 1})
    facts = set_limits(OPERATOR, "a", {"active_series": None, "label_count": 3})
    assert facts.overrides == {"query_seconds": 1, "label_count": 3}
    assert facts.limits.active_series == parts.limits.defaults.active_series
    assert parts.limits.of("a").label_count == 3


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"active_serie": 5}, "did you mean 'active_series'"),
        ({"active_serie": None}, "did you mean 'active_series'"),
        ({"active_series": -1}, "active_series"),
        ({"active_series": "many"}, "active_series"),
        ({"acknowledgement": "replicated"}, "acknowledgement"),
    ],
)
def test_limits_refused(parts, changes, cause):
    with pytest.raises(Invalid, match=cause):
        parts.administration.set_limits(OPERATOR, "a", changes)
    assert parts.objects.contents == {}


def test_every_change_is_recorded_with_who_made_it(parts):
    _, token = parts.token("a", caller=ADMIN_OF_A)
    parts.administration.revoke_token(OPERATOR, token.id)
    parts.administration.create_tenant(OPERATOR, "a")
    parts.administration.set_limits(OPERATOR, "a", {"active_series": 1})
    recorded = [(line["action"], line["actor"], line["tenant"]) for line in parts.audit.lines]
    assert recorded == [
        ("token.create", "token t", "a"),
        ("token.revoke", "operator", "a"),
        ("tenant.create", "operator", "a"),
        ("tenant.limits", "operator", "a"),
    ]
