"""Errors in five kinds, by what the caller does next; every part raises one of these.

Each wire maps the kinds to its own status codes in one table. Messages read
``cannot <verb> <object> {value!r}: <cause>``: lower case, no full stop.
"""

from dataclasses import dataclass

SERVER = "server"
"""The scope of bounds that all tenants share."""


class OrreryError(Exception):
    """What every error of Orrery is."""


class Invalid(OrreryError):
    """The request is wrong: fix it; sending it again unchanged fails again."""


class Denied(OrreryError):
    """The caller lacks a right: get one."""


class Unavailable(OrreryError):
    """Not now: try again later, unchanged."""


class Corrupt(OrreryError):
    """Stored bytes are not what was written: call us."""


@dataclass(frozen=True, slots=True)
class Excess:
    """Which limit was reached: the body of a refusal."""

    limit: str
    scope: str
    value: float
    current: float
    retry_after_seconds: float | None = None

    @property
    def shown(self) -> dict[str, object]:
        """What every wire that has room for it puts beside an error; ``client.http`` reads it."""
        return {
            "name": self.limit,
            "scope": self.scope,
            "value": self.value,
            "current": self.current,
        }


class Exhausted(OrreryError):
    """A limit was reached: slow down, or ask for less.

    ``excess`` names the limit where one is known; ``retry_after_seconds`` in it is set where
    waiting helps.
    """

    def __init__(self, message: str, excess: Excess | None = None) -> None:
        super().__init__(message)
        self.excess = excess

    @property
    def is_of_the_server(self) -> bool:
        """A bound of the whole server was reached, not one of who asks: the same request may pass
        later, and a sender that gives up at 429, as Prometheus does, must not."""
        return self.excess is not None and self.excess.scope == SERVER
