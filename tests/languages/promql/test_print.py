"""Printing: what is printed reads back to the same tree, in Prometheus' layout."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orrery.languages.promql.durations import duration_ns, format_duration, format_number, number
from orrery.languages.promql.nodes import StringLiteral
from orrery.languages.promql.parse import parse
from orrery.languages.promql.print import LINE_CHARACTERS_MAX, pretty, to_text
from tests.languages.promql.expressions import vectors

ONE_LINE = [
    ("a", "a"),
    ("a{b='c',x=\"y\"}", 'a{b="c",x="y"}'),
    ('{"a.b"}', '{__name__="a.b"}'),
    ('a{"c d"="\\n"}', 'a{"c d"="\\n"}'),
    ("SUM(a)", "sum(a)"),
    ("sum(a) by(b,c)", "sum by (b, c) (a)"),
    ("sum without()(a)", "sum without () (a)"),
    ("topk (2,a)", "topk(2, a)"),
    ("a+b", "a + b"),
    ("a==bool 1", "a == bool 1"),
    ("a/on(x)group_left(y)b", "a / on (x) group_left (y) b"),
    ("a/ignoring()group_right b", "a / ignoring () group_right () b"),
    ("a+fill(1)b", "a + fill (1) b"),
    ("a[5m]", "a[5m]"),
    ("a[300]@10 offset 1h", "a[5m] @ 10.000 offset 1h"),
    ("a @ end() offset -90s", "a @ end() offset -1m30s"),
    ("a[1h:]", "a[1h:]"),
    ("(a)[1h:5m] @ start()", "(a)[1h:5m] @ start()"),
    ("-a", "-a"),
    ("5m", "5m"),
    ("1e21", "1e+21"),
    ("Inf * a", "+Inf * a"),
    ("Inf ^ a", "Inf ^ a"),
    ("100000", "100000"),
    ("1e-7", "1e-07"),
    ("0x10", "16"),
    ("'a\"b'", '"a\\"b"'),
    ("rate( a[14d] )", "rate(a[2w])"),
    ("time ( )", "time()"),
    ("a[2*5m]", "a[2 * 5m]"),
    ("a[-5m+ (35m)]", "a[-5m + (35m)]"),
    ("a[300 % 2m] offset -(step()*2)", "a[300 % 2m] offset -(step() * 2)"),
    ("a offset MIN_OF(range(),1h)^2", "a offset min_of(range(), 1h) ^ 2"),
    ("(a)[1h:max_of( step(), 1m)]", "(a)[1h:max_of(step(), 1m)]"),
]


@pytest.mark.parametrize(("text", "printed"), ONE_LINE)
def test_short_queries_fit_one_line(text, printed):
    assert to_text(parse(text)) == printed
    assert pretty(parse(text)) == printed
    assert parse(printed) == parse(text)


LONG = "a" * 60

LAYOUTS = [
    (
        f"sum by (x) (rate({LONG}[5m])) / on (x) sum by (x) (rate({LONG}[5m]))",
        f"  sum by (x) (rate({LONG}[5m]))\n/ on (x)\n  sum by (x) (rate({LONG}[5m]))",
    ),
    (
        f"topk(5, {LONG} + {LONG})",
        f"topk(\n  5,\n    {LONG}\n  +\n    {LONG}\n)",
    ),
    (
        f"-label_replace({LONG}, 'destination', 'replacement', 'source', '(.*)')",
        f'-label_replace(\n  {LONG},\n  "destination",\n  "replacement",\n  "source",\n  "(.*)"\n)',
    ),
    (
        f"({LONG} or {LONG})[1h:1m] offset 5m",
        f"(\n    {LONG}\n  or\n    {LONG}\n)[1h:1m] offset 5m",
    ),
]


@pytest.mark.parametrize(("text", "printed"), LAYOUTS)
def test_long_queries_are_laid_out(text, printed):
    assert len(text) > LINE_CHARACTERS_MAX
    assert pretty(parse(text)) == printed
    assert parse(printed) == parse(text)


@given(vectors())
def test_what_is_printed_reads_back(text):
    tree = parse(text)
    if "NaN" not in text:  # which equals nothing, itself included
        assert parse(to_text(tree)) == tree
        assert parse(pretty(tree)) == tree
    assert to_text(parse(to_text(tree))) == to_text(tree)


@given(st.text(max_size=20))
def test_any_string_reads_back(text):
    assert parse(to_text(StringLiteral(text))) == StringLiteral(text)


@given(st.integers(1, 9 * 10**12))
def test_durations_read_back(milliseconds):
    assert duration_ns(format_duration(milliseconds * 1_000_000)) == milliseconds * 1_000_000


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=0))
def test_numbers_read_back(value):
    assert number(format_number(value)) == value
