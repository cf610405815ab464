"""Finds the parts of a tree that the core evaluates in one call.

``prepare`` keeps them beside the tree; ``evaluate`` asks for them with a ``Compute`` and evaluates
the node itself where the answer is None, so nothing here decides what an expression means.
"""

from collections.abc import Sequence

from orrery.errors import Invalid
from orrery.kernels.fused import SLOT, Fused
from orrery.languages.promql.aggregate import RUNNING
from orrery.languages.promql.functions.labels import is_label_name
from orrery.languages.promql.functions.ranges import COUNTER_ENDINGS
from orrery.languages.promql.functions.registry import RANGE, OverRange, functions
from orrery.languages.promql.lengths import is_computed
from orrery.languages.promql.nodes import (
    Aggregation,
    Binary,
    Call,
    Card,
    Expr,
    Matching,
    NumberLiteral,
    Parenthesis,
    RangeSelector,
    StringLiteral,
    Unary,
    VectorSelector,
    children,
    without_parentheses,
)
from orrery.languages.promql.reading import TIME_NS_MAX
from orrery.languages.promql.tokens import is_utf8
from orrery.languages.promql.values import NAME_LABELS
from orrery.model.selector import PROMQL_NAME, Operator

PLAIN_OR = Matching(card=Card.MANY_TO_MANY)


def fused_parts(expression: Expr, lookback_ns: int) -> dict[int, Fused]:
    """The largest parts, by the ``id`` of their nodes."""
    found: dict[int, Fused] = {}
    whole = Fusing(lookback_ns, found).visit(expression)
    return found if whole is None else {id(expression): whole}


class Fusing:
    """``found`` gets what lies below nodes that cannot be fused themselves."""

    def __init__(self, lookback_ns: int, found: dict[int, Fused]) -> None:
        self.lookback_ns = lookback_ns
        self.found = found

    def visit(self, node: Expr) -> Fused | None:
        below = {id(child): self.visit(child) for child in children(node)}
        try:
            fused = self.fused(node, below)
        except Invalid:
            # What the core refuses is for the evaluation to word.
            fused = None
        if fused is None:
            self.found.update((key, one) for key, one in below.items() if one is not None)
        return fused

    def fused(self, node: Expr, below: dict[int, Fused | None]) -> Fused | None:
        match node:
            case VectorSelector():
                return self.selector(node, "instant", self.lookback_ns, keeps_name=True)
            case Parenthesis():
                return below[id(node.expression)]
            case Aggregation() if node.operator in RUNNING and all(map(is_utf8, node.grouping)):
                inner = below[id(node.expression)]
                if inner is None:
                    return None
                return inner.aggregate(node.operator, node.grouping, node.without)
            case Binary():
                return self.binary(node, below[id(node.left)], below[id(node.right)])
            case Call(function="label_replace"):
                return relabelled(below[id(node.arguments[0])], node.arguments[1:])
            case Call():
                return self.range_call(node)
        return None

    def selector(
        self,
        node: VectorSelector,
        function: str,
        range_ns: int,
        *,
        keeps_name: bool,
    ) -> Fused | None:
        texts = [text for one in node.matchers for text in (one.label, one.value)]
        if node.at is not None or is_computed(node) or not all(map(is_utf8, texts)):
            return None
        matchers = [(one.label, str(one.operator), one.value) for one in node.matchers]
        range_ns = min(range_ns, TIME_NS_MAX)
        return Fused.window(matchers, function, (), range_ns, node.offset_ns, keeps_name)

    def range_call(self, node: Call) -> Fused | None:
        function = functions()[node.function]
        if not isinstance(function, OverRange) or function.signature.parameters != (RANGE,):
            return None
        source = without_parentheses(node.arguments[0])
        if not isinstance(source, RangeSelector) or is_computed(source) or function.finish:
            return None
        if function.is_for_counters and not is_counter(source.selector):
            return None
        return self.selector(
            source.selector, function.kernel, source.range_ns, keeps_name=function.keeps_name
        )

    def binary(self, node: Binary, left: Fused | None, right: Fused | None) -> Fused | None:
        if node.operator == "or" and node.matching == PLAIN_OR:
            return None if left is None or right is None else left.either(right)
        if node.return_bool:
            return None
        scalar = number(node.right)
        if left is not None and scalar is not None:
            return left.with_scalar(node.operator, scalar, True)
        scalar = number(node.left)
        if right is not None and scalar is not None:
            return right.with_scalar(node.operator, scalar, False)
        return None


def is_counter(selector: VectorSelector) -> bool:
    """Whether all that it selects is named as a counter: else there is something to note."""
    return any(
        matcher.label == PROMQL_NAME
        and matcher.operator is Operator.EQUAL
        and matcher.value.endswith(COUNTER_ENDINGS)
        for matcher in selector.matchers
    )


def number(node: Expr) -> float | None:
    node = without_parentheses(node)
    if isinstance(node, Unary):
        value = number(node.expression)
        return -value if value is not None and node.operator == "-" else value
    return node.value if isinstance(node, NumberLiteral) else None


def relabelled(inner: Fused | None, arguments: Sequence[Expr]) -> Fused | None:
    """``label_replace`` with its texts written out."""
    texts = [
        node.value
        for node in map(without_parentheses, arguments)
        if isinstance(node, StringLiteral)
    ]
    if inner is None or len(texts) != len(arguments) or not all(map(is_utf8, texts)):
        return None
    target, template, source, pattern = texts
    return inner.relabel(target, template, source, pattern) if is_label_name(target) else None


def may_be_filled(node: Expr) -> bool:
    """Whether texts may take the places of its slots: not where they are names, nor where a
    selector might be left without anything it asks for."""
    match node:
        case VectorSelector():
            is_named = node.name != "" and SLOT not in node.name
            return is_named and not any(
                SLOT in one.label or (SLOT in one.value and one.label in NAME_LABELS)
                for one in node.matchers
            )
        case Aggregation():
            return not any(SLOT in label for label in node.grouping)
    return True
