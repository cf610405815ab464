"""The JSON of the admin API: what comes in, what goes out, and how errors are answered."""

from datetime import UTC, datetime
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from orrery.errors import Corrupt, Denied, Exhausted, Invalid, OrreryError, Unavailable
from orrery.model.selector import Operator
from orrery.server.http import Response
from orrery.store.documents import UNREADABLE
from orrery.tenancy.access import Unauthenticated
from orrery.tenancy.administration import NotFound, TokenRequest
from orrery.tenancy.tokens import Permission, Token

LimitValue = int | float | str
Decoded = TypeVar("Decoded")

STATUS: tuple[tuple[type[OrreryError], int], ...] = (
    (NotFound, 404),
    (Invalid, 400),
    (Unauthenticated, 401),
    (Denied, 403),
    (Exhausted, 429),
    (Unavailable, 503),
    (Corrupt, 500),
)


class NewTenant(Struct, forbid_unknown_fields=True):
    """A tenant to create."""

    name: Annotated[str, Meta(min_length=1, max_length=150)]
    description: Annotated[str, Meta(max_length=1000)] = ""


class TenantNames(Struct):
    tenants: list[str]


class ForcedMatcher(Struct, forbid_unknown_fields=True):
    """A test that every series read must pass."""

    label: str
    operator: Operator
    value: str


class NewToken(Struct, forbid_unknown_fields=True, kw_only=True):
    """A token to create; tenant `*` may act for every tenant."""

    tenant: str
    permissions: Annotated[list[Permission], Meta(min_length=1)]
    expires_seconds: float | None = None
    description: Annotated[str, Meta(max_length=1000)] = ""
    forced_labels: dict[str, str] = field(default_factory=dict)
    forced_matchers: list[ForcedMatcher] = field(default_factory=list)

    def request(self) -> TokenRequest:
        return TokenRequest(
            tenant=self.tenant,
            permissions=tuple(self.permissions),
            expires_seconds=self.expires_seconds,
            description=self.description,
            forced_labels=tuple(self.forced_labels.items()),
            forced_matchers=tuple(
                (one.label, one.operator, one.value) for one in self.forced_matchers
            ),
        )


class ShownToken(Struct, kw_only=True):
    """A token without its secret, which nobody has but its holder."""

    id: str
    tenant: str
    permissions: list[Permission]
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    description: str
    forced_labels: dict[str, str]
    forced_matchers: list[ForcedMatcher]


class CreatedToken(Struct):
    """The one time that the secret is shown."""

    secret: str
    token: ShownToken


class Tokens(Struct):
    tokens: list[ShownToken]


class PinRenewal(Struct, forbid_unknown_fields=True):
    """`log`: whether the log is still needed; once it is not, it is not again."""

    log: bool


class Problem(Struct):
    """What went wrong; the last four where a limit was reached."""

    error: str
    limit: str | None = None
    scope: str | None = None
    value: float | None = None
    current: float | None = None


def shown(token: Token) -> ShownToken:
    return ShownToken(
        id=token.id,
        tenant=token.tenant,
        permissions=list(token.permissions),
        created=_moment(token.created_ns),
        expires=None if token.expires_ns is None else _moment(token.expires_ns),
        revoked=None if token.revoked_ns is None else _moment(token.revoked_ns),
        description=token.description,
        forced_labels=dict(token.forced_labels),
        forced_matchers=[ForcedMatcher(*triple) for triple in token.forced_matchers],
    )


def _moment(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, tz=UTC)


def decode(body: bytes, kind: type[Decoded]) -> Decoded:
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        raise Invalid(f"cannot read the request: {error}") from error


def answer(value: object, status: int = 200) -> Response:
    return Response(status, msgspec.json.encode(value))


def render_error(error: OrreryError) -> Response:
    status = next(code for kind, code in STATUS if isinstance(error, kind))
    headers: tuple[tuple[str, str], ...] = ()
    problem: dict[str, object] = {"error": str(error)}
    if isinstance(error, Unauthenticated):
        headers = error.headers
    if isinstance(error, Exhausted) and error.excess is not None:
        excess = error.excess
        problem |= {"limit": excess.limit, "scope": excess.scope}
        problem |= {"value": excess.value, "current": excess.current}
        if excess.retry_after_seconds is not None:
            headers = (("retry-after", str(max(1, round(excess.retry_after_seconds)))),)
    return Response(status, msgspec.json.encode(problem), headers)
