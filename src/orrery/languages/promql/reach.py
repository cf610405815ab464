"""How far around its own time a step looks: what a cache has to know of a query."""

from orrery.languages.promql.aggregate import CHOOSING
from orrery.languages.promql.lengths import is_computed
from orrery.languages.promql.nodes import (
    Aggregation,
    Expr,
    RangeSelector,
    Subquery,
    VectorSelector,
    children,
)

Reach = tuple[int, int]
"""A step at t reads nothing outside ``t - before_ns .. t + after_ns``."""


def reach_of(node: Expr, lookback_ns: int) -> Reach | None:
    """None where a step's value depends on more than the data around it: on the ends of the query
    (``@``, computed durations), or on how the query is cut into batches (``topk`` and its kin,
    which settle ties by the order they see)."""
    if is_computed(node) or (isinstance(node, Aggregation) and node.operator in CHOOSING):
        return None
    match node:
        case VectorSelector():
            return _around(node, lookback_ns, (0, 0))
        case RangeSelector():
            return (
                None
                if is_computed(node.selector)
                else _around(node.selector, node.range_ns, (0, 0))
            )
        case Subquery():
            inner = reach_of(node.expression, lookback_ns)
            return None if inner is None else _around(node, node.range_ns, inner)
    before_ns = after_ns = 0
    for child in children(node):
        below = reach_of(child, lookback_ns)
        if below is None:
            return None
        before_ns, after_ns = max(before_ns, below[0]), max(after_ns, below[1])
    return before_ns, after_ns


def _around(node: VectorSelector | Subquery, range_ns: int, inner: Reach) -> Reach | None:
    if node.at is not None:
        return None
    before_ns, after_ns = inner
    return max(0, node.offset_ns + range_ns + before_ns), max(0, after_ns - node.offset_ns)
