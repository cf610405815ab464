"""Creates, lists and changes tenants and tokens, for the admin API and the command line alike."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from msgspec import Struct
from msgspec.structs import replace

from orrery.clock import Chance, Clock
from orrery.errors import Denied, Invalid
from orrery.model.selector import Operator
from orrery.settings import Limits, limits_with
from orrery.tenancy import limits as tenant_documents
from orrery.tenancy import tokens as token_documents
from orrery.tenancy.access import EVERYTHING, Caller
from orrery.tenancy.audit import Audit
from orrery.tenancy.documents import Documents
from orrery.tenancy.limits import Tenant, TenantLimits
from orrery.tenancy.names import SYSTEM, check_tenant
from orrery.tenancy.retention import RetentionRule, TenantRetention, check_rules, default_rule
from orrery.tenancy.tokens import Permission, Token, mint

DESCRIPTION_CHARACTERS_MAX = 1000
FORCED_MAX = 32
FORCED_CHARACTERS_MAX = 1000
EXPIRES_SECONDS_MAX = 100 * 365 * 86_400
SECOND_NS = 1_000_000_000

OPERATOR = Caller(SYSTEM, EVERYTHING, is_system=True)
"""Who runs commands on the machine itself, with or without a server."""


class NotFound(Invalid):
    """What is named does not exist: 404."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What a new token shall be."""

    tenant: str
    permissions: tuple[Permission, ...]
    expires_seconds: float | None = None
    description: str = ""
    forced_labels: tuple[tuple[str, str], ...] = ()
    forced_matchers: tuple[tuple[str, Operator, str], ...] = ()


class TenantFacts(Struct, frozen=True, kw_only=True):
    """A tenant as shown: ``overrides`` are what was set for it, ``limits`` what holds."""

    name: str
    description: str
    created_ns: int | None
    overrides: dict[str, int | float | str]
    limits: Limits


