"""What OTLP answers to each kind of error, over HTTP and over gRPC.

429 and 503 are the statuses that senders try again, over gRPC UNAVAILABLE, and RESOURCE_EXHAUSTED
where it says when.
"""

from dataclasses import dataclass
from enum import IntEnum

from orrery.errors import Corrupt, Denied, Exhausted, Invalid, OrreryError, Unavailable
from orrery.ingest.requests import TooLarge
from orrery.tenancy.access import Unauthenticated


class Unsupported(Invalid):
    """A content type or encoding that senders may change and try again."""


class InForm(OrreryError):
    """An error met before the handler, and whether its answer is to be JSON."""

    def __init__(self, error: OrreryError, *, is_json: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.is_json = is_json


class Code(IntEnum):
    """Of ``google.rpc``, as far as they are used."""

    INVALID_ARGUMENT = 3
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


STATUSES: tuple[tuple[type[OrreryError], int, Code], ...] = (
    (Unsupported, 415, Code.INVALID_ARGUMENT),
    (Invalid, 400, Code.INVALID_ARGUMENT),
    (Unauthenticated, 401, Code.UNAUTHENTICATED),
    (Denied, 403, Code.PERMISSION_DENIED),
    (TooLarge, 413, Code.RESOURCE_EXHAUSTED),
    (Exhausted, 429, Code.RESOURCE_EXHAUSTED),
    (Unavailable, 503, Code.UNAVAILABLE),
    (Corrupt, 500, Code.INTERNAL),
    (OrreryError, 500, Code.INTERNAL),
)
"""The first that fits."""

RETRIED = frozenset({429, 503})
RETRY_AFTER_SECONDS = 1.0
"""Where the limit itself does not tell."""


@dataclass(frozen=True, slots=True)
class Failure:
    """``retry_after_seconds`` is None where the same request fails again."""

    status: int
    code: Code
    message: str
    retry_after_seconds: float | None
    headers: tuple[tuple[str, str], ...]


def failure_of(error: OrreryError) -> Failure:
    found = ((status, code) for kind, status, code in STATUSES if isinstance(error, kind))
    status, code = next(found)
    excess = error.excess if isinstance(error, Exhausted) else None
    if status == 429 and isinstance(error, Exhausted) and error.is_of_the_server:
        status, code = 503, Code.UNAVAILABLE
    retry = None
    if status in RETRIED:
        retry = (excess and excess.retry_after_seconds) or RETRY_AFTER_SECONDS
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, Unauthenticated):
        headers = error.headers
    if retry is not None:
        headers += (("retry-after", str(max(1, round(retry)))),)
    return Failure(status, code, str(error), retry, headers)
