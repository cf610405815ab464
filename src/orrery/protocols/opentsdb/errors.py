"""Errors as OpenTSDB 2.4 answers them: ``{"error": {"code": 400, "message": "", "details": ""}}``.

Called by every handler of this folder.
"""

import msgspec

from orrery.errors import Corrupt, Denied, Exhausted, Invalid, OrreryError, Unavailable
from orrery.ingest.requests import TooLarge
from orrery.server.http import Response
from orrery.tenancy.access import Unauthenticated

CONTENT_TYPE = "application/json; charset=UTF-8"
RETRY_AFTER_SECONDS = 1.0
"""Where the limit itself does not tell."""


class Unsupported(Invalid):
    """An encoding that nobody here takes off."""


class NotServed(Invalid):
    """A part of OpenTSDB that is not there."""


STATUSES: tuple[tuple[type[OrreryError], int], ...] = (
    (Unsupported, 415),
    (NotServed, 501),
    (Invalid, 400),
    (Unauthenticated, 401),
    (Denied, 403),
    (TooLarge, 413),
    (Exhausted, 429),
    (Unavailable, 503),
    (Corrupt, 500),
    (OrreryError, 500),
)
"""The first that fits."""
RETRIED = frozenset({429, 503})


def status_of(error: OrreryError) -> int:
    if isinstance(error, Exhausted) and error.is_of_the_server and not isinstance(error, TooLarge):
        return 503
    return next(status for kind, status in STATUSES if isinstance(error, kind))


def render_error(error: OrreryError) -> Response:
    status = status_of(error)
    message, _, details = str(error).partition(": ")
    body: dict[str, object] = {"code": status, "message": message}
    if details:
        body["details"] = details
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, Unauthenticated):
        headers = error.headers
    excess = error.excess if isinstance(error, Exhausted) else None
    seconds = RETRY_AFTER_SECONDS
    if excess is not None:
        seconds = excess.retry_after_seconds or seconds
        body["limit"] = excess.shown
    if status in RETRIED:
        headers += (("retry-after", str(max(1, round(seconds)))),)
    return error_response(status, body, headers)


def error_response(
    status: int, body: dict[str, object], headers: tuple[tuple[str, str], ...]
) -> Response:
    return Response(status, msgspec.json.encode({"error": body}), headers, CONTENT_TYPE)
