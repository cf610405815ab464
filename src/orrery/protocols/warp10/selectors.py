"""Selectors of Warp 10: ``class{label=value,label~regex}``, as matchers of the store.

A class is a series' name, or its name and field with a point between them; which point that is
must be tried. Where a regular expression names the class, series with a field are selected first
and their class is looked at then.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from orrery.errors import Invalid
from orrery.model.selector import FIELD, MEASUREMENT, Matcher, Operator, Selector

SELECTORS_MAX = 1000
CLASS_POINTS_MAX = 64
_SELECTOR = re.compile(r"([^{]+)\{(.*)\}")

ClassMatcher = tuple[str, str]
"""(operator, value): what is left to be looked at of the class."""


@dataclass(frozen=True, slots=True)
class GtsSelector:
    """``text`` as it was written."""

    text: str
    is_regex: bool
    class_value: str
    labels: tuple[Matcher, ...]

    def choices(self) -> list[tuple[Selector, ClassMatcher | None]]:
        """No two of them select one series; all of them together select what is meant."""
        if self.is_regex:
            by_name = (Matcher(MEASUREMENT, Operator.REGEX, self.class_value), _field("="))
            return [
                (Selector((*by_name, *self.labels)), None),
                (Selector((_field("!="), *self.labels)), ("=~", self.class_value)),
            ]
        points = [at for at, letter in enumerate(self.class_value) if letter == "."]
        if len(points) > CLASS_POINTS_MAX:
            raise Invalid(
                f"cannot select class {self.class_value!r}: it has more than {CLASS_POINTS_MAX} "
                "points"
            )
        pairs = [(self.class_value, "")]
        pairs += [(self.class_value[:at], self.class_value[at + 1 :]) for at in points]
        return [
            (Selector((*exactly(name, field), *self.labels)), None)
            for name, field in pairs
            if name and (field or name == self.class_value)
        ]


def exactly(name: str, field: str) -> tuple[Matcher, Matcher]:
    return (
        Matcher(MEASUREMENT, Operator.EQUAL, name),
        Matcher(FIELD, Operator.EQUAL, field),
    )


def read_selectors(text: str) -> tuple[GtsSelector, ...]:
    """One or several, with blanks between them."""
    parts = text.split()
    if len(parts) > SELECTORS_MAX:
        raise Invalid(f"cannot read selectors: more than {SELECTORS_MAX} of them")
    return tuple(read_selector(part) for part in parts)


def read_selector(text: str) -> GtsSelector:
    found = _SELECTOR.fullmatch(text.strip())
    if found is None:
        raise Invalid(f"cannot read selector {text!r}: it is not of the form class{{labels}}")
    value = _decoded(found[1])
    is_regex = value.startswith("~")
    return GtsSelector(
        text, is_regex, value[1:] if value[0] in "~=" else value, tuple(_labels(found[2]))
    )


def _labels(text: str) -> list[Matcher]:
    matchers = []
    for token in (part.strip() for part in text.split(",")):
        if not token:
            continue
        operator = "=" if "=" in token else "~"
        name, found, value = token.partition(operator)
        if not found or not name or (operator == "=" and "=" in value):
            raise Invalid(
                f"cannot read label selector {token!r}: it is neither name=value nor name~regex"
            )
        name, value = _decoded(name), _decoded(value)
        if operator == "=":
            matchers.append(Matcher(name, Operator.EQUAL, value))
            continue
        # A series without the label is never meant, whatever the expression matches.
        matchers.append(Matcher(name, Operator.NOT_EQUAL, ""))
        matchers.append(Matcher(name, Operator.REGEX, value))
    return matchers


def _decoded(text: str) -> str:
    try:
        return unquote_to_bytes(text).decode("utf-8") if "%" in text else text
    except UnicodeDecodeError as error:
        raise Invalid(f"cannot read selector {text!r}: it is not UTF-8") from error


def _field(operator: str) -> Matcher:
    return Matcher(FIELD, Operator(operator), "")
