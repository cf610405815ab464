"""The kind of a node whose types ``check`` has already found sound."""

from orrery.languages.promql.functions.registry import functions
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
)


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
