"""What stands behind the question mark of a put request; ``put`` reads it.

As in OpenTSDB it counts that ``summary``, ``details`` and ``sync`` are there, not what they say.
"""

from dataclasses import dataclass

from orrery.errors import Invalid
from orrery.server.http import Request

NOT_SERVED = ("jsonp", "method", "method_override")
"""They would change the answer or the request, and do not here."""
TIMEOUT_MILLISECONDS_MAX = 2**31 - 1
MILLISECONDS = 1000.0


@dataclass(frozen=True, slots=True)
class Options:
    """``timeout_seconds`` is None where the answer waits until all is stored."""

    has_summary: bool
    has_details: bool
    timeout_seconds: float | None


def options_of(request: Request) -> Options:
    # The first of equal names wins, as in OpenTSDB.
    arguments = dict(reversed(request.query_arguments()))
    for name in NOT_SERVED:
        if name in arguments:
            raise Invalid(f"cannot serve the parameter {name!r}: it is not supported")
    serializer = arguments.get("serializer", "json")
    if serializer != "json":
        raise Invalid(f"cannot find serializer {serializer!r}: only json is there")
    return Options(
        has_summary="summary" in arguments,
        has_details="details" in arguments,
        timeout_seconds=_timeout_seconds(arguments),
    )


def _timeout_seconds(arguments: dict[str, str]) -> float | None:
    """Of a synchronous write only, as every write here waits anyhow."""
    text = arguments.get("sync_timeout", "0")
    try:
        milliseconds = int(text)
    except ValueError:
        milliseconds = -1
    if not 0 <= milliseconds <= TIMEOUT_MILLISECONDS_MAX:
        raise Invalid(f"cannot read sync_timeout {text!r}: not a number of milliseconds")
    if "sync" not in arguments or milliseconds == 0:
        return None
    return milliseconds / MILLISECONDS
