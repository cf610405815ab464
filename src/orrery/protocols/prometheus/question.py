"""What a request asks of the language; ``query`` reads it, ``cached`` asks for parts of it."""

from msgspec import Struct


class Question(Struct, frozen=True):
    """A query as its request asks it; a ``step_ns`` of 0 asks once, at ``start_ns``."""

    text: str
    start_ns: int
    end_ns: int
    step_ns: int
    limit: int
    lookback_ns: int
    timeout_seconds: float | None
    wants_statistics: bool
    is_uncached: bool
    raw_only: bool = False
