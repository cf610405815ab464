"""Trees to text: :func:`to_text` on one line, :func:`pretty` laid out as ``format_query`` shows.

Both read back to the tree they were made from. The layout is that of Prometheus' own printer.
"""

import re

from orrery.languages.promql.durations import (
    MILLISECOND_NS,
    SECOND_NS,
    format_duration,
    format_number,
)
from orrery.languages.promql.nodes import (
    Aggregation,
    At,
    Binary,
    Bound,
    Call,
    Card,
    Expr,
    Length,
    Matching,
    NumberLiteral,
    Parenthesis,
    RangeSelector,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
)
from orrery.languages.promql.tokens import go_quote
from orrery.model.selector import PROMQL_NAME, Matcher, Operator

LINE_CHARACTERS_MAX = 100
_LEGACY_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def to_text(node: Expr) -> str:
    """The query on one line."""
    match node:
        case NumberLiteral():
            return _number(node)
        case StringLiteral():
            return go_quote(node.value)
        case VectorSelector():
            return _selector(node) + _modifiers(node)
        case RangeSelector():
            inner = node.selector
            return f"{_selector(inner)}[{_range(node)}]{_modifiers(inner)}"
        case Subquery():
            return to_text(node.expression) + _subquery_suffix(node)
        case Parenthesis():
            return f"({to_text(node.expression)})"
        case Unary():
            return node.operator + to_text(node.expression)
        case Binary():
            return f"{_left(node)} {_operator(node)} {to_text(node.right)}"
        case Aggregation():
            parameter = "" if node.parameter is None else f"{to_text(node.parameter)}, "
            return f"{_aggregator(node)}({parameter}{to_text(node.expression)})"
        case Call():
            return f"{node.function}({', '.join(to_text(one) for one in node.arguments)})"


def pretty(node: Expr, level: int = 0) -> str:
    """The query over several lines where it is too long for one."""
    indent = "  " * level
    if isinstance(node, Unary):
        return indent + node.operator + pretty(node.expression, level).strip()
    flat = to_text(node)
    if len(flat) <= LINE_CHARACTERS_MAX:
        return indent + flat
    match node:
        case Binary():
            left, right = pretty(node.left, level + 1), pretty(node.right, level + 1)
            if node.operator == "^" and isinstance(node.left, NumberLiteral):
                left = indent + "  " + _left(node)
            return f"{left}\n{indent}{_operator(node)}\n{right}"
        case Parenthesis():
            return f"{indent}(\n{pretty(node.expression, level + 1)}\n{indent})"
        case Subquery():
            return pretty(node.expression, level) + _subquery_suffix(node)
        case Aggregation():
            inner = [one for one in (node.parameter, node.expression) if one is not None]
            return _bracketed(indent + _aggregator(node), tuple(inner), level)
        case Call():
            return _bracketed(indent + node.function, node.arguments, level)
        case _:
            return indent + flat


def _left(node: Binary) -> str:
    """The left side; a power binds closer than a sign, so infinity goes without its own there."""
    text = to_text(node.left)
    return text.removeprefix("+") if node.operator == "^" else text


def _bracketed(head: str, inner: tuple[Expr, ...], level: int) -> str:
    lines = ",\n".join(pretty(one, level + 1) for one in inner)
    return f"{head}(\n{lines}\n{'  ' * level})"


def _number(node: NumberLiteral) -> str:
    if node.is_duration:
        return format_duration(round(node.value * SECOND_NS))
    return format_number(node.value)


def _selector(node: VectorSelector) -> str:
    shown = sorted(_matcher(one) for one in node.matchers if not _is_name_outside(node, one))
    return node.name + ("{" + ",".join(shown) + "}" if shown else "")


def _is_name_outside(node: VectorSelector, matcher: Matcher) -> bool:
    is_name = matcher.label == PROMQL_NAME and matcher.operator is Operator.EQUAL
    return is_name and bool(node.name) and matcher.value == node.name


def _matcher(matcher: Matcher) -> str:
    return f"{_label(matcher.label)}{matcher.operator}{go_quote(matcher.value)}"


def _label(label: str) -> str:
    return label if _LEGACY_LABEL.fullmatch(label) else go_quote(label)


def _labels(labels: tuple[str, ...]) -> str:
    return "(" + ", ".join(_label(label) for label in labels) + ")"


def _modifiers(node: VectorSelector | Subquery) -> str:
    text = "" if node.at is None else f" @ {_at(node.at)}"
    if node.offset_length is not None:
        text += f" offset {_length(node.offset_length)}"
    elif node.offset_ns:
        text += f" offset {format_duration(node.offset_ns)}"
    return text


def _range(node: RangeSelector | Subquery) -> str:
    if node.range_length is not None:
        return _length(node.range_length)
    return format_duration(node.range_ns)


def _length(length: Length) -> str:
    operands = [_length(one) for one in length.operands]
    match length.operator, operands:
        case "number", _:
            if length.is_duration:
                return format_duration(round(length.seconds * SECOND_NS))
            return format_number(length.seconds)
        case "(", [inner]:
            return f"({inner})"
        case "+" | "-" as sign, [inner]:
            return sign + inner
        case "+" | "-" | "*" | "/" | "%" | "^" as operator, [left, right]:
            return f"{left} {operator} {right}"
    return f"{length.operator}({', '.join(operands)})"


def _at(at: At) -> str:
    if isinstance(at, Bound):
        return f"{at}()"
    sign = "-" if at < 0 else ""
    seconds, rest = divmod(abs(at), SECOND_NS)
    return f"{sign}{seconds}.{rest // MILLISECOND_NS:03d}"


def _subquery_suffix(node: Subquery) -> str:
    step = "" if node.step_ns is None else format_duration(node.step_ns)
    if node.step_length is not None:
        step = _length(node.step_length)
    return f"[{_range(node)}:{step}]{_modifiers(node)}"


def _operator(node: Binary) -> str:
    return node.operator + (" bool" if node.return_bool else "") + _matching(node.matching)


def _matching(matching: Matching) -> str:
    is_grouped = matching.card in (Card.MANY_TO_ONE, Card.ONE_TO_MANY)
    text = ""
    if matching.labels or matching.on or is_grouped:
        text += f" {'on' if matching.on else 'ignoring'} {_labels(matching.labels)}"
    if is_grouped:
        text += f" {matching.card} {_labels(matching.include)}"
    left, right = matching.fill_left, matching.fill_right
    if left is not None and right is not None and format_number(left) == format_number(right):
        return f"{text} fill ({format_number(left)})"
    for name, value in (("fill_left", left), ("fill_right", right)):
        if value is not None:
            text += f" {name} ({format_number(value)})"
    return text


def _aggregator(node: Aggregation) -> str:
    if node.without:
        return f"{node.operator} without {_labels(node.grouping)} "
    return f"{node.operator} by {_labels(node.grouping)} " if node.grouping else node.operator
