"""Who asks, and what they may do: the first thing every wire's handler calls.

``auth = none`` takes the tenant that a request names; ``auth = token`` the one its token is for.
Whoever reaches the Unix socket is the operator.
"""

import base64
import binascii
import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Protocol
from urllib.parse import parse_qsl

from msgspec import Struct

from orrery.clock import Clock
from orrery.errors import Denied, Invalid
from orrery.model.selector import Matcher
from orrery.server.http import UNIX_PEER, Request
from orrery.telemetry import Telemetry
from orrery.tenancy.documents import Documents
from orrery.tenancy.names import DEFAULT_TENANT, SYSTEM, check_tenant
from orrery.tenancy.tokens import Permission, Token, token_of

TENANT_HEADER = "x-scope-orgid"
CHALLENGE = (
    ("www-authenticate", 'Bearer realm="orrery"'),
    ("www-authenticate", 'Basic realm="orrery"'),
)
ON_DATA = frozenset({Permission.READ, Permission.WRITE, Permission.DELETE})
EVERYTHING = frozenset(Permission)
OPEN_CALLERS_KEPT_MAX = 1024


class Unauthenticated(Denied):
    """Nobody knows who asks: a wire answers 401 with ``headers``. Any other ``Denied`` is 403."""

    headers = CHALLENGE


class Caller(Struct, frozen=True):
    """Who asks. ``tenant`` is the one acted for; ``*`` where an operator administers.

    Writes add ``forced_labels`` to every series, whatever it says itself; reads and deletes add
    ``forced_matchers`` to every selector.
    """

    tenant: str
    permissions: frozenset[Permission]
    forced_labels: tuple[tuple[str, str], ...] = ()
    forced_matchers: tuple[Matcher, ...] = ()
    token_id: str | None = None
    is_system: bool = False


class Access(Protocol):
    def caller(self, request: Request, *, permission: str, scheme: str) -> Caller:
        """``permission`` is a :class:`Permission`; ``scheme`` says which ways of carrying a token
        the wire's clients have besides Bearer and Basic: ``influxdb``'s, ``warp10``'s, or none
        more.

        ``Unauthenticated`` where the caller is unknown, ``Denied`` where a right is missing,
        ``Invalid`` for a tenant's name that cannot be."""


class Bearers(Protocol):
    def bearer(self, secret: str | None, *, permission: str, tenant: str) -> Caller:
        """As ``Access.caller`` for wires that are no HTTP: ``secret`` is the token they were sent,
        if any, and ``tenant`` the one their listener is for, where the caller may act for any."""


class Admitted(Struct, frozen=True):
    """A caller just found, and what it was asked for."""

    permission: str
    scheme: str
    caller: Caller


def gate(access: Access, *, permission: str, scheme: str) -> Callable[[Request], Admitted]:
    """For ``Route.admit``; the handler that asks for the same is not made to look again."""

    def admit(request: Request) -> Admitted:
        caller = access.caller(request, permission=permission, scheme=scheme)
        return Admitted(permission, scheme, caller)

    return admit


