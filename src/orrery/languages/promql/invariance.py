"""Which nodes give the same at every step, so that ``evaluate`` computes them once."""

from orrery.languages.promql.nodes import (
    Call,
    Expr,
    NumberLiteral,
    StringLiteral,
    Subquery,
    VectorSelector,
    children,
    without_parentheses,
)

# Those that read the time of the step besides their arguments.
_TIMED = frozenset({
    "time", "timestamp", "minute", "hour", "day_of_week", "day_of_month", "day_of_year",
    "days_in_month", "month", "year", "predict_linear",
})  # fmt: skip


def invariant_nodes(node: Expr) -> frozenset[int]:
    """The ``id`` of every node below (and including) ``node`` that no step changes."""
    found: set[int] = set()
    _visit(node, found)
    return frozenset(found)


def _visit(node: Expr, found: set[int]) -> bool:
    below = [_visit(child, found) for child in children(node)]
    match node:
        case NumberLiteral() | StringLiteral():
            invariant = True
        case VectorSelector() | Subquery():
            invariant = node.at is not None
        case Call() if node.function in _TIMED:
            invariant = _reads_pinned_samples(node)
        case _:
            invariant = all(below)
    if invariant:
        found.add(id(node))
    return invariant


def _reads_pinned_samples(node: Call) -> bool:
    """``timestamp(metric @ 10)`` tells the time of the sample, whatever the step."""
    if node.function != "timestamp":
        return False
    source = without_parentheses(node.arguments[0])
    return isinstance(source, VectorSelector) and source.at is not None
