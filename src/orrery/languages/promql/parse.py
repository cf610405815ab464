"""PromQL text to a typed tree; the entry point is :func:`parse`.

A Pratt parser over the tokens of ``tokens``. Errors are worded as Prometheus words them. The
experimental syntax it knows but cannot evaluate is refused by name.
"""

import math
from dataclasses import replace
from typing import NoReturn

from orrery.errors import Invalid
from orrery.languages.promql import lengths
from orrery.languages.promql.check import check, has_matcher
from orrery.languages.promql.durations import SECOND_NS, duration_ns, number
from orrery.languages.promql.nodes import (
    AGGREGATIONS,
    AGGREGATIONS_WITH_PARAMETER,
    COMPARISONS,
    SET_OPERATORS,
    Aggregation,
    At,
    Binary,
    Bound,
    Call,
    Card,
    Expr,
    Matching,
    NumberLiteral,
    Parenthesis,
    RangeSelector,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
)
from orrery.languages.promql.tokens import (
    EmptyQuery,
    Lexer,
    ParseError,
    Token,
    describe,
    go_quote,
    is_utf8,
    unquote,
)
from orrery.model.selector import PROMQL_NAME, Matcher, Operator

NESTING_DEPTH_MAX = 100

_POWERS = {
    "or": 1,
    "and": 2,
    "unless": 2,
    **dict.fromkeys(COMPARISONS, 3),
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "%": 5,
    "atan2": 5,
    "^": 7,
}
_UNARY_POWER = 6
_NOT_NAMES = frozenset({"bool", "on", "ignoring", "group_left", "group_right", "atan2"})
_SELECTED = (VectorSelector, RangeSelector, Subquery)


def parse(text: str) -> Expr:
    """The tree of a query, its types checked.

    Raises :class:`ParseError` worded ``1:5: parse error: ...``.
    """
    parser = Parser(text)
    tree = parser.expression(0)
    parser.expect("end of input", "")
    check(tree, text)
    return tree


def parse_selector(text: str) -> tuple[Matcher, ...]:
    """The matchers of a bare selector, as the ``match[]`` parameter carries them."""
    parser = Parser(text)
    tree = parser.selector()
    parser.expect("end of input", "")
    if not has_matcher(tree, text):
        raise Invalid("match[] must contain at least one non-empty matcher")
    return tree.matchers


class Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = Lexer(text).tokens()
        self.index = 0
        self.depth = 0

    @property
    def current(self) -> Token:
        return self.tokens[self.index]

    @property
    def following(self) -> Token:
        return self.tokens[min(self.index + 1, len(self.tokens) - 1)]

    def advance(self) -> Token:
        token = self.current
        self.index = min(self.index + 1, len(self.tokens) - 1)
        return token

    def accept(self, kind: str) -> Token | None:
        return self.advance() if self.current.kind == kind else None

    def fail(self, cause: str, start: int | None = None) -> NoReturn:
        raise ParseError(self.text, self.current.start if start is None else start, cause)

    def unexpected(self, context: str, expected: str = "") -> NoReturn:
        within = f" in {context}" if context else ""
        wanted = f", expected {expected}" if expected else ""
        self.fail(f"unexpected {describe(self.current)}{within}{wanted}")

    def expect(self, kind: str, context: str) -> Token:
        if self.current.kind != kind:
            expected = "" if kind == "end of input" else go_quote(kind)
            self.unexpected(context, expected)
        return self.advance()

    # --- expressions

    def expression(self, power_min: int) -> Expr:
        depth = self.depth
        self.deepen()
        left = self.unary() if self.current.kind in ("+", "-") else self.postfix(self.primary())
        while (power := _POWERS.get(self.current.kind, 0)) > power_min:
            self.deepen()
            left = self.binary(left, power)
        self.depth = depth
        return left

    def deepen(self) -> None:
        """Each operator of a chain lies one deeper in the tree, as each bracket does."""
        self.depth += 1
        if self.depth > NESTING_DEPTH_MAX:
            self.fail(f"the expression nests deeper than nesting_depth_max {NESTING_DEPTH_MAX}")

    def unary(self) -> Expr:
        token = self.advance()
        operand = self.expression(_UNARY_POWER)
        if isinstance(operand, NumberLiteral):
            value = -operand.value if token.kind == "-" else operand.value
            return replace(operand, value=value, start=token.start)
        return Unary(token.kind, operand, start=token.start, end=operand.end)

    def binary(self, left: Expr, power: int) -> Expr:
        operator = self.advance()
        return_bool = self.accept("bool") is not None
        if return_bool and operator.kind not in COMPARISONS:
            self.fail("bool modifier can only be used on comparison operators", left.start)
        matching = self.matching(operator.kind)
        # The power operator is right associative, all others are left associative.
        right = self.expression(power - 1 if operator.kind == "^" else power)
        return Binary(
            operator.kind,
            left,
            right,
            return_bool,
            matching,
            start=left.start,
            end=right.end,
        )

    def matching(self, operator: str) -> Matching:
        card = Card.MANY_TO_MANY if operator in SET_OPERATORS else Card.ONE_TO_ONE
        if self.current.kind not in ("on", "ignoring"):
            return self.fills(Matching(card))
        on = self.advance().kind == "on"
        labels = self.labels("grouping opts")
        include: tuple[str, ...] = ()
        if self.current.kind in ("group_left", "group_right"):
            group = self.advance()
            if operator in SET_OPERATORS:
                self.fail(f"no grouping allowed for {go_quote(operator)} operation", group.start)
            card = Card(group.kind)
            if self.current.kind == "(":
                include = self.labels("grouping opts")
            for label in include:
                if on and label in labels:
                    cause = f"label {go_quote(label)} must not occur in ON and GROUP clause at once"
                    self.fail(cause, group.start)
        return self.fills(Matching(card, on, labels, include))

    def fills(self, matching: Matching) -> Matching:
        """``fill(0)``, ``fill_left(0)`` and ``fill_right(0)`` after the matching clause."""
        while self.current.kind in ("fill", "fill_left", "fill_right"):
            if self.following.kind != "(":
                break
            token = self.advance()
            self.expect("(", "fill modifier")
            value = self.signed_number("fill modifier")
            self.expect(")", "fill modifier")
            if matching.card is Card.MANY_TO_MANY:
                self.fail("filling in missing series not allowed for set operators", token.start)
            if token.kind != "fill_right":
                matching = replace(matching, fill_left=value)
            if token.kind != "fill_left":
                matching = replace(matching, fill_right=value)
        return matching

    def primary(self) -> Expr:
        token = self.current
        match token.kind:
            case "number" | "duration":
                return self.number_literal()
            case "string":
                self.advance()
                value = unquote(token, self.text)
                return StringLiteral(value, start=token.start, end=token.end)
            case "(":
                return self.parenthesis()
            case "end of input":
                if len(self.tokens) == 1:
                    raise EmptyQuery
                self.fail("unexpected end of input")
        if token.kind in AGGREGATIONS and self.following.kind in ("(", "by", "without"):
            return self.aggregation()
        if self.following.kind == "(" and token.kind in (
            "identifier", "start", "end", "step", "range",
        ):  # fmt: skip
            return self.call()
        return self.selector()

    def number_literal(self) -> NumberLiteral:
        token = self.advance()
        if token.kind == "duration":
            length = self.duration(token)
            span = {"start": token.start, "end": token.end}
            return NumberLiteral(length / SECOND_NS, is_duration=True, **span)
        value = number(token.text)
        if value is None:
            self.fail(f"error parsing number: {go_quote(token.text)}", token.start)
        return NumberLiteral(value, start=token.start, end=token.end)

    def parenthesis(self) -> Parenthesis:
        opening = self.advance()
        inner = self.expression(0)
        closing = self.expect(")", "")
        return Parenthesis(inner, start=opening.start, end=closing.end)

    def call(self) -> Call:
        name = self.advance()
        arguments, end = self.arguments()
        return Call(name.text, arguments, start=name.start, end=end)

    def arguments(self) -> tuple[tuple[Expr, ...], int]:
        self.expect("(", "")
        arguments: list[Expr] = []
        while self.current.kind != ")":
            arguments.append(self.expression(0))
            if self.accept(",") is None:
                break
            if self.current.kind == ")":
                self.fail("trailing commas not allowed in function call args")
        return tuple(arguments), self.expect(")", "").end

    def aggregation(self) -> Aggregation:
        operator = self.advance()
        clause = self.grouping()
        arguments, end = self.arguments()
        if clause is None:
            clause = self.grouping()
            if clause is not None:
                end = self.tokens[self.index - 1].end
        without, grouping = clause or (False, ())
        wanted = 2 if operator.kind in AGGREGATIONS_WITH_PARAMETER else 1
        if not arguments:
            cause = "no arguments for aggregate expression provided"
            self.fail(cause, operator.start)
        if len(arguments) != wanted:
            cause = "wrong number of arguments for aggregate expression provided, expected "
            self.fail(f"{cause}{wanted}, got {len(arguments)}", operator.start)
        parameter = arguments[0] if wanted == 2 else None
        return Aggregation(
            operator.kind,
            arguments[-1],
            parameter,
            grouping,
            without,
            start=operator.start,
            end=end,
        )

    def grouping(self) -> tuple[bool, tuple[str, ...]] | None:
        if self.current.kind not in ("by", "without"):
            return None
        without = self.advance().kind == "without"
        return without, self.labels("grouping opts")

    def labels(self, context: str) -> tuple[str, ...]:
        if self.current.kind != "(":
            self.unexpected(context, '"("')
        self.advance()
        found: list[str] = []
        while self.current.kind != ")":
            found.append(self.label(context))
            if self.accept(",") is None and self.current.kind != ")":
                self.unexpected(context, '"," or ")"')
        self.advance()
        return tuple(found)

    def label(self, context: str) -> str:
        token = self.current
        if token.kind == "string":
            name = unquote(token, self.text)
            if not name or not is_utf8(name):
                self.fail(f"invalid label name {go_quote(name)}")
        elif token.kind != "metric identifier" and (
            token.text[:1].isalpha() or token.text[:1] == "_"
        ):
            name = token.text
        else:
            self.unexpected(context, "label")
        self.advance()
        return name

    # --- selectors and what follows them

    def selector(self) -> VectorSelector:
        token = self.current
        if token.kind == "{":
            return self.vector_selector("", token)
        named = token.kind in ("identifier", "metric identifier")
        if not named and (token.kind in _NOT_NAMES or not token.text[:1].isalpha()):
            self.unexpected("")
        self.advance()
        return self.vector_selector(token.text, token)

    def vector_selector(self, name: str, token: Token) -> VectorSelector:
        end = token.end
        matchers: list[Matcher] = []
        if self.current.kind == "{":
            self.advance()
            while self.current.kind != "}":
                matchers.append(self.matcher())
                if self.accept(",") is None and self.current.kind != "}":
                    self.unexpected("label matching", '"," or "}"')
            end = self.advance().end
        names = [m.value for m in matchers if _is_name(m)]
        if name:
            names.insert(0, name)
            matchers.append(Matcher(PROMQL_NAME, Operator.EQUAL, name))
        # Twice the name outside and inside, or two bare strings; two `__name__=` matchers
        # are merely contradictory, except beside a name.
        if len(names) > 1 and (name or len(set(names)) > 1):
            cause = "metric name must not be set twice: "
            self.fail(f"{cause}{go_quote(names[0])} or {go_quote(names[1])}", token.start)
        return VectorSelector(name, tuple(matchers), start=token.start, end=end)

    def matcher(self) -> Matcher:
        token = self.current
        if token.kind not in ("identifier", "string"):
            self.unexpected("label matching", 'identifier or "}"')
        self.advance()
        label = unquote(token, self.text) if token.kind == "string" else token.text
        if token.kind == "string" and self.current.kind in (",", "}"):
            self.check_utf8(label, token)
            return Matcher(PROMQL_NAME, Operator.EQUAL, label)
        if self.current.kind not in ("=", "!=", "=~", "!~"):
            self.unexpected("label matching", "label matching operator")
        operator = Operator(self.advance().kind)
        if self.current.kind != "string":
            self.unexpected("label matching", "string")
        value_token = self.advance()
        value = unquote(value_token, self.text)
        self.check_utf8(label, token)
        self.check_utf8(value, value_token)
        return Matcher(label, operator, value)

    def check_utf8(self, text: str, token: Token) -> None:
        if not is_utf8(text):
            self.fail(f"{go_quote(text)} is not valid UTF-8", token.start)

    def postfix(self, node: Expr) -> Expr:
        while True:
            match self.current.kind:
                case "[":
                    node = self.bracket(node)
                case "offset":
                    node = self.offset(node)
                case "@":
                    node = self.pin(node)
                case "anchored" | "smoothed":
                    self.fail(f"modifier {self.current.kind!r} is not supported yet")
                case _:
                    return node

    def bracket(self, node: Expr) -> Expr:
        opening = self.advance()
        range_ns, range_length = lengths.in_brackets(self, "range")
        if self.accept(":") is None:
            closing = self.expect("]", "subquery or range")
            if not isinstance(node, VectorSelector):
                self.fail("ranges only allowed for vector selectors", opening.start)
            if _is_moved(node):
                self.fail("no offset modifiers allowed before range", node.start)
            if node.at is not None:
                self.fail("no @ modifiers allowed before range", node.start)
            return RangeSelector(node, range_ns, range_length, start=node.start, end=closing.end)
        step_ns: int | None = None
        step_length = None
        if self.current.kind != "]":
            step_ns, step_length = lengths.in_brackets(self, "subquery step")
        closing = self.expect("]", "subquery selector")
        self.deepen()
        return Subquery(
            node,
            range_ns,
            step_ns,
            range_length=range_length,
            step_length=step_length,
            start=node.start,
            end=closing.end,
        )

    def duration(self, token: Token) -> int:
        length = duration_ns(token.text)
        if length is None:
            self.fail(f"not a valid duration string: {go_quote(token.text)}", token.start)
        return length

    def offset(self, node: Expr) -> Expr:
        self.advance()
        offset_ns, offset_length = lengths.after_offset(self)
        if not isinstance(node, _SELECTED):
            cause = "offset modifier must be preceded by an instant vector selector or range"
            self.fail(f"{cause} vector selector or a subquery", node.start)
        if _is_moved(_modified(node)):
            self.fail("offset may not be set multiple times", node.start)
        return self.modify(node, offset_ns=offset_ns, offset_length=offset_length)

    def pin(self, node: Expr) -> Expr:
        self.advance()
        at: At
        if self.current.kind in ("start", "end") and self.following.kind == "(":
            at = Bound(self.advance().kind)
            self.advance()
            self.expect(")", "@")
        else:
            start = self.current.start
            seconds = self.signed_number("@")
            if not abs(seconds) <= 9e9:
                self.fail(f"timestamp out of bounds for @ modifier: {seconds:f}", start)
            at = math.floor(seconds * 1000 + 0.5) * 1_000_000
        if not isinstance(node, _SELECTED):
            cause = "@ modifier must be preceded by an instant vector selector or range"
            self.fail(f"{cause} vector selector or a subquery", node.start)
        if _modified(node).at is not None:
            self.fail("@ <timestamp> may not be set multiple times", node.start)
        return self.modify(node, at=at)

    def modify(self, node: Expr, **changes: object) -> Expr:
        end = self.tokens[self.index - 1].end
        if isinstance(node, RangeSelector):
            selector = replace(node.selector, **changes)  # type: ignore[arg-type]
            return replace(node, selector=selector, end=end)
        return replace(node, **changes, end=end)  # type: ignore[arg-type]

    def sign(self) -> int:
        if self.accept("-"):
            return -1
        self.accept("+")
        return 1

    def signed_number(self, context: str) -> float:
        sign = self.sign()
        if self.current.kind not in ("number", "duration"):
            self.unexpected(context, "timestamp" if context == "@" else "number")
        return sign * self.number_literal().value


def _is_name(matcher: Matcher) -> bool:
    return (
        matcher.label == PROMQL_NAME and matcher.operator is Operator.EQUAL and matcher.value != ""
    )


def _is_moved(node: VectorSelector | Subquery) -> bool:
    return bool(node.offset_ns) or node.offset_length is not None


def _modified(node: Expr) -> VectorSelector | Subquery:
    """The node that carries the offset and the ``@`` of a selector."""
    inner = node.selector if isinstance(node, RangeSelector) else node
    assert isinstance(inner, VectorSelector | Subquery)
    return inner
