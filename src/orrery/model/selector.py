"""Matchers and selectors, as every language hands them to the store."""

from dataclasses import dataclass
from enum import StrEnum


class Operator(StrEnum):
    EQUAL = "="
    NOT_EQUAL = "!="
    REGEX = "=~"
    NOT_REGEX = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One test on a label. An absent label equals the empty string; regexes are fully anchored
    RE2. ``__name__`` is the PromQL name, ``__measurement__`` the series' own name, ``__field__``
    its field."""

    label: str
    operator: Operator
    value: str


@dataclass(frozen=True, slots=True)
class Selector:
    """Series that pass every matcher."""

    matchers: tuple[Matcher, ...]


MEASUREMENT = "__measurement__"
FIELD = "__field__"
PROMQL_NAME = "__name__"
DATABASE = "__db__"
RETENTION_POLICY = "__rp__"
