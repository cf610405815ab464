"""The labels of what is absent: those that the selector leaves no choice about."""

from orrery.languages.promql.nodes import Expr, RangeSelector, VectorSelector, without_parentheses
from orrery.model.effects import Labels
from orrery.model.selector import PROMQL_NAME, Operator


def absent_labels(argument: Expr) -> Labels:
    """Every label with one equality matcher and no other matcher; the name is none of them."""
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
        else:
            labels.pop(matcher.label, None)
        seen.add(matcher.label)
    return tuple(sorted((name, value) for name, value in labels.items() if value))
