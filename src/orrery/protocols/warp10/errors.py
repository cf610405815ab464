"""Errors as Warp 10 answers them: a status from one table, the message as plain text and in its
error headers.

Warp 10 answers 500 for what it cannot parse in an update; clients know that. What it has no status
for (a rate, a full disk) has that of the other wires, with the time to wait.
"""

from collections.abc import Sequence

from orrery.errors import Denied, Exhausted, Invalid, OrreryError, Unavailable
from orrery.ingest.contract import Rejected
from orrery.ingest.requests import TooLarge
from orrery.query.budget import Cancelled, TimedOut
from orrery.server.http import Response
from orrery.tenancy.access import Unauthenticated

TEXT = "text/plain; charset=utf-8"
CORS = (("access-control-allow-origin", "*"),)
LINE_HEADER = "x-warp10-error-line"
MESSAGE_HEADER = "x-warp10-error-message"
MESSAGE_CHARACTERS_MAX = 1024
RETRY_AFTER_SECONDS = 1.0


class Unsupported(Invalid):
    """An encoding that nobody here takes off."""


class Unparsed(Invalid):
    """What was sent as lines, and is none."""


STATUSES: tuple[tuple[type[OrreryError], int], ...] = (
    (TimedOut, 503),
    (Cancelled, 503),
    (Unsupported, 415),
    (Unparsed, 500),
    (Invalid, 400),
    (Unauthenticated, 403),
    (Denied, 403),
    (TooLarge, 413),
    (Exhausted, 429),
    (Unavailable, 503),
    (OrreryError, 500),
)
"""The first that fits."""


def status_of(error: OrreryError) -> int:
    if isinstance(error, Exhausted) and error.is_of_the_server:
        return 503
    return next(status for kind, status in STATUSES if isinstance(error, kind))


def render_error(error: OrreryError) -> Response:
    status = status_of(error)
    message = str(error)
    if isinstance(error, Unauthenticated):
        # The words that Warp 10's clients look for.
        message = f"Invalid token: {message}"
    headers: tuple[tuple[str, str], ...] = ()
    if status in (429, 503):
        excess = error.excess if isinstance(error, Exhausted) else None
        seconds = excess.retry_after_seconds if excess is not None else None
        headers = (("retry-after", str(max(1, round(seconds or RETRY_AFTER_SECONDS)))),)
    return failure(status, message, headers)


def failure(status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(
        status,
        message.encode("utf-8", "replace") + b"\n",
        (*CORS, (MESSAGE_HEADER, _shown(message)), *headers),
        TEXT,
    )


def refusal(
    status: int,
    shown: Sequence[Rejected],
    *,
    more_count: int,
    kept: str,
    headers: tuple[tuple[str, str], ...] = (),
) -> Response:
    """Lines that were left out, each with its reason; ``kept`` says what became of the others."""
    lines = [f"line {line}: {reason}" for line, reason in shown]
    if more_count:
        lines.append(f"and {more_count} more refusals")
    first_line, first_reason = shown[0]
    body = "\n".join((first_reason, *lines, kept, ""))
    error_headers = ((LINE_HEADER, str(first_line)), (MESSAGE_HEADER, _shown(first_reason)))
    return Response(
        status, body.encode("utf-8", "replace"), (*CORS, *error_headers, *headers), TEXT
    )


def _shown(message: str) -> str:
    """One line of printable ASCII, whatever a bad line held."""
    return "".join(
        character if " " <= character <= "~" else " " if character.isspace() else "?"
        for character in message[:MESSAGE_CHARACTERS_MAX]
    )
