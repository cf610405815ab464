"""The routes of the read side: Prometheus 3's HTTP API under its prefix and at the root.

``app`` calls :func:`routes` and hands the result to the server.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from orrery.protocols.prometheus import admin, labels, query, status
from orrery.protocols.prometheus.parts import Parts
from orrery.protocols.prometheus.render import render_error
from orrery.server.http import Request, Response, Route
from orrery.tenancy.access import gate
from orrery.tenancy.tokens import Permission

Endpoint = Callable[[Parts, Request], Awaitable[Response]]

PREFIXES = ("/api/v1", "/prometheus/api/v1")
GET = frozenset({"GET"})
GET_OR_POST = frozenset({"GET", "POST"})
POST_OR_PUT = frozenset({"POST", "PUT"})

ENDPOINTS: tuple[tuple[frozenset[str], str, Endpoint], ...] = (
    (GET_OR_POST, "/query", query.instant),
    (GET_OR_POST, "/query_range", query.ranged),
    (GET_OR_POST, "/query_exemplars", query.exemplars),
    (GET_OR_POST, "/format_query", query.formatted),
    (GET_OR_POST, "/parse_query", query.parsed),
    (GET_OR_POST, "/series", labels.series),
    (GET_OR_POST, "/labels", labels.names),
    (GET, "/label/{name}/values", labels.values),
    (GET, "/metadata", status.metadata),
    (GET, "/rules", status.rules),
    (GET, "/status/buildinfo", status.build_information),
    (GET, "/status/runtimeinfo", status.runtime_information),
    (GET, "/status/config", status.configuration),
    (GET, "/status/flags", status.flags),
    (GET, "/status/tsdb", status.statistics),
    (POST_OR_PUT, "/admin/tsdb/delete_series", admin.delete_series),
    (GET, "/admin/tsdb/receipts", admin.list_receipts),
    (GET, "/admin/tsdb/receipts/{id}", admin.show_receipt),
    *((GET, f"/{name}", status.empty(name)) for name in status.EMPTY),
)


def routes(parts: Parts) -> list[Route]:
    return [
        Route(
            methods,
            prefix + path,
            partial(endpoint, parts),
            render_error,
            admit=gate(parts.access, permission=permission_for(endpoint), scheme="prometheus"),
        )
        for prefix in PREFIXES
        for methods, path, endpoint in ENDPOINTS
    ]


def permission_for(endpoint: Endpoint) -> Permission:
    deleting = (admin.delete_series, admin.list_receipts, admin.show_receipt)
    return Permission.DELETE if endpoint in deleting else Permission.READ
