"""The tree of a query as ``/parse_query`` shows it: the shape of Prometheus' own, for editors."""

from orrery.languages.promql.durations import format_plain
from orrery.languages.promql.functions.registry import Signature, functions
from orrery.languages.promql.nodes import (
    Aggregation,
    Binary,
    Bound,
    Call,
    Expr,
    Kind,
    Matching,
    NumberLiteral,
    Parenthesis,
    RangeSelector,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
)
from orrery.languages.promql.types import kind_of

MILLISECOND_NS = 1_000_000
KINDS = {Kind.VECTOR: "vector", Kind.RANGE: "matrix", Kind.SCALAR: "scalar", Kind.STRING: "string"}

Json = dict[str, object]


def tree(node: Expr | None) -> Json | None:
    match node:
        case None:
            return None
        case NumberLiteral():
            return {"type": "numberLiteral", "val": format_plain(node.value)}
        case StringLiteral():
            return {"type": "stringLiteral", "val": node.value}
        case Parenthesis():
            return {"type": "parenExpr", "expr": tree(node.expression)}
        case Unary():
            return {"type": "unaryExpr", "op": node.operator, "expr": tree(node.expression)}
        case VectorSelector():
            return {"type": "vectorSelector", **selected(node)}
        case RangeSelector():
            range_ms = node.range_ns // MILLISECOND_NS
            return {"type": "matrixSelector", "range": range_ms, **selected(node.selector)}
        case Subquery():
            return subquery(node)
        case Binary():
            return binary(node)
        case Aggregation():
            return aggregation(node)
        case Call():
            return call(node)


def selected(node: VectorSelector) -> Json:
    matchers = [
        {"name": one.label, "type": str(one.operator), "value": one.value} for one in node.matchers
    ]
    return {"name": node.name, "matchers": matchers, **modifiers(node)}


def modifiers(node: VectorSelector | Subquery) -> Json:
    at = node.at
    return {
        "offset": node.offset_ns // MILLISECOND_NS,
        "timestamp": None if at is None or isinstance(at, Bound) else at // MILLISECOND_NS,
        "startOrEnd": str(at) if isinstance(at, Bound) else None,
    }


def subquery(node: Subquery) -> Json:
    return {
        "type": "subquery",
        "expr": tree(node.expression),
        "range": node.range_ns // MILLISECOND_NS,
        "step": (node.step_ns or 0) // MILLISECOND_NS,
        **modifiers(node),
    }


def binary(node: Binary) -> Json:
    between_vectors = kind_of(node.left) is kind_of(node.right) is Kind.VECTOR
    return {
        "type": "binaryExpr",
        "op": node.operator,
        "lhs": tree(node.left),
        "rhs": tree(node.right),
        "matching": matching(node.matching) if between_vectors else None,
        "bool": node.return_bool,
    }


def matching(found: Matching) -> Json:
    cards = {"group_left": "many-to-one", "group_right": "one-to-many"}
    shown: Json = {
        "card": cards.get(found.card, str(found.card)),
        "labels": list(found.labels),
        "on": found.on,
        "include": list(found.include),
    }
    if found.fill_left is not None or found.fill_right is not None:
        shown["fillValues"] = {"lhs": found.fill_left, "rhs": found.fill_right}
    return shown


def aggregation(node: Aggregation) -> Json:
    return {
        "type": "aggregation",
        "op": node.operator,
        "expr": tree(node.expression),
        "param": tree(node.parameter),
        "grouping": list(node.grouping),
        "without": node.without,
    }


def call(node: Call) -> Json:
    signature = functions()[node.function].signature
    return {
        "type": "call",
        "func": {
            "name": node.function,
            "argTypes": [KINDS[kind] for kind in signature.parameters],
            "variadic": variadic(signature),
            "returnType": KINDS[signature.returns],
        },
        "args": [tree(one) for one in node.arguments],
    }


def variadic(signature: Signature) -> int:
    """How many of the last may be left out; -1 where they may come any number of times."""
    return -1 if signature.repeats else signature.optional_count
