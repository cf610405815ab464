"""Durations that are computed: ``[2 * step()]``, ``offset min_of(range(), 1h)``.

``parse`` reads them here; ``evaluate`` has :func:`resolved` put numbers in their places before it
walks a tree. Those that do not depend on the query are computed, and refused, when they are read.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from orrery.errors import Invalid
from orrery.languages.promql.durations import MILLISECOND_NS, SECOND_NS, number
from orrery.languages.promql.nodes import (
    Aggregation,
    Binary,
    Call,
    Expr,
    Length,
    Parenthesis,
    RangeSelector,
    Subquery,
    Unary,
    VectorSelector,
    walk,
)

if TYPE_CHECKING:
    from orrery.languages.promql.parse import Parser

SECONDS_MAX = 9e9
EXPECTED = "number, duration, step(), or range()"
_POWERS = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2, "^": 4}
_UNARY_POWER = 2
_OF_QUERY = frozenset({"step", "range"})
_OF_TWO = frozenset({"min_of", "max_of"})

Read = tuple[int, Length | None]
"""Nanoseconds, and how they are computed where they are not simply written."""

Node = TypeVar("Node", VectorSelector, Subquery)


# --- reading


def in_brackets(parser: "Parser", context: str) -> Read:
    """A range or the step of a subquery: an expression above zero."""
    start = parser.current.start
    length = expression(parser, 0, context)
    found = settled(parser, length, start)
    if found[0] <= 0 and is_constant(length):
        parser.fail("duration must be greater than 0", start)
    return found


def after_offset(parser: "Parser") -> Read:
    """A signed number, call or bracket: other operators belong to the vector."""
    start = parser.current.start
    sign = parser.advance().kind if parser.current.kind in ("+", "-") else ""
    length = atom(parser, "offset")
    return settled(parser, Length(sign, (length,)) if sign else length, start)


def settled(parser: "Parser", length: Length, start: int) -> Read:
    try:
        length_ns = nanoseconds(length, 0, 0) if is_constant(length) else 0
    except Invalid as error:
        parser.fail(str(error), start)
    is_plain = length.operator == "number" or (
        length.operator in ("+", "-") and [one.operator for one in length.operands] == ["number"]
    )
    return length_ns, None if is_plain else length


def expression(parser: "Parser", power_min: int, context: str) -> Length:
    depth = parser.depth
    parser.deepen()
    if parser.current.kind in ("+", "-"):
        sign = parser.advance().kind
        left = Length(sign, (expression(parser, _UNARY_POWER, context),))
    else:
        left = atom(parser, context)
    while (power := _POWERS.get(parser.current.kind, 0)) > power_min:
        parser.deepen()
        operator = parser.advance().kind
        right = expression(parser, power - 1 if operator == "^" else power, context)
        left = Length(operator, (left, right))
    parser.depth = depth
    return left


def atom(parser: "Parser", context: str) -> Length:
    token = parser.current
    if token.kind == "duration":
        seconds = parser.duration(parser.advance()) / SECOND_NS
        return Length("number", seconds=seconds, is_duration=True)
    if token.kind == "number":
        value = number(parser.advance().text)
        if value is None or not abs(value) <= SECONDS_MAX:
            parser.fail("duration out of range", token.start)
        return Length("number", seconds=value)
    if token.kind == "(":
        parser.advance()
        inner = expression(parser, 0, context)
        parser.expect(")", context)
        return Length("(", (inner,))
    if token.kind not in _OF_QUERY and token.text.lower() not in _OF_TWO:
        parser.unexpected(context, EXPECTED)
    return call(parser, context)


def call(parser: "Parser", context: str) -> Length:
    name = parser.advance().text.lower()
    parser.expect("(", context)
    operands: tuple[Length, ...] = ()
    if name in _OF_TWO:
        first = expression(parser, 0, context)
        parser.expect(",", context)
        operands = (first, expression(parser, 0, context))
    parser.expect(")", context)
    return Length(name, operands)


# --- computing


def is_constant(length: Length) -> bool:
    return length.operator not in _OF_QUERY and all(map(is_constant, length.operands))


def nanoseconds(length: Length, step_ns: int, range_ns: int) -> int:
    """Rounded to milliseconds; raises Invalid where there is no such duration."""
    seconds = computed(length, step_ns / SECOND_NS, range_ns / SECOND_NS)
    if not abs(seconds) <= SECONDS_MAX:
        raise Invalid("duration out of range")
    return math.floor(seconds * 1000 + 0.5) * MILLISECOND_NS


def computed(length: Length, step_seconds: float, range_seconds: float) -> float:
    """The value of a length in seconds."""
    values = [computed(one, step_seconds, range_seconds) for one in length.operands]
    match length.operator, values:
        case "number", _:
            return length.seconds
        case "step", _:
            return step_seconds
        case "range", _:
            return range_seconds
        case "(" | "+", [value]:
            return value
        case "-", [value]:
            return -value
        case "min_of", [left, right]:
            return min(left, right)
        case "max_of", [left, right]:
            return max(left, right)
        case operator, [left, right]:
            return arithmetic(operator, left, right)
    raise AssertionError(f"no length: {length!r}")


def arithmetic(operator: str, left: float, right: float) -> float:
    if operator in "/%" and right == 0:
        raise Invalid("division by zero" if operator == "/" else "modulo by zero")
    try:
        match operator:
            case "+":
                return left + right
            case "-":
                return left - right
            case "*":
                return left * right
            case "/":
                return left / right
            case "%":
                return math.fmod(left, right)
        return math.pow(left, right)
    except (OverflowError, ValueError) as error:
        raise Invalid("duration out of range") from error


# --- putting numbers in their places


def resolved(tree: Expr, *, step_ns: int, range_ns: int) -> Expr:
    """``tree`` with every computed duration in numbers."""
    if not any(is_computed(node) for node in walk(tree)):
        return tree
    return Resolution(step_ns, range_ns).of(tree)


def is_computed(node: Expr) -> bool:
    match node:
        case VectorSelector():
            return node.offset_length is not None
        case RangeSelector():
            return node.range_length is not None
        case Subquery():
            lengths = (node.range_length, node.step_length, node.offset_length)
            return any(one is not None for one in lengths)
    return False


class Resolution:
    def __init__(self, step_ns: int, range_ns: int) -> None:
        self.step_ns = step_ns
        self.range_ns = range_ns

    def of(self, node: Expr) -> Expr:
        match node:
            case VectorSelector():
                return self.moved(node)
            case RangeSelector():
                range_ns = self.positive(node.range_ns, node.range_length)
                return replace(node, selector=self.moved(node.selector), range_ns=range_ns)
            case Subquery():
                return self.subquery(node)
            case Parenthesis() | Unary():
                return replace(node, expression=self.of(node.expression))
            case Binary():
                return replace(node, left=self.of(node.left), right=self.of(node.right))
            case Aggregation():
                parameter = None if node.parameter is None else self.of(node.parameter)
                return replace(node, expression=self.of(node.expression), parameter=parameter)
            case Call():
                return replace(node, arguments=tuple(map(self.of, node.arguments)))
        return node

    def subquery(self, node: Subquery) -> Subquery:
        step_ns = node.step_ns
        if node.step_length is not None:
            step_ns = self.positive(0, node.step_length)
        return replace(
            self.moved(node),
            expression=self.of(node.expression),
            range_ns=self.positive(node.range_ns, node.range_length),
            step_ns=step_ns,
        )

    def moved(self, node: Node) -> Node:
        if node.offset_length is None:
            return node
        return replace(node, offset_ns=nanoseconds(node.offset_length, self.step_ns, self.range_ns))

    def positive(self, length_ns: int, length: Length | None) -> int:
        if length is not None:
            length_ns = nanoseconds(length, self.step_ns, self.range_ns)
        if length_ns <= 0:
            raise Invalid("duration must be greater than 0")
        return length_ns
