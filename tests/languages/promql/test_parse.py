"""What parses, to what, where the nodes lie, and how errors are worded."""

import pytest

from orrery.errors import Invalid
from orrery.languages.promql.nodes import (
    Aggregation,
    Binary,
    Bound,
    Call,
    Card,
    Matching,
    NumberLiteral,
    RangeSelector,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
    walk,
)
from orrery.languages.promql.parse import NESTING_DEPTH_MAX, parse, parse_selector
from orrery.languages.promql.tokens import QUERY_CHARACTERS_MAX, ParseError
from orrery.model.selector import Matcher, Operator

SECOND = 1_000_000_000


def selector(name: str, *matchers: Matcher, **more: object) -> VectorSelector:
    named = (Matcher("__name__", Operator.EQUAL, name),) if name else ()
    return VectorSelector(name, (*matchers, *named), **more)


A, B = selector("a"), selector("b")

TREES = [
    ("1", NumberLiteral(1.0)),
    ("+0.2", NumberLiteral(0.2)),
    ("-0x1f", NumberLiteral(-31.0)),
    ("017", NumberLiteral(15.0)),
    ("089", NumberLiteral(89.0)),
    ("1_000", NumberLiteral(1000.0)),
    ("2.", NumberLiteral(2.0)),
    ("1e3", NumberLiteral(1000.0)),
    ("iNf", NumberLiteral(float("inf"))),
    ("1m30s", NumberLiteral(90.0, is_duration=True)),
    ('"a\\n\\x41\\u00e9\\101"', StringLiteral("a\nAéA")),
    ("'it\\'s'", StringLiteral("it's")),
    ("`raw\\n`", StringLiteral("raw\\n")),
    ("a # a comment", A),
    ("a:b:c", selector("a:b:c")),
    ("sum", selector("sum")),
    ("offset", selector("offset")),
    ("by{x='y'}", selector("by", Matcher("x", Operator.EQUAL, "y"))),
    ('a{b="c",}', selector("a", Matcher("b", Operator.EQUAL, "c"))),
    ('a{b!="c", on=~"d", by!~"e"}', selector(
        "a",
        Matcher("b", Operator.NOT_EQUAL, "c"),
        Matcher("on", Operator.REGEX, "d"),
        Matcher("by", Operator.NOT_REGEX, "e"),
    )),
    ('{"a.b", "c d"="e"}', VectorSelector("", (
        Matcher("__name__", Operator.EQUAL, "a.b"),
        Matcher("c d", Operator.EQUAL, "e"),
    ))),
    ("a offset 5m", selector("a", offset_ns=300 * SECOND)),
    ("a offset -5m", selector("a", offset_ns=-300 * SECOND)),
    ("a offset 30", selector("a", offset_ns=30 * SECOND)),
    ("a @ 1.5 offset 1s", selector("a", at=1_500_000_000, offset_ns=SECOND)),
    ("a offset 1s @ -10", selector("a", at=-10 * SECOND, offset_ns=SECOND)),
    ("a @ start()", selector("a", at=Bound.START)),
    ("a[5m] @ end()", RangeSelector(selector("a", at=Bound.END), 300 * SECOND)),
    ("a[1h:5m]", Subquery(A, 3600 * SECOND, 300 * SECOND)),
    ("a[1h:] offset 1m", Subquery(A, 3600 * SECOND, offset_ns=60 * SECOND)),
    ("-a ^ b", Unary("-", Binary("^", A, B))),
    ("a ^ b ^ a", Binary("^", A, Binary("^", B, A))),
    ("a + b * a", Binary("+", A, Binary("*", B, A))),
    ("a - b - a", Binary("-", Binary("-", A, B), A)),
    ("a and b or a", Binary(
        "or",
        Binary("and", A, B, matching=Matching(Card.MANY_TO_MANY)),
        A,
        matching=Matching(Card.MANY_TO_MANY),
    )),
    ("a == bool 1", Binary("==", A, NumberLiteral(1.0), True)),
    ("a / on(x, y) group_left(z) b", Binary(
        "/", A, B, matching=Matching(Card.MANY_TO_ONE, True, ("x", "y"), ("z",))
    )),
    ("a * ignoring(x) group_right b", Binary(
        "*", A, B, matching=Matching(Card.ONE_TO_MANY, False, ("x",))
    )),
    ("a + fill_left(1) fill_right(-2) b", Binary(
        "+", A, B, matching=Matching(fill_left=1.0, fill_right=-2.0)
    )),
    ("sum by (x) (a)", Aggregation("sum", A, None, ("x",))),
    ("SUM(a) WITHOUT (x,)", Aggregation("sum", A, None, ("x",), True)),
    ('sum by ("x.y", by) (a)', Aggregation("sum", A, None, ("x.y", "by"))),
    ("topk(2, a)", Aggregation("topk", A, NumberLiteral(2.0))),
    ("time()", Call("time", ())),
    ("rate(a[5m])", Call("rate", (RangeSelector(A, 300 * SECOND),))),
]  # fmt: skip


