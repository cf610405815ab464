"""The syntax tree of PromQL: what ``parse`` makes, ``check`` types and ``evaluate`` walks.

Positions are character offsets into the query and take no part in equality, so that a printed
and parsed tree equals the one it came from. Durations are nanoseconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from orrery.model.selector import Matcher


class Kind(StrEnum):
    """The type of an expression; the text is how errors name it."""

    VECTOR = "instant vector"
    RANGE = "range vector"
    SCALAR = "scalar"
    STRING = "string"


class Bound(StrEnum):
    """The two ends of the query that ``@`` may name."""

    START = "start"
    END = "end"


At = int | Bound
"""Where ``@`` pins a selector: nanoseconds, or an end of the query."""


class Card(StrEnum):
    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "group_left"
    ONE_TO_MANY = "group_right"
    MANY_TO_MANY = "many-to-many"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class NumberLiteral(Span):
    value: float
    is_duration: bool = False


@dataclass(frozen=True, slots=True)
class StringLiteral(Span):
    value: str


@dataclass(frozen=True, slots=True)
class Length:
    """A computed duration: ``operator`` is that of arithmetic, ``(``, the name of a function, or
    ``number`` with ``seconds``. Beside the nanoseconds it stands for, where they are known."""

    operator: str
    operands: tuple["Length", ...] = ()
    seconds: float = 0.0
    is_duration: bool = False


@dataclass(frozen=True, slots=True)
class VectorSelector(Span):
    """``matchers`` holds the name as well, where ``name`` was written before the braces."""

    name: str
    matchers: tuple[Matcher, ...]
    offset_ns: int = 0
    at: At | None = None
    offset_length: Length | None = None


@dataclass(frozen=True, slots=True)
class RangeSelector(Span):
    selector: VectorSelector
    range_ns: int
    range_length: Length | None = None


@dataclass(frozen=True, slots=True)
class Subquery(Span):
    """``step_ns`` is None where the query leaves it to the default."""

    expression: "Expr"
    range_ns: int
    step_ns: int | None = None
    offset_ns: int = 0
    at: At | None = None
    range_length: Length | None = None
    step_length: Length | None = None
    offset_length: Length | None = None


@dataclass(frozen=True, slots=True)
class Parenthesis(Span):
    expression: "Expr"


@dataclass(frozen=True, slots=True)
class Unary(Span):
    operator: str
    expression: "Expr"


@dataclass(frozen=True, slots=True)
class Matching:
    """How two vectors pair up. ``fill_left`` stands in for a missing left sample, and so on."""

    card: Card = Card.ONE_TO_ONE
    on: bool = False
    labels: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    fill_left: float | None = None
    fill_right: float | None = None


@dataclass(frozen=True, slots=True)
class Binary(Span):
    operator: str
    left: "Expr"
    right: "Expr"
    return_bool: bool = False
    matching: Matching = Matching()


@dataclass(frozen=True, slots=True)
class Aggregation(Span):
    operator: str
    expression: "Expr"
    parameter: "Expr | None" = None
    grouping: tuple[str, ...] = ()
    without: bool = False


@dataclass(frozen=True, slots=True)
class Call(Span):
    function: str
    arguments: tuple["Expr", ...]


Expr = (
    NumberLiteral
    | StringLiteral
    | VectorSelector
    | RangeSelector
    | Subquery
    | Parenthesis
    | Unary
    | Binary
    | Aggregation
    | Call
)

COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})
SET_OPERATORS = frozenset({"and", "or", "unless"})
AGGREGATIONS = frozenset({
    "sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "topk", "bottomk",
    "count_values", "quantile", "limitk", "limit_ratio",
})  # fmt: skip
AGGREGATIONS_WITH_PARAMETER = frozenset(
    {"topk", "bottomk", "count_values", "quantile", "limitk", "limit_ratio"}
)


def children(node: Expr) -> tuple[Expr, ...]:
    """The expressions directly below a node, in the order they are written."""
    match node:
        case RangeSelector():
            return (node.selector,)
        case Subquery() | Parenthesis() | Unary():
            return (node.expression,)
        case Binary():
            return (node.left, node.right)
        case Aggregation():
            return (
                (node.expression,) if node.parameter is None else (node.parameter, node.expression)
            )
        case Call():
            return node.arguments
        case _:
            return ()


def walk(node: Expr) -> Iterator[Expr]:
    """The node and everything below it, parents first."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        pending.extend(reversed(children(current)))


def without_parentheses(node: Expr) -> Expr:
    while isinstance(node, Parenthesis):
        node = node.expression
    return node
