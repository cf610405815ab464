"""What queries over native histograms warn of and inform about, in Prometheus' words."""

from orrery.languages.promql.tokens import go_quote

MIXED_IN_AGGREGATION = "encountered a mix of histograms and floats for aggregation"


def mixed(name: str) -> str:
    return f"encountered a mix of histograms and floats for metric name {go_quote(name)}"


def ignored_in_range(name: str) -> str:
    cause = "ignored histograms in a range containing both floats and histograms"
    return f"{cause} for metric name {go_quote(name)}"


def ignored_in(aggregation: str) -> str:
    return f"ignored histogram in {aggregation} aggregation"


def not_a_counter(name: str) -> str:
    return f"this native histogram metric is not a counter: {go_quote(name)}"


def not_a_gauge(name: str) -> str:
    return f"this native histogram metric is not a gauge: {go_quote(name)}"


def mixed_schemas(name: str) -> str:
    cause = "vector contains a mix of histograms with exponential and custom buckets schemas"
    return f"{cause} for metric name {go_quote(name)}"


def mixed_with_classic(name: str) -> str:
    return for_name("vector contains a mix of classic and native histograms", name)


def incompatible_types(left: str, operator: str, right: str) -> str:
    cause = f"incompatible sample types encountered for binary operator {go_quote(operator)}"
    return f"{cause}: {left} {operator} {right}"


def incompatible_layouts(operator: str) -> str:
    return f"incompatible bucket layout encountered for binary operator {operator}"


def collision(operation: str) -> str:
    return f"conflicting counter resets during histogram {operation}"


def rebound(operation: str) -> str:
    return f"mismatched custom buckets were reconciled during {operation}"


def for_name(cause: str, name: str) -> str:
    return f"{cause} for metric name {go_quote(name)}" if name else cause
