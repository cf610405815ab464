"""Errors as InfluxDB answers them: one table from kinds to statuses, in the shapes of 1.x and 2.x.

Called by every handler of this folder.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from orrery.errors import Corrupt, Denied, Exhausted, Invalid, OrreryError, Unavailable
from orrery.ingest.contract import Rejected
from orrery.ingest.requests import TooLarge
from orrery.server.http import Response
from orrery.tenancy.access import Unauthenticated

HEADER_CHARACTERS_MAX = 1024
"""InfluxDB 1.x cuts its error header here."""
RETRY_AFTER_SECONDS = 1.0
"""Where the limit itself does not tell."""


class Unsupported(Invalid):
    """An encoding that nobody here takes off."""


class NotFound(Invalid):
    """A bucket that cannot be."""


@dataclass(frozen=True, slots=True)
class Status:
    status: int
    code: str
    retry: bool = False


STATUSES: tuple[tuple[type[OrreryError], Status], ...] = (
    (Unsupported, Status(415, "unsupported media type")),
    (NotFound, Status(404, "not found")),
    (Invalid, Status(400, "invalid")),
    (Unauthenticated, Status(401, "unauthorized")),
    (Denied, Status(403, "forbidden")),
    (TooLarge, Status(413, "request too large")),
    (Exhausted, Status(429, "too many requests", retry=True)),
    (Unavailable, Status(503, "unavailable", retry=True)),
    (Corrupt, Status(500, "internal error")),
    (OrreryError, Status(500, "internal error")),
)
"""The first that fits."""

RenderError = Callable[[OrreryError], Response]


def status_of(error: OrreryError) -> Status:
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    if status.status == 429 and isinstance(error, Exhausted) and error.is_of_the_server:
        return next(status for kind, status in STATUSES if kind is Unavailable)
    return status


def render_error_1(error: OrreryError) -> Response:
    """``{"error": ...}``, as 1.x."""
    return _rendered(error, {"error": str(error)})


def render_error_2(error: OrreryError) -> Response:
    """``{"code": ..., "message": ...}``, as 2.x."""
    return _rendered(error, {"code": status_of(error).code, "message": str(error)})


def refusal_1(message: str, refused: Sequence[Rejected]) -> Response:
    """A write that left lines out."""
    return _refusal(message, {"error": message}, refused)


def refusal_2(message: str, refused: Sequence[Rejected]) -> Response:
    return _refusal(message, {"code": "invalid", "message": message}, refused)


def _refusal(message: str, body: dict[str, object], refused: Sequence[Rejected]) -> Response:
    body["rejected"] = [{"line": line, "reason": reason} for line, reason in refused]
    return Response(400, msgspec.json.encode(body), _error_header(message))


def _rendered(error: OrreryError, body: dict[str, object]) -> Response:
    status = status_of(error)
    headers = _error_header(str(error))
    if isinstance(error, Unauthenticated):
        headers += error.headers
    excess = error.excess if isinstance(error, Exhausted) else None
    seconds = RETRY_AFTER_SECONDS
    if excess is not None:
        seconds = excess.retry_after_seconds or seconds
        body["limit"] = excess.shown
    if status.retry:
        headers += (("retry-after", str(max(1, round(seconds)))),)
    return Response(status.status, msgspec.json.encode(body), headers)


def _error_header(message: str) -> tuple[tuple[str, str], ...]:
    """One line of printable ASCII, whatever a bad line held."""
    shown = "".join(
        character if " " <= character <= "~" else " " if character.isspace() else "?"
        for character in message[:HEADER_CHARACTERS_MAX]
    )
    return (("x-influxdb-error", shown),)
