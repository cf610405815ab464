import base64

import pytest
from msgspec.structs import replace

from orrery.errors import Corrupt, Denied, Invalid
from orrery.model.selector import Matcher, Operator
from orrery.server.http import UNIX_PEER
from orrery.tenancy.access import Unauthenticated, check_exposure, gate
from orrery.tenancy.tokens import Permission, mint
from tests.tenancy.parts import OPERATOR, Parts, request

READ, WRITE, DELETE, ADMIN = Permission


@pytest.fixture
def parts():
    return Parts()


def ask(access, headers=None, *, permission=READ, scheme="prometheus", **more):
    return access.caller(request(headers, **more), permission=permission, scheme=scheme)


def bearer(secret, **more):
    return {"authorization": f"Bearer {secret}", **more}


def basic(user, password):
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "tenant"),
    [({}, "default"), ({"x-scope-orgid": ""}, "default"), ({"x-scope-orgid": "team-a"}, "team-a")],
)
def test_open_access_takes_the_named_tenant(parts, headers, tenant):
    assert ask(parts.open_access, headers).tenant == tenant


def test_open_access_refuses_names_that_cannot_be(parts):
    with pytest.raises(Invalid, match="cannot use tenant"):
        ask(parts.open_access, {"x-scope-orgid": "a/../b"})


def test_open_access_does_not_administer_over_the_network(parts):
    with pytest.raises(Denied, match="auth is none"):
        ask(parts.open_access, permission=ADMIN)


@pytest.mark.parametrize("kind", ["open_access", "token_access"])
def test_unix_socket_is_the_operator(parts, kind):
    caller = ask(getattr(parts, kind), permission=ADMIN, peer=UNIX_PEER)
    assert (caller.tenant, caller.is_system) == ("*", True)
    named = {"x-scope-orgid": "b"}
    assert ask(getattr(parts, kind), named, permission=WRITE, peer=UNIX_PEER).tenant == "b"


def test_token_gives_its_tenant_and_what_it_forces(parts):
    secret, token = parts.token(
        "a",
        forced_labels=(("team", "x"),),
        forced_matchers=(("team", Operator.EQUAL, "x"),),
    )
    caller = ask(parts.token_access, bearer(secret))
    assert (caller.tenant, caller.token_id, caller.is_system) == ("a", token.id, False)
    assert caller.permissions == {READ, WRITE}
    assert caller.forced_labels == (("team", "x"),)
    assert caller.forced_matchers == (Matcher("team", Operator.EQUAL, "x"),)


def carried(secret):
    return [
        ("prometheus", bearer(secret), "", True),
        ("prometheus", {"authorization": f"bEARER {secret}"}, "", True),
        ("prometheus", basic("anyone", secret), "", True),
        ("prometheus", {"authorization": f"Token {secret}"}, "", False),
        ("prometheus", {}, f"u=me&p={secret}", False),
        ("influxdb", bearer(secret), "", True),
        ("influxdb", basic("me", secret), "", True),
        ("influxdb", {"authorization": f"Token {secret}"}, "", True),
        ("influxdb", {"authorization": f"Token me:{secret}"}, "", True),
        ("influxdb", {}, f"db=x&u=me&p={secret}", True),
        ("influxdb", {}, f"db=x&token={secret}", False),
    ]


@pytest.mark.parametrize("number", range(11))
def test_ways_to_carry_a_token(parts, number):
    secret, _ = parts.token()
    scheme, headers, query, is_known = carried(secret)[number]
    if is_known:
        assert ask(parts.token_access, headers, scheme=scheme, query=query).tenant == "a"
    else:
        with pytest.raises(Unauthenticated):
            ask(parts.token_access, headers, scheme=scheme, query=query)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer orr_",
        "Bearer orr_" + "0" * 43,
        "Bearer orr_" + "../" * 14 + "a",
        "Bearer orr_" + "\xff" * 43,
        "Basic",
        "Basic !!!",
        "Basic /w==",
        "Basic bm9jb2xvbg==",
        "Digest x",
    ],
)
def test_unknown_callers(parts, authorization):
    with pytest.raises(Unauthenticated) as caught:
        ask(parts.token_access, {"authorization": authorization})
    assert {name for name, _ in caught.value.headers} == {"www-authenticate"}
    assert parts.telemetry.registry.get_sample_value("orrery_denied_total", {"reason": "unknown"})


def test_missing_right_is_not_an_unknown_caller(parts):
    secret, _ = parts.token(permissions="read")
    with pytest.raises(Denied, match="lacks the permission 'write'") as caught:
        ask(parts.token_access, bearer(secret), permission=WRITE)
    assert not isinstance(caught.value, Unauthenticated)


