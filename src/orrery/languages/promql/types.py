"""The kind of a node whose types ``check`` has already found sound, and of what its series are."""

from orrery.languages.promql.functions.registry import Elementwise, OverRange, functions
from orrery.languages.promql.nodes import (
    Binary,
    Call,
    Expr,
    Kind,
    NumberLiteral,
    Parenthesis,
    RangeSelector,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
    without_parentheses,
)
from orrery.model.selector import PROMQL_NAME, Matcher, Operator


def kind_of(node: Expr) -> Kind:
    match node:
        case NumberLiteral():
            return Kind.SCALAR
        case StringLiteral():
            return Kind.STRING
        case RangeSelector() | Subquery():
            return Kind.RANGE
        case Parenthesis() | Unary():
            return kind_of(node.expression)
        case Binary():
            kinds = {kind_of(node.left), kind_of(node.right)}
            return Kind.SCALAR if kinds == {Kind.SCALAR} else Kind.VECTOR
        case Call():
            return functions()[node.function].signature.returns
        case _:
            return Kind.VECTOR


def has_one_name(node: Expr) -> bool:
    """Whether every series below has the same metric name, so that dropping it merges none."""
    match node:
        case Parenthesis() | Unary():
            return has_one_name(node.expression)
        case RangeSelector():
            return has_one_name(node.selector)
        case VectorSelector():
            return any(_is_exact_name(matcher) for matcher in node.matchers)
        case Binary():
            if kind_of(node.left) is Kind.SCALAR:
                return has_one_name(node.right)
            return kind_of(node.right) is Kind.SCALAR and has_one_name(node.left)
        case Call():
            function = functions()[node.function]
            if isinstance(function, Elementwise):
                return has_one_name(node.arguments[0])
            if isinstance(function, OverRange) and function.finish is None:
                return has_one_name(without_parentheses(node.arguments[function.range_index]))
    return False


def _is_exact_name(matcher: Matcher) -> bool:
    exact = matcher.label == PROMQL_NAME and matcher.operator is Operator.EQUAL
    return exact and matcher.value != ""