class OpenAccess:
    """``auth = none``: everybody may read, write and delete; only the Unix socket administers."""

    def __init__(self, *, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def caller(self, request: Request, *, permission: str, scheme: str) -> Caller:
        if request.peer == UNIX_PEER:
            return operator(request, permission)
        if permission not in ON_DATA:
            self._telemetry.denied.labels("permission").inc()
            raise Denied(
                "cannot administer over the network while auth is none: "
                "use the orrery command, or a token of a server with auth = token"
            )
        return _open_caller(request.headers.get(TENANT_HEADER, ""))

    def bearer(self, secret: str | None, *, permission: str, tenant: str) -> Caller:
        assert permission in ON_DATA, "only HTTP administers"
        return _open_caller(tenant)


class TokenAccess:
    """``auth = token``: each request carries one."""

    def __init__(self, *, documents: Documents, clock: Clock, telemetry: Telemetry) -> None:
        self._documents = documents
        self._clock = clock
        self._telemetry = telemetry

    def caller(self, request: Request, *, permission: str, scheme: str) -> Caller:
        if request.peer == UNIX_PEER:
            return operator(request, permission)
        known = request.admitted
        if isinstance(known, Admitted) and (known.permission, known.scheme) == (permission, scheme):
            return known.caller
        with self._counted():
            token = self._token(_secret(request, scheme))
            return _caller_of(token, permission, _named_tenant(request.headers))

    def bearer(self, secret: str | None, *, permission: str, tenant: str) -> Caller:
        with self._counted():
            token = self._token(secret)
            return _caller_of(token, permission, tenant if token.tenant == SYSTEM else None)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except Denied as denied:
            unknown = isinstance(denied, Unauthenticated)
            self._telemetry.denied.labels("unknown" if unknown else "permission").inc()
            raise

    def _token(self, secret: str | None) -> Token:
        if secret is None:
            raise Unauthenticated("cannot serve the request: it carries no token")
        token = token_of(secret, self._documents)
        if token is None:
            raise Unauthenticated("cannot serve the request: the token is unknown")
        refusal = token.refusal(self._clock.now_ns())
        if refusal is not None:
            raise Unauthenticated(f"cannot serve the request: {refusal}")
        return token


@lru_cache(maxsize=OPEN_CALLERS_KEPT_MAX)
def _open_caller(named: str) -> Caller:
    return Caller(check_tenant(named) if named else DEFAULT_TENANT, ON_DATA)


def operator(request: Request, permission: str) -> Caller:
    """The caller on the Unix socket: may do everything, for the tenant it names."""
    named = _named_tenant(request.headers)
    tenant = SYSTEM if permission == Permission.ADMIN else named or DEFAULT_TENANT
    return Caller(tenant, EVERYTHING, is_system=True)


def check_exposure(*, auth: str, is_loopback: bool, forced: bool) -> None:
    """``Invalid`` where a server without tokens would listen beyond this machine."""
    if auth == "none" and not is_loopback and not forced:
        raise Invalid(
            "cannot listen beyond loopback with auth = none: anybody could read and delete; "
            "set auth = token, or auth_none_forced = true behind a proxy that checks"
        )


def _caller_of(token: Token, permission: str, named: str | None) -> Caller:
    if permission not in token.permissions:
        raise Denied(f"cannot {permission}: token {token.id} lacks the permission '{permission}'")
    return Caller(
        tenant=_tenant_of(token, named, permission),
        permissions=frozenset(token.permissions),
        forced_labels=token.forced_labels,
        forced_matchers=token.matchers(),
        token_id=token.id,
        is_system=token.tenant == SYSTEM,
    )


def _tenant_of(token: Token, named: str | None, permission: str) -> str:
    if token.tenant != SYSTEM:
        if named is not None and named != token.tenant:
            raise Denied(
                f"cannot act for tenant {named!r}: token {token.id} is for {token.tenant!r}"
            )
        return token.tenant
    return SYSTEM if permission == Permission.ADMIN else named or DEFAULT_TENANT


def _named_tenant(headers: Mapping[str, str]) -> str | None:
    named = headers.get(TENANT_HEADER, "")
    return check_tenant(named) if named else None


def _secret(request: Request, scheme: str) -> str | None:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    value = value.strip()
    match kind.lower():
        case "bearer":
            return value
        case "basic":
            return _basic_password(value)
        case "token" if scheme == "influxdb":
            # The clients of InfluxDB 1.8 send user:password here.
            return value.rpartition(":")[2]
        case "" if scheme == "influxdb":
            # Only the query: a write's body may call itself a form and is none.
            return dict(parse_qsl(request.query)).get("p")
        case "" if scheme == "warp10":
            named = request.headers.get("x-warp10-token", "").strip()
            return named or dict(parse_qsl(request.query)).get("token")
    return None


def _basic_password(value: str) -> str | None:
    try:
        decoded = base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return decoded.partition(":")[2]
