"""The labels of what is absent: those that the selector leaves no choice about."""

from orrery.languages.promql.nodes import Expr, RangeSelector, VectorSelector, without_parentheses
from orrery.model.effects import Labels
from orrery.model.selector import PROMQL_NAME, Operator


def absent_labels(argument: Expr) -> Labels:
    """Every label whose first equality matcher no other matcher follows; never the name."""
    node = without_parentheses(argument)
    if isinstance(node, RangeSelector):
        node = node.selector
    if not isinstance(node, VectorSelector):
        return ()
    seen: set[str] = set()
    labels: dict[str, str] = {}
    for matcher in node.matchers:
        if matcher.label == PROMQL_NAME:
            continue
        if matcher.operator is Operator.EQUAL and matcher.label not in seen:
            labels[matcher.label] = matcher.value
            seen.add(matcher.label)
        else:
            labels.pop(matcher.label, None)
    return tuple(sorted((name, value) for name, value in labels.items() if value))
