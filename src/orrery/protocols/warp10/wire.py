"""Warp 10's HTTP API, as far as it is served; ``app`` mounts :func:`routes`."""

from collections.abc import Awaitable, Callable
from functools import partial

from orrery.protocols.warp10 import delete, read, write
from orrery.protocols.warp10.errors import render_error
from orrery.protocols.warp10.parts import SCHEME, Parts
from orrery.server.http import Request, Response, Route
from orrery.tenancy.access import gate
from orrery.tenancy.tokens import Permission

PREFIX = "/api/v0"
GET_OR_POST = frozenset({"GET", "POST"})
POST = frozenset({"POST"})

Endpoint = Callable[[Parts, Request], Awaitable[Response]]

ENDPOINTS: tuple[tuple[frozenset[str], str, Endpoint, Permission], ...] = (
    (POST, "/update", write.update, Permission.WRITE),
    (POST, "/meta", write.meta, Permission.WRITE),
    (GET_OR_POST, "/find", read.find, Permission.READ),
    (GET_OR_POST, "/fetch", read.fetch, Permission.READ),
    (GET_OR_POST, "/delete", delete.delete, Permission.DELETE),
)


def routes(parts: Parts) -> list[Route]:
    return [
        Route(
            methods,
            PREFIX + path,
            partial(endpoint, parts),
            render_error,
            compressed_whole=permission is Permission.WRITE,
            admit=gate(parts.access, permission=permission, scheme=SCHEME),
        )
        for methods, path, endpoint, permission in ENDPOINTS
    ]