class Administration:
    """Every change is recorded in the audit log first. The caller's scope is checked here: an
    operator may do all; an administrator of one tenant handles that tenant's tokens and sees its
    limits."""

    def __init__(
        self,
        *,
        documents: Documents,
        limits: TenantLimits,
        retention: TenantRetention,
        audit: Audit,
        check_matchers: Callable[[Sequence[tuple[str, str, str]]], None],
        tenants_with_data: Callable[[], Iterable[str]],
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._documents = documents
        self._limits = limits
        self._retention = retention
        self._audit = audit
        self._check_matchers = check_matchers
        self._tenants_with_data = tenants_with_data
        self._clock = clock
        self._chance = chance

    def create_token(self, caller: Caller, request: TokenRequest) -> tuple[str, Token]:
        """(secret, what is kept of it); the secret cannot be had again."""
        _check_scope(caller, request.tenant, "create a token")
        self._check_request(request)
        minted = mint(self._chance)
        token = self._token(request, token_id=minted.id, digest=minted.digest)
        with self._audit.action(
            "token.create",
            actor=_actor(caller),
            tenant=request.tenant,
            token=minted.id,
            permissions=list(request.permissions),
            forced_labels=request.forced_labels,
            forced_matchers=request.forced_matchers,
            expires_ns=token.expires_ns,
        ):
            name = token_documents.document_name(minted.id)
            self._documents.change(name, lambda current: _first(current, token))
        return minted.secret, token

    def tokens(self, caller: Caller, tenant: str | None = None) -> list[Token]:
        """Those of ``tenant``, or all that the caller administers; revoked ones too."""
        if tenant is None and not caller.is_system:
            tenant = caller.tenant
        if tenant is not None:
            _check_scope(caller, tenant, "list tokens")
        found = [
            token_documents.decode(document.content)
            for _, document in self._documents.below(token_documents.COLLECTION)
            if document.content is not None
        ]
        return [token for token in found if tenant is None or token.tenant == tenant]

    def revoke_token(self, caller: Caller, token_id: str) -> Token:
        """Holds at once; revoking again changes nothing."""
        token = self._token_named(caller, token_id)
        if token.revoked_ns is not None:
            return token
        now_ns = self._clock.now_ns()

        def revoke(current: bytes | None) -> bytes:
            assert current is not None, "a token's document is never removed"
            latest = token_documents.decode(current)
            revoked_ns = now_ns if latest.revoked_ns is None else latest.revoked_ns
            return token_documents.encode(replace(latest, revoked_ns=revoked_ns))

        with self._audit.action(
            "token.revoke", actor=_actor(caller), tenant=token.tenant, token=token.id
        ):
            name = token_documents.document_name(token.id)
            content = self._documents.change(name, revoke).content
        assert content is not None
        return token_documents.decode(content)

    def create_tenant(self, caller: Caller, name: str, description: str = "") -> TenantFacts:
        _check_operator(caller, "create a tenant")
        check_tenant(name)
        _check_description(description)
        now_ns = self._clock.now_ns()

        def create(current: bytes | None) -> bytes:
            if current is not None:
                raise Invalid(f"cannot create tenant {name!r}: it exists")
            return tenant_documents.encode(_tenant(name, now_ns, description))

        with self._audit.action("tenant.create", actor=_actor(caller), tenant=name):
            self._documents.change(tenant_documents.document_name(name), create)
        return self._facts(name)

    def tenants(self, caller: Caller) -> list[str]:
        """Those created, those with limits of their own and those with data, sorted."""
        _check_operator(caller, "list tenants")
        created = {
            tenant_documents.decode(document.content).name
            for _, document in self._documents.below(tenant_documents.COLLECTION)
            if document.content is not None
        }
        return sorted(created | set(self._tenants_with_data()))

    def tenant(self, caller: Caller, name: str) -> TenantFacts:
        """A tenant nobody created has the default limits: tenants spring into being."""
        _check_scope(caller, name, "show a tenant")
        return self._facts(check_tenant(name))

    def set_limits(self, caller: Caller, name: str, changes: Mapping[str, object]) -> TenantFacts:
        """``changes`` names limits; None gives one back its default. The rest stays."""
        _check_operator(caller, "set limits")
        check_tenant(name)
        now_ns = self._clock.now_ns()
        tenant_documents.merged({}, changes)

        def change(current: bytes | None) -> bytes:
            found = (
                _tenant(name, now_ns, "") if current is None else tenant_documents.decode(current)
            )
            merged = tenant_documents.merged(found.limits, changes)
            default_rule(limits_with(self._limits.defaults, merged))
            return tenant_documents.encode(replace(found, limits=merged))

        with self._audit.action(
            "tenant.limits", actor=_actor(caller), tenant=name, changes=dict(changes)
        ):
            self._documents.change(tenant_documents.document_name(name), change)
        return self._facts(name)

    def retention(self, caller: Caller, name: str) -> tuple[RetentionRule, ...]:
        """The rules set for a tenant; series that none matches are kept by its limits."""
        _check_scope(caller, name, "show the retention")
        return self._retention.rules(check_tenant(name))

    def set_retention(
        self, caller: Caller, name: str, rules: Sequence[RetentionRule]
    ) -> tuple[RetentionRule, ...]:
        """In place of all rules before; none gives back the default."""
        _check_operator(caller, "set retention")
        check_tenant(name)
        check_rules(rules)
        for rule in rules:
            self._check_matchers(rule.matchers)
        shown = [{"matchers": rule.matchers, "raw_days": rule.raw_days} for rule in rules]
        with self._audit.action("tenant.retention", actor=_actor(caller), tenant=name, rules=shown):
            self._retention.set(name, rules)
        return tuple(rules)

    def compaction(self, caller: Caller) -> AbstractContextManager[None]:
        """Records one by hand, which lasts as long as the context."""
        _check_operator(caller, "compact")
        return self._audit.action("compaction", actor=_actor(caller), tenant=SYSTEM, relieves=True)

    def backup(self, caller: Caller) -> AbstractContextManager[None]:
        """Records that the store's state was pinned for one."""
        _check_operator(caller, "back up")
        return self._audit.action("backup", actor=_actor(caller), tenant=SYSTEM, relieves=True)

    def quarantine(self, caller: Caller, action: str, block: str) -> AbstractContextManager[None]:
        """Records that a damaged block was let go of, or taken back."""
        _check_operator(caller, f"{action} blocks")
        return self._audit.action(
            f"quarantine_{action}", actor=_actor(caller), tenant=SYSTEM, relieves=True, block=block
        )

    def check_operator(self, caller: Caller, action: str) -> None:
        _check_operator(caller, action)

    def _facts(self, name: str) -> TenantFacts:
        document = self._documents.read(tenant_documents.document_name(name), keep_absent=False)
        found = None if document.content is None else tenant_documents.decode(document.content)
        overrides = {} if found is None else found.limits
        return TenantFacts(
            name=name,
            description="" if found is None else found.description,
            created_ns=None if found is None else found.created_ns,
            overrides=overrides,
            limits=limits_with(self._limits.defaults, overrides),
        )

    def _token_named(self, caller: Caller, token_id: str) -> Token:
        missing = NotFound(f"cannot find token {token_id!r}: there is none of that id")
        if not token_id.isascii() or not token_id.isalnum():
            raise missing
        name = token_documents.document_name(token_id)
        document = self._documents.read(name, keep_absent=False)
        if document.content is None:
            raise missing
        token = token_documents.decode(document.content)
        if not caller.is_system and caller.tenant != token.tenant:
            # Another tenant's tokens are not even known to exist.
            raise missing
        return token

    def _token(self, request: TokenRequest, *, token_id: str, digest: str) -> Token:
        now_ns = self._clock.now_ns()
        expires_seconds = request.expires_seconds
        return Token(
            id=token_id,
            digest=digest,
            tenant=request.tenant,
            permissions=tuple(sorted(set(request.permissions))),
            created_ns=now_ns,
            expires_ns=(
                None if expires_seconds is None else now_ns + int(expires_seconds * SECOND_NS)
            ),
            revoked_ns=None,
            description=request.description,
            forced_labels=tuple(sorted(request.forced_labels)),
            forced_matchers=request.forced_matchers,
        )

    def _check_request(self, request: TokenRequest) -> None:
        if request.tenant != SYSTEM:
            check_tenant(request.tenant)
        if not request.permissions:
            raise Invalid("cannot create a token: it has no permissions")
        expires_seconds = request.expires_seconds
        if expires_seconds is not None and not 0 < expires_seconds <= EXPIRES_SECONDS_MAX:
            raise Invalid(
                f"cannot create a token: expires_seconds {expires_seconds!r} is not in "
                f"1..{EXPIRES_SECONDS_MAX}"
            )
        _check_description(request.description)
        _check_forced(request)
        self._check_matchers(request.forced_matchers)


def _check_forced(request: TokenRequest) -> None:
    forced = (*request.forced_labels, *request.forced_matchers)
    if forced and Permission.ADMIN in request.permissions:
        raise Invalid(
            "cannot create a token: one that administers could make another without the "
            "forced labels and matchers"
        )
    if len(forced) > FORCED_MAX:
        raise Invalid(f"cannot create a token: more than {FORCED_MAX} forced labels and matchers")
    for label, *rest in forced:
        if not label or any(len(text) > FORCED_CHARACTERS_MAX for text in (label, *rest)):
            raise Invalid(
                f"cannot create a token: forced label {label[:50]!r} is empty or longer than "
                f"{FORCED_CHARACTERS_MAX} characters"
            )
    names = [label for label, _ in request.forced_labels]
    for name in names:
        if name.startswith("__") or names.count(name) > 1:
            raise Invalid(f"cannot force label {name!r}: it is reserved or given twice")


def _check_description(description: str) -> None:
    if len(description) > DESCRIPTION_CHARACTERS_MAX:
        raise Invalid(
            f"cannot use a description: more than {DESCRIPTION_CHARACTERS_MAX} characters"
        )


def _check_scope(caller: Caller, tenant: str, action: str) -> None:
    if not caller.is_system and caller.tenant != tenant:
        raise Denied(f"cannot {action} of tenant {tenant!r}: the token is for {caller.tenant!r}")


def _check_operator(caller: Caller, action: str) -> None:
    if not caller.is_system:
        raise Denied(f"cannot {action}: only an admin token for tenant '*' may")


def _actor(caller: Caller) -> str:
    return "operator" if caller.token_id is None else f"token {caller.token_id}"


def _tenant(name: str, now_ns: int, description: str) -> Tenant:
    return Tenant(
        name=name,
        created_ns=now_ns,
        description=description,
        limits={},
    )


def _first(current: bytes | None, token: Token) -> bytes:
    assert current is None, "32 random bytes do not repeat"
    return token_documents.encode(token)