@pytest.mark.parametrize(("text", "tree"), TREES, ids=[text for text, _ in TREES])
def test_text_becomes_a_tree(text, tree):
    assert parse(text) == tree


SPANS = [
    ("  a + b", Binary, (2, 7)),
    ("sum (a) by (x)", Aggregation, (0, 14)),
    ("1 + rate(a[5m] offset 1m)", Call, (4, 25)),
    ("1 + rate(a[5m] offset 1m)", RangeSelector, (9, 24)),
    ("a{b='é'} * c", VectorSelector, (0, 8)),
    ("(a)[1h:1m] @ 5", Subquery, (0, 14)),
]


@pytest.mark.parametrize(("text", "kind", "span"), SPANS)
def test_nodes_know_where_they_lie(text, kind, span):
    found = next(node for node in walk(parse(text)) if isinstance(node, kind))
    assert (found.start, found.end) == span


ERRORS = [
    ("", "unknown position: parse error: no expression found in input"),
    ("# only words", "unknown position: parse error: no expression found in input"),
    ("1 +", "1:4: parse error: unexpected end of input"),
    ("(1", "1:3: parse error: unclosed left parenthesis"),
    ("1)", "1:3: parse error: unexpected right parenthesis ')'"),
    ("a b", '1:3: parse error: unexpected identifier "b"'),
    ("a\n+ ;", "2:3: parse error: unexpected character: ';'"),
    ("a{b=c}", '1:5: parse error: unexpected identifier "c" in label matching, expected string'),
    ("a{b}", '1:4: parse error: unexpected "}" in label matching, expected label'),
    ('a{b="c"', "1:8: parse error: unexpected end of input inside braces"),
    ('a{b="c" d="e"}', '1:9: parse error: unexpected identifier "d" in label matching, '
     'expected "," or "}"'),
    ('a{"b"}', '1:1: parse error: metric name must not be set twice: "a" or "b"'),
    ("'x", "1:1: parse error: unterminated quoted string"),
    ('"\\q"', "1:1: parse error: unknown escape sequence 'q'"),
    ("5x", '1:1: parse error: bad number or duration syntax: "5x"'),
    ("a[5m", "1:5: parse error: unclosed left bracket"),
    ("a[0s]", "1:3: parse error: duration must be greater than 0"),
    ("a[5m-5m]", "1:3: parse error: duration must be greater than 0"),
    ("a[-5m]", "1:3: parse error: duration must be greater than 0"),
    ("a[5m/0]", "1:3: parse error: division by zero"),
    ("a[5m%0]", "1:3: parse error: modulo by zero"),
    ("a[9999999999]", "1:3: parse error: duration out of range"),
    ("a[2^(2^9)]", "1:3: parse error: duration out of range"),
    ("a[5m+]", '1:6: parse error: unexpected "]" in range, expected number, duration, step()'),
    ("a[5m+b]", '1:6: parse error: unexpected identifier "b" in range, expected number'),
    ("a offset (5m", "1:13: parse error: unclosed left parenthesis"),
    ("a[" + "(" * 200 + "1m" + ")" * 200 + "]", "1:102: parse error: the expression nests"),
    ("a[5m][5m]", "1:6: parse error: ranges only allowed for vector selectors"),
    ("a offset 1m[5m]", "1:1: parse error: no offset modifiers allowed before range"),
    ("a @ 1[5m]", "1:1: parse error: no @ modifiers allowed before range"),
    ("a offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"),
    ("a @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
    ("sum(a) offset 1m", "1:1: parse error: offset modifier must be preceded by an instant "
     "vector selector or range vector selector or a subquery"),
    ("1 @ 5", "1:1: parse error: @ modifier must be preceded by an instant vector selector or "
     "range vector selector or a subquery"),
    ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
    ("topk(a)", "1:1: parse error: wrong number of arguments for aggregate expression provided, "
     "expected 2, got 1"),
    ("sum by (1) (a)", '1:9: parse error: unexpected number "1" in grouping opts, expected label'),
    ("a + bool b", "1:1: parse error: bool modifier can only be used on comparison operators"),
    ("a and on(x) group_left b", '1:13: parse error: no grouping allowed for "and" operation'),
    ("a + on(x) group_left(x) b", '1:11: parse error: label "x" must not occur in ON and GROUP '
     "clause at once"),
    ("a and 1", '1:1: parse error: set operator "and" not allowed in binary scalar expression'),
    ("a + on(x) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
    ("1 + 'x'", "1:5: parse error: binary expression must contain only scalar and instant vector "
     "types"),
    ("-'x'", '1:1: parse error: unary expression only allowed on expressions of type scalar or '
     'instant vector, got "string"'),
    ("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
    ("sum(a[5m])", "1:5: parse error: expected type instant vector in aggregation expression, got "
     "range vector"),
    ("topk('x', a)", "1:6: parse error: expected type scalar in aggregation parameter, got string"),
    ("abs(1)", '1:5: parse error: expected type instant vector in call to function "abs", got '
     "scalar"),
    ("clamp(a)", '1:1: parse error: expected 3 argument(s) in call to "clamp", got 1'),
    ("round(a, 1, 2)", '1:1: parse error: expected at most 2 argument(s) in call to "round", '
     "got 3"),
    ("label_join(a, 'x')", '1:1: parse error: expected at least 3 argument(s) in call to '
     '"label_join", got 2'),
    ("time(1)", '1:1: parse error: expected 0 argument(s) in call to "time", got 1'),
    ("abs(a,)", "1:7: parse error: trailing commas not allowed in function call args"),
    ("wrong(a)", '1:1: parse error: unknown function with name "wrong"'),
    ("a[5m] anchored", "1:7: parse error: modifier 'anchored' is not supported yet"),
    ("info(a)", "1:1: parse error: function 'info' is not supported yet: it is experimental"),
    ("a </ 2", "1:3: parse error: operator '</' works on native histograms: not supported yet"),
    ('{a=~"("}', '1:1: parse error: cannot compile regex "("'),
    ('é', "1:1: parse error: unexpected character: 'é'"),
    ('a{b="é"} ;', "1:11: parse error: unexpected character: ';'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "error"), ERRORS, ids=[text for text, _ in ERRORS])
def test_errors_name_place_and_cause(text, error):
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert str(caught.value).startswith(error)


@pytest.mark.parametrize(
    "text",
    [
        "(" * (NESTING_DEPTH_MAX + 1) + "1" + ")" * (NESTING_DEPTH_MAX + 1),
        "-" * (NESTING_DEPTH_MAX + 1) + "1",
        " + ".join(["a"] * (NESTING_DEPTH_MAX + 2)),
        "abs(" * NESTING_DEPTH_MAX + "a" + ")" * NESTING_DEPTH_MAX,
        "a" + "[1h:]" * (NESTING_DEPTH_MAX + 1),
    ],
    ids=["parentheses", "signs", "chain", "calls", "subqueries"],
)
def test_deep_nesting_is_refused(text):
    with pytest.raises(ParseError, match=r"nesting_depth_max|instant vector"):
        parse(text)


def test_long_queries_are_refused():
    with pytest.raises(Invalid, match="query_characters_max"):
        parse("1" * (QUERY_CHARACTERS_MAX + 1))


def test_a_bare_selector_gives_its_matchers():
    assert parse_selector('a{b="c"}') == (
        Matcher("b", Operator.EQUAL, "c"),
        Matcher("__name__", Operator.EQUAL, "a"),
    )
    for text, error in (
        ("sum(a)", r'1:4: parse error: unexpected "\('),
        ("rate(a[5m])", r'1:5: parse error: unexpected "\("'),
        ("a[5m]", r'1:2: parse error: unexpected "\["'),
        ("a offset 5m", "1:3: parse error: unexpected <offset>"),
        ('{b=""}', "must contain at least one non-empty matcher"),
    ):
        with pytest.raises(Invalid, match=error):
            parse_selector(text)
