"""Regular expressions over label values; PromQL's ``label_replace`` and its checks call it."""

from orrery import _core


def expand_matches(pattern: str, template: str, texts: list[str]) -> list[str | None]:
    """The expansion of ``template`` (``$1``, ``${name}``) for each text that ``pattern`` matches
    from end to end, None for the others. Raises Invalid for a pattern that is not RE2."""
    return _core.expand_matches(pattern, template, texts)


def matches_empty(pattern: str) -> bool:
    """Whether ``pattern`` matches the empty text."""
    return _core.matches_empty(pattern)
