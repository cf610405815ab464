"""Matchers, checked before a query or a delete uses them; called by languages and protocols.

A matcher crosses into the core as ``(label, operator, value)``.
"""

from collections.abc import Iterable, Sequence

from orrery import _core

MatcherTriple = tuple[str, str, str]


def check_matchers(matchers: Iterable[MatcherTriple]) -> None:
    """Raises ``Invalid`` naming the label and the regex where one is wrong."""
    _core.check_matchers(list(matchers))


def matcher_passes(matcher: MatcherTriple, values: Sequence[str]) -> list[bool]:
    """The matcher's test on single values; an absent label's value is empty."""
    return _core.matcher_passes(matcher, list(values))