def test_token_expires(parts):
    secret, _ = parts.token(expires_seconds=60)
    ask(parts.token_access, bearer(secret))
    parts.clock.advance(60)
    with pytest.raises(Unauthenticated, match="expired"):
        ask(parts.token_access, bearer(secret))


def test_revoked_token_is_refused_at_once_by_every_holder(parts):
    other = Parts(objects=parts.objects, clock=parts.clock)
    secret, token = parts.token()
    ask(parts.token_access, bearer(secret))
    ask(other.token_access, bearer(secret))
    parts.administration.revoke_token(OPERATOR, token.id)
    for access in (parts.token_access, other.token_access):
        with pytest.raises(Unauthenticated, match="revoked"):
            ask(access, bearer(secret))


def test_a_caller_just_admitted_is_not_looked_up_again(parts):
    secret, token = parts.token("*", "read admin")
    asked = request(bearer(secret))
    admitted = gate(parts.token_access, permission=READ, scheme="prometheus")(asked)
    parts.administration.revoke_token(OPERATOR, token.id)
    again = replace(asked, admitted=admitted)
    caller = parts.token_access.caller(again, permission=READ, scheme="prometheus")
    assert caller is admitted.caller
    for permission, scheme in ((ADMIN, "prometheus"), (READ, "influxdb")):
        with pytest.raises(Unauthenticated, match="revoked"):
            parts.token_access.caller(again, permission=permission, scheme=scheme)


def test_token_acts_for_its_own_tenant_only(parts):
    secret, _ = parts.token("a")
    assert ask(parts.token_access, bearer(secret, **{"x-scope-orgid": "a"})).tenant == "a"
    with pytest.raises(Denied, match="is for 'a'"):
        ask(parts.token_access, bearer(secret, **{"x-scope-orgid": "b"}))


def test_operators_token_acts_for_the_tenant_named(parts):
    secret, _ = parts.token("*", "read admin")
    assert ask(parts.token_access, bearer(secret)).tenant == "default"
    assert ask(parts.token_access, bearer(secret, **{"x-scope-orgid": "b"})).tenant == "b"
    admin = ask(parts.token_access, bearer(secret), permission=ADMIN)
    assert (admin.tenant, admin.is_system) == ("*", True)


def test_secret_is_stored_nowhere(parts):
    secret, _ = parts.token()
    stored = b"".join(parts.objects.contents.values()) + repr(parts.audit.lines).encode()
    assert secret.encode() not in stored
    assert secret.removeprefix("orr_").encode() not in stored


def test_secrets_have_one_length_and_do_not_show_in_repr():
    class Chance:
        def __init__(self, content):
            self.content = content

        def token_bytes(self, count):
            return self.content * count

    for content in (b"\0", b"\x01", b"\xff"):
        minted = mint(Chance(content))
        assert len(minted.secret) == len("orr_") + 43
        assert minted.secret not in repr(minted)


def test_damaged_token_document_is_named(parts):
    secret, _ = parts.token()
    name = next(iter(parts.objects.contents))
    parts.objects.contents[name] = b"{}"
    with pytest.raises(Corrupt, match="token"):
        ask(Parts(objects=parts.objects).token_access, bearer(secret))


@pytest.mark.parametrize(
    ("auth", "is_loopback", "forced", "is_fine"),
    [
        ("none", True, False, True),
        ("none", False, False, False),
        ("none", False, True, True),
        ("token", False, False, True),
    ],
)
def test_exposure(auth, is_loopback, forced, is_fine):
    if is_fine:
        check_exposure(auth=auth, is_loopback=is_loopback, forced=forced)
    else:
        with pytest.raises(Invalid, match="beyond loopback"):
            check_exposure(auth=auth, is_loopback=is_loopback, forced=forced)


def test_wires_that_are_no_http_show_their_token(parts):
    secret, _ = parts.token("team-a", "write", forced_labels=(("site", "x"),))
    caller = parts.token_access.bearer(secret, permission=WRITE, tenant="other")
    assert (caller.tenant, caller.forced_labels) == ("team-a", (("site", "x"),))
    with pytest.raises(Denied, match="lacks the permission 'read'"):
        parts.token_access.bearer(secret, permission=READ, tenant="team-a")
    for unknown in (None, "", "orr_" + "a" * 43):
        with pytest.raises(Unauthenticated):
            parts.token_access.bearer(unknown, permission=WRITE, tenant="team-a")


def test_without_tokens_the_listener_says_whose_it_is(parts):
    assert parts.open_access.bearer("any", permission=WRITE, tenant="team-a").tenant == "team-a"


def test_an_operators_token_writes_for_the_listeners_tenant(parts):
    secret, _ = parts.token("*", "write")
    assert parts.token_access.bearer(secret, permission=WRITE, tenant="b").tenant == "b"
