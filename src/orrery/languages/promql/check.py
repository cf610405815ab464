"""The types of a tree, checked before it is evaluated; worded as Prometheus words it."""

from typing import NoReturn

from orrery.errors import Invalid
from orrery.kernels.relabel import matches_empty
from orrery.languages.promql.functions.registry import FUNCTIONS_UNSUPPORTED, Signature, signature
from orrery.languages.promql.nodes import (
    COMPARISONS,
    SET_OPERATORS,
    Aggregation,
    Binary,
    Call,
    Card,
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
from orrery.languages.promql.tokens import ParseError, go_quote
from orrery.model.selector import Matcher, Operator


def check(node: Expr, text: str) -> Kind:
    """The kind of ``node``; raises :class:`ParseError` where the types below do not fit."""
    return Checker(text).check(node)


class Checker:
    def __init__(self, text: str) -> None:
        self.text = text

    def fail(self, node: Expr, cause: str) -> NoReturn:
        raise ParseError(self.text, node.start, cause)

    def check(self, node: Expr) -> Kind:
        match node:
            case NumberLiteral():
                return Kind.SCALAR
            case StringLiteral():
                return Kind.STRING
            case Parenthesis():
                return self.check(node.expression)
            case VectorSelector():
                return self.selector(node)
            case RangeSelector():
                self.selector(node.selector)
                return Kind.RANGE
            case Subquery():
                return self.subquery(node)
            case Unary():
                return self.unary(node)
            case Binary():
                return self.binary(node)
            case Aggregation():
                return self.aggregation(node)
            case Call():
                return self.call(node)

    def expect(self, node: Expr, wanted: Kind, context: str) -> None:
        found = self.check(node)
        if found is not wanted:
            self.fail(node, f"expected type {wanted} in {context}, got {found}")

    def selector(self, node: VectorSelector) -> Kind:
        if not has_matcher(node, self.text):
            self.fail(node, "vector selector must contain at least one non-empty matcher")
        return Kind.VECTOR

    def subquery(self, node: Subquery) -> Kind:
        found = self.check(node.expression)
        if found is not Kind.VECTOR:
            self.fail(node, f"subquery is only allowed on instant vector, got {found} instead")
        return Kind.RANGE

    def unary(self, node: Unary) -> Kind:
        found = self.check(node.expression)
        if found not in (Kind.SCALAR, Kind.VECTOR):
            cause = "unary expression only allowed on expressions of type scalar or instant vector"
            self.fail(node, f"{cause}, got {go_quote(found)}")
        return found

    def binary(self, node: Binary) -> Kind:
        left, right = self.check(node.left), self.check(node.right)
        for side, kind in ((node.left, left), (node.right, right)):
            if kind not in (Kind.SCALAR, Kind.VECTOR):
                cause = "binary expression must contain only scalar and instant vector types"
                self.fail(side, cause)
        scalars = (left, right).count(Kind.SCALAR)
        if scalars == 2 and node.operator in COMPARISONS and not node.return_bool:
            self.fail(node, "comparisons between scalars must use BOOL modifier")
        if scalars and node.operator in SET_OPERATORS:
            cause = (
                f"set operator {go_quote(node.operator)} not allowed in binary scalar expression"
            )
            self.fail(node, cause)
        plain = Matching(card=node.matching.card)
        if scalars and (node.matching != plain or node.matching.card is Card.MANY_TO_ONE):
            self.fail(node, "vector matching only allowed between instant vectors")
        return Kind.SCALAR if scalars == 2 else Kind.VECTOR

    def aggregation(self, node: Aggregation) -> Kind:
        self.expect(node.expression, Kind.VECTOR, "aggregation expression")
        if node.parameter is not None:
            wanted = Kind.STRING if node.operator == "count_values" else Kind.SCALAR
            self.expect(node.parameter, wanted, "aggregation parameter")
        return Kind.VECTOR

    def call(self, node: Call) -> Kind:
        if node.function in FUNCTIONS_UNSUPPORTED:
            self.fail(node, f"function {node.function!r} is not supported yet: "
                      + FUNCTIONS_UNSUPPORTED[node.function])  # fmt: skip
        found = signature(node.function)
        if found is None:
            renamed = " (it is now double_exponential_smoothing)"
            hint = renamed if node.function == "holt_winters" else ""
            self.fail(node, f"unknown function with name {go_quote(node.function)}{hint}")
        self.argument_count(node, found)
        kinds = found.kinds(len(node.arguments))
        for argument, wanted in zip(node.arguments, kinds, strict=True):
            self.expect(argument, wanted, f"call to function {go_quote(node.function)}")
        return found.returns

    def argument_count(self, node: Call, found: Signature) -> None:
        count = len(node.arguments)
        name = go_quote(node.function)
        fewest, most = found.count_min, found.count_max
        if fewest == most and count != fewest:
            self.fail(node, f"expected {fewest} argument(s) in call to {name}, got {count}")
        if count < fewest:
            self.fail(
                node, f"expected at least {fewest} argument(s) in call to {name}, got {count}"
            )
        if most is not None and count > most:
            self.fail(node, f"expected at most {most} argument(s) in call to {name}, got {count}")


def has_matcher(node: VectorSelector, text: str) -> bool:
    """Whether some matcher asks for a label to be there; refuses expressions it cannot read."""
    try:
        return not all([_matches_empty(matcher) for matcher in node.matchers])
    except Invalid as error:
        raise ParseError(text, node.start, str(error)) from error


def _matches_empty(matcher: Matcher) -> bool:
    match matcher.operator:
        case Operator.EQUAL:
            return matcher.value == ""
        case Operator.NOT_EQUAL:
            return matcher.value != ""
        case Operator.REGEX:
            return matches_empty(matcher.value)
        case Operator.NOT_REGEX:
            return not matches_empty(matcher.value)
