"""Runs one operation of the admin API without a server; ``reach`` calls it."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from orrery.errors import Invalid, OrreryError
from orrery.protocols.admin import operations, wire
from orrery.server.http import UNIX_PEER, Request
from orrery.server.router import Missing, Router
from orrery.store.pins import Pinned
from orrery.store.quarantine import Book, Held
from orrery.tenancy.access import Caller
from orrery.tenancy.administration import OPERATOR, Administration


class OperatorAccess:
    """Whoever may open the data directory may administer it."""

    def caller(self, request: Request, *, permission: str, scheme: str) -> Caller:
        return OPERATOR


class NoMaintenance:
    def quarantine(self) -> Book:
        raise Invalid("cannot reach blocks here: the command line opens the store by itself")

    def release_block(self, name: str) -> Held:
        raise Invalid(f"cannot release block {name!r} here: the command line does so by itself")

    def drop_block(self, name: str) -> Held:
        raise Invalid(f"cannot drop block {name!r} here: the command line does so by itself")

    def compact(self) -> AsyncIterator[dict[str, object]]:
        raise Invalid("cannot compact here: the command line compacts by itself")

    def pin(self) -> Pinned:
        raise Invalid("cannot pin the store here: its lock is the pin")

    def renew_pin(self, pin_id: str, *, log: bool) -> None:
        self.pin()

    def release_pin(self, pin_id: str) -> None:
        self.pin()


async def run_operation(
    administration: Administration, method: str, path: str, body: bytes
) -> tuple[int, bytes]:
    """(status, JSON) as a server would answer."""
    routes = operations.routes(
        access=OperatorAccess(), administration=administration, maintenance=NoMaintenance()
    )
    parts = urlsplit(path)
    found = Router(routes).find(method, parts.path)
    assert not isinstance(found, Missing), f"no operation {method} {path}"
    request = Request(method, parts.path, parts.query, {}, body, UNIX_PEER, found.parameters)
    try:
        response = await found.route.handler(request)
    except OrreryError as error:
        response = wire.render_error(error)
    assert isinstance(response.body, bytes), "compaction alone streams"
    return response.status, response.body
