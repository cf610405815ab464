"""The operations of the admin API, one small function each, and the table that names them.

Routes and the OpenAPI description are both made from :data:`OPERATIONS`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from orrery.protocols.admin import wire
from orrery.server.http import Request, Response, Route
from orrery.store.pins import Pinned
from orrery.store.quarantine import Book, Held
from orrery.tenancy.access import Access, Caller, gate
from orrery.tenancy.administration import Administration, TenantFacts
from orrery.tenancy.retention import Rules
from orrery.tenancy.tokens import Permission

PREFIX = "/api/admin/v1"


class Maintenance(Protocol):
    """Long work on the store that an operator may ask for."""

    def compact(self) -> AsyncIterator[dict[str, object]]:
        """Compacts everything now; yields what happens as it happens."""

    def pin(self) -> Pinned:
        """Keeps the store's present state, for a backup, until released or not renewed."""

    def renew_pin(self, pin_id: str, *, log: bool) -> None: ...

    def release_pin(self, pin_id: str) -> None: ...

    def quarantine(self) -> Book: ...

    def release_block(self, name: str) -> Held: ...

    def drop_block(self, name: str) -> Held: ...


@dataclass(frozen=True, slots=True)
class Context:
    """What an operation is called with."""

    administration: Administration
    maintenance: Maintenance
    caller: Caller
    request: Request

    def parameter(self, name: str) -> str:
        return self.request.parameters[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """``takes`` and ``gives`` are the JSON types of body and answer."""

    name: str
    method: str
    path: str
    summary: str
    run: Callable[[Context], Response]
    gives: Any
    takes: Any = None
    status: int = 200
    query: tuple[str, ...] = ()
    content_type: str = "application/json"


def _list_tenants(context: Context) -> Response:
    return wire.answer(wire.TenantNames(context.administration.tenants(context.caller)))


def _create_tenant(context: Context) -> Response:
    new = wire.decode(context.request.body, wire.NewTenant)
    created = context.administration.create_tenant(context.caller, new.name, new.description)
    return wire.answer(created, 201)


def _show_tenant(context: Context) -> Response:
    tenant = context.parameter("tenant")
    return wire.answer(context.administration.tenant(context.caller, tenant))


def _set_limits(context: Context) -> Response:
    changes = wire.decode(context.request.body, dict[str, wire.LimitValue | None])
    tenant = context.parameter("tenant")
    return wire.answer(context.administration.set_limits(context.caller, tenant, changes))


def _show_retention(context: Context) -> Response:
    tenant = context.parameter("tenant")
    return wire.answer(Rules(context.administration.retention(context.caller, tenant)))


def _set_retention(context: Context) -> Response:
    asked = wire.decode(context.request.body, Rules)
    tenant = context.parameter("tenant")
    rules = context.administration.set_retention(context.caller, tenant, asked.rules)
    return wire.answer(Rules(rules))


def _list_tokens(context: Context) -> Response:
    tenant = dict(context.request.arguments()).get("tenant")
    found = context.administration.tokens(context.caller, tenant)
    return wire.answer(wire.Tokens([wire.shown(token) for token in found]))


def _create_token(context: Context) -> Response:
    new = wire.decode(context.request.body, wire.NewToken)
    secret, token = context.administration.create_token(context.caller, new.request())
    return wire.answer(wire.CreatedToken(secret, wire.shown(token)), 201)


def _revoke_token(context: Context) -> Response:
    revoked = context.administration.revoke_token(context.caller, context.parameter("token_id"))
    return wire.answer(wire.shown(revoked))


def _compact(context: Context) -> Response:
    recorded = contextlib.ExitStack()
    recorded.enter_context(context.administration.compaction(context.caller))
    stream = _lines(context.maintenance.compact(), recorded)
    return Response(200, stream, content_type="application/x-ndjson")


def _list_quarantine(context: Context) -> Response:
    context.administration.check_operator(context.caller, "list blocks in quarantine")
    return wire.answer(context.maintenance.quarantine())


def _release_block(context: Context) -> Response:
    block = context.parameter("block")
    with context.administration.quarantine(context.caller, "release", block):
        return wire.answer(context.maintenance.release_block(block))


def _drop_block(context: Context) -> Response:
    block = context.parameter("block")
    with context.administration.quarantine(context.caller, "drop", block):
        return wire.answer(context.maintenance.drop_block(block))


def _pin(context: Context) -> Response:
    with context.administration.backup(context.caller):
        return wire.answer(context.maintenance.pin(), 201)


def _renew_pin(context: Context) -> Response:
    context.administration.check_operator(context.caller, "renew a pin")
    renewal = wire.decode(context.request.body, wire.PinRenewal)
    context.maintenance.renew_pin(context.parameter("pin_id"), log=renewal.log)
    return wire.answer(renewal)


def _release_pin(context: Context) -> Response:
    context.administration.check_operator(context.caller, "release a pin")
    context.maintenance.release_pin(context.parameter("pin_id"))
    return wire.answer({})


async def _lines(
    progress: AsyncIterator[dict[str, object]], recorded: contextlib.ExitStack
) -> AsyncIterator[bytes]:
    with recorded:
        async for step in progress:
            yield msgspec.json.encode(step) + b"\n"


OPERATIONS = (
    Operation(
        name="listTenants",
        method="GET",
        path="/tenants",
        summary="Tenants that were created, have limits of their own, or have data",
        run=_list_tenants,
        gives=wire.TenantNames,
    ),
    Operation(
        name="createTenant",
        method="POST",
        path="/tenants",
        summary="Create a tenant; writing to one that does not exist works too",
        run=_create_tenant,
        takes=wire.NewTenant,
        gives=TenantFacts,
        status=201,
    ),
    Operation(
        name="showTenant",
        method="GET",
        path="/tenants/{tenant}",
        summary="A tenant, what was set for it, and the limits that hold",
        run=_show_tenant,
        gives=TenantFacts,
    ),
    Operation(
        name="setLimits",
        method="PATCH",
        path="/tenants/{tenant}/limits",
        summary="Set limits by name; null gives one back its default, the others stay",
        run=_set_limits,
        takes=dict[str, wire.LimitValue | None],
        gives=TenantFacts,
    ),
    Operation(
        name="showRetention",
        method="GET",
        path="/tenants/{tenant}/retention",
        summary="How long a tenant's samples and buckets are kept, by selector",
        run=_show_retention,
        gives=Rules,
    ),
    Operation(
        name="setRetention",
        method="PUT",
        path="/tenants/{tenant}/retention",
        summary="Set the rules in place of those before; the first that matches a series holds",
        run=_set_retention,
        takes=Rules,
        gives=Rules,
    ),
    Operation(
        name="listTokens",
        method="GET",
        path="/tokens",
        summary="Tokens, revoked ones too, without their secrets",
        run=_list_tokens,
        gives=wire.Tokens,
        query=("tenant",),
    ),
    Operation(
        name="createToken",
        method="POST",
        path="/tokens",
        summary="Create a token; its secret is in this answer and nowhere else",
        run=_create_token,
        takes=wire.NewToken,
        gives=wire.CreatedToken,
        status=201,
    ),
    Operation(
        name="revokeToken",
        method="DELETE",
        path="/tokens/{token_id}",
        summary="Revoke a token at once",
        run=_revoke_token,
        gives=wire.ShownToken,
    ),
    Operation(
        name="compact",
        method="POST",
        path="/compaction",
        summary="Compact all blocks now; one JSON line a step until it is done",
        run=_compact,
        gives=dict[str, Any],
        content_type="application/x-ndjson",
    ),
    Operation(
        name="listQuarantine",
        method="GET",
        path="/quarantine",
        summary="Damaged blocks, what of them is damaged, and those that were dropped",
        run=_list_quarantine,
        gives=Book,
    ),
    Operation(
        name="releaseBlock",
        method="POST",
        path="/quarantine/{block}/release",
        summary="Take back a block that is whole again; every byte is checked",
        run=_release_block,
        gives=Held,
    ),
    Operation(
        name="dropBlock",
        method="DELETE",
        path="/quarantine/{block}",
        summary="Let go of a damaged block and of all its samples, of every tenant",
        run=_drop_block,
        gives=Held,
    ),
    Operation(
        name="pin",
        method="POST",
        path="/pins",
        summary="Keep the store's present state for a backup, for a minute unless renewed",
        run=_pin,
        gives=dict[str, Any],
        status=201,
    ),
    Operation(
        name="renewPin",
        method="PATCH",
        path="/pins/{pin_id}",
        summary="Keep it for another minute; without the log, once that is copied",
        run=_renew_pin,
        takes=wire.PinRenewal,
        gives=wire.PinRenewal,
    ),
    Operation(
        name="releasePin",
        method="DELETE",
        path="/pins/{pin_id}",
        summary="Keep it no longer",
        run=_release_pin,
        gives=dict[str, Any],
    ),
)


def routes(
    *, access: Access, administration: Administration, maintenance: Maintenance
) -> list[Route]:
    admit = gate(access, permission=Permission.ADMIN, scheme="prometheus")

    def made(operation: Operation) -> Route:
        async def handler(request: Request) -> Response:
            caller = access.caller(request, permission=Permission.ADMIN, scheme="prometheus")
            context = Context(administration, maintenance, caller, request)
            # Documents and the audit log are synced to disk: not on the event loop.
            return await asyncio.to_thread(operation.run, context)

        methods = frozenset({operation.method})
        path = PREFIX + operation.path
        return Route(methods, path, handler, wire.render_error, admit=admit)

    return [made(operation) for operation in OPERATIONS]
