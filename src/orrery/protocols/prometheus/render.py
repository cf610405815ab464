"""Prometheus' JSON envelopes: success around data, and one table from errors to statuses.

Called by every handler of this folder's read side; the server compresses what is large.
"""

import json
from collections.abc import Sequence

from orrery.errors import Denied, Exhausted, Invalid, OrreryError, Unavailable
from orrery.query.budget import Cancelled, TimedOut
from orrery.server.http import Response
from orrery.tenancy.access import Unauthenticated

TRUNCATED = "results truncated due to limit"


class NotFound(Invalid):
    """There is nothing of this name."""


class Failed(Invalid):
    """The query is well formed and still cannot be evaluated."""


STATUSES: tuple[tuple[type[OrreryError], int, str], ...] = (
    (TimedOut, 503, "timeout"),
    (Cancelled, 503, "canceled"),
    (NotFound, 404, "not_found"),
    (Failed, 422, "execution"),
    (Invalid, 400, "bad_data"),
    (Unauthenticated, 401, "unauthorized"),
    (Denied, 403, "forbidden"),
    (Unavailable, 503, "unavailable"),
    (OrreryError, 500, "internal"),
)
"""The first that fits; other ``Exhausted`` depends on whether waiting helps."""


def status_of(error: OrreryError) -> tuple[int, str]:
    if isinstance(error, Exhausted) and error.is_of_the_server:
        return 503, "unavailable"
    if isinstance(error, Exhausted) and not isinstance(error, TimedOut):
        waiting_helps = error.excess is not None and error.excess.retry_after_seconds is not None
        return (429, "too_many_requests") if waiting_helps else (422, "execution")
    return next((status, name) for kind, status, name in STATUSES if isinstance(error, kind))


def render_error(error: OrreryError) -> Response:
    status, name = status_of(error)
    body: dict[str, object] = {"status": "error", "errorType": name, "error": str(error)}
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, Unauthenticated):
        headers = error.headers
    excess = error.excess if isinstance(error, Exhausted) else None
    if excess is not None:
        body["limit"] = excess.shown
        if excess.retry_after_seconds is not None:
            headers = (("retry-after", str(max(1, round(excess.retry_after_seconds)))),)
    return Response(status, dump(body), headers)


def dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def answer(data: bytes, *, warnings: Sequence[str] = (), infos: Sequence[str] = ()) -> Response:
    """Success around ``data``, which is JSON already."""
    parts = [b'{"status":"success","data":', data]
    if warnings:
        parts += [b',"warnings":', dump(list(warnings))]
    if infos:
        parts += [b',"infos":', dump(list(infos))]
    return Response(200, b"".join((*parts, b"}")))


def success(data: object, *, warnings: Sequence[str] = (), infos: Sequence[str] = ()) -> Response:
    return answer(dump(data), warnings=warnings, infos=infos)
