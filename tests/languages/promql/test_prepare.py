"""What the core evaluates in one call is what ``evaluate`` answers, to the bit."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orrery.errors import Invalid, OrreryError
from orrery.kernels.memory_source import memory_source
from orrery.kernels.meter import Meter
from orrery.kernels.series import encode_series
from orrery.kernels.snapshot import Snapshot
from orrery.languages.promql.evaluate import LOOKBACK_NS, evaluate
from orrery.languages.promql.nodes import Kind
from orrery.languages.promql.parse import parse
from orrery.languages.promql.prepare import Preparations, prepared
from orrery.model.selector import Matcher, Operator
from orrery.query.budget import Budget
from orrery.query.reader import Brief, Reader, TooLong
from orrery.query.run import drive
from tests.languages.promql.expressions import NAMES, vectors
from tests.query.fakes import FakeClock

SECOND = 1_000_000_000
RANGES = [(0, 120, 40), (35, 35, 0), (300, 700, 100)]


def stored() -> Snapshot:
    """Series of three names; some with gaps, some that end early; awkward values among them."""
    series, times, values, offsets = [], [], [], [0]
    keys = [(name, x, y) for name, x, y in product(NAMES, "12", "12")]
    for number, (name, x, y) in enumerate(sorted(keys)):
        labels = [("x", x)] if y == "2" and name == "b" else [("x", x), ("y", y)]
        series.append(encode_series(name, "", labels))
        steps = [step for step in range(13) if (step * number) % 5 or number == 0]
        chosen = steps[: 4 + number]
        times += [step * 10 * SECOND for step in chosen]
        values += [(number * 0.1 + step * 1.7) % 3.3 if step != 7 else np.nan for step in chosen]
        offsets.append(len(times))
    columns = np.array(offsets), np.array(times), np.array(values)
    return Snapshot([memory_source("acme", series, *columns)], [])


STORED = stored()


def run(program, *, forced=(), brief=None, cells_max=1_000_000, **limits):
    meter = Meter(samples_max=limits.get("samples_max", 0), series_max=0, deadline_seconds=None)
    budget = Budget(meter, 1e9, 1e9, 1_000_000, FakeClock())
    reader = Reader(STORED, "acme", forced, budget, cells_max, brief)
    try:
        result = drive(program, handlers=reader.handlers(), meter=meter)
    except OrreryError as error:
        return type(error).__name__, str(error)
    rows = (list(result.labels), result.kind, result.warnings, result.infos)
    values = np.where(result.present, result.values, 0.0)
    return rows, values.tobytes(), result.present.tobytes(), meter.samples_read


def span(start, end, step):
    return {"start_ns": start * SECOND, "end_ns": end * SECOND, "step_ns": step * SECOND}


def by_steps(text, times, **more):
    """Node by node: the definition."""
    return run(evaluate(parse(text), **span(*times), text=text), **more)


def at_once(text, times, **more):
    ready = prepared(text, LOOKBACK_NS)
    return run(ready.answer(**span(*times), cells_max=1_000_000), **more)


def relabelled(inner: str) -> str:
    return f'label_replace({inner}, "z", "<$1>", "x", "(1?).*")'


queries = st.one_of(
    vectors(),
    st.builds("({}) or ({})".format, vectors(), vectors()),
    st.builds(relabelled, vectors()),
    st.builds("avg by (z) ({})".format, st.builds(relabelled, vectors())),
    st.builds("stddev by (__name__, x) ({})".format, vectors()),
)


@settings(max_examples=400, deadline=None)
@given(queries, st.sampled_from(RANGES), st.sampled_from([1_000_000, 7]))
def test_one_call_gives_what_the_evaluation_gives(text, times, cells_max):
    assert at_once(text, times, cells_max=cells_max) == by_steps(text, times)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a or b",
        "max(max_over_time(a[1m]))",
        "sum by (x) (rate(c_total[1m]))",
        "avg by (__name__) (rate(c_total[1m]))",
        "stddev by (__name__, x) (a * 2)",
        "max without (y) (a) > 1",
        "2 * (avg by (x, y) (last_over_time(a[35s] offset 10s)))",
        relabelled("a"),
        f"{relabelled('max(a)')} or {relabelled('max(b)')}",
    ],
)
def test_common_queries_are_one_call(text):
    assert prepared(text, LOOKBACK_NS).is_brief
    answer = at_once(text, RANGES[0], brief=Brief(seconds_max=60.0))
    assert answer == by_steps(text, RANGES[0])
    assert len(answer[1])


@pytest.mark.parametrize(
    ("text", "forced"), [("a", "1"), ("sum(a)", "1"), ("a or b", "2"), ("max by (x) (a)", "9")]
)
def test_forced_matchers_join_every_selector(text, forced):
    matcher = (Matcher("x", Operator.EQUAL, forced),)
    expected = by_steps(text, RANGES[0], forced=matcher)
    assert at_once(text, RANGES[0], forced=matcher) == expected
    assert expected != by_steps(text, RANGES[0])


@pytest.mark.parametrize(
    "text",
    [
        "a @ 60",
        "a offset -step()",
        "rate(a[1m])",  # no counter by its name: there is something to note
        "quantile_over_time(2, a[1m])",
        "topk(1, a)",
        "a == bool 1",
        "a or on (x) b",
        "absent(a)",
        "a ^ 2",
        "a + b",
        'label_replace(a, "", "$1", "x", "(.*)")',
        'label_replace(a, "z", "$1", "x", "(")',
        "1",
    ],
)
def test_the_rest_is_not_fused(text):
    assert prepared(text, LOOKBACK_NS).whole is None
    assert at_once(text, RANGES[0]) == by_steps(text, RANGES[0])


def test_what_does_not_fit_starts_over_and_counts_once():
    text = 'rate({__name__=~"a|b", x="1", y="1"}[1m]) or max({__name__=~"a|b"})'
    assert at_once('avg_over_time({x="1",y="1"}[1m])', RANGES[0])[0] == "EvaluationError"
    assert at_once(text, RANGES[0]) == by_steps(text, RANGES[0])
    most = by_steps("a", RANGES[0])[3]
    assert at_once("a", RANGES[0], cells_max=3, samples_max=most)[3] == most


@pytest.mark.parametrize(
    "brief",
    [Brief(series_max=3), Brief(cells_max=11), Brief(seconds_max=0.0), Brief(samples_max=9)],
)
def test_brief_work_ends_where_it_would_take_longer(brief):
    program = prepared("max(a) or b", LOOKBACK_NS).answer
    with pytest.raises(TooLong):
        run(program(**span(*RANGES[0]), cells_max=1000), brief=brief)


def test_limits_hold_in_one_call():
    assert at_once("max(a)", RANGES[0], samples_max=3)[0] == "Exhausted"


def test_regexes_that_go_through_all_values_are_not_brief():
    assert prepared('a{x=~"1|2"}', LOOKBACK_NS).is_brief
    assert not prepared('a{x=~"1.*"}', LOOKBACK_NS).is_brief


# --- queries that differ in their texts


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ('max(a{x="1"})', 'max(a{x="2"})'),
        ('a{x=~"1|2"} or b{x="1"}', 'a{x=~"1"} or b{x="2|1"}'),
        (
            'label_replace(a{x="1"}, "z", "$1", "x", "(.*)")',
            'label_replace(a{x="2"}, "v", "n$1", "y", "(1)")',
        ),
        ('a{x="1"}', 'a{x=""}'),
        ('a{x=~"1"}', 'a{x=~".*"}'),
        ('sum by ("x") (a{x="1"})', 'sum by ("y") (a{x="1"})'),
        ('{"a", x="1"}', '{"b", x="2"}'),
        ('{__name__="a", x="1"}', '{__name__="c_total", x="1"}'),
        ('rate({__name__="c_total"}[1m])', 'rate({__name__="a"}[1m])'),
    ],
)
def test_texts_take_the_places_of_others(first, then):
    preparations = Preparations()
    for text in (first, then, first):
        ready = preparations.of(text, LOOKBACK_NS)
        program = ready.answer(**span(*RANGES[0]), cells_max=1_000_000)
        assert run(program) == by_steps(text, RANGES[0])
        assert ready.kind is Kind.VECTOR
        assert preparations.known(text, LOOKBACK_NS) is ready


@pytest.mark.parametrize(
    "bad",
    [
        'a{x=~"("}',
        '{x=""}',
        'label_replace(a{x="1"}, "", "$1", "x", "(.*)")',
        'a{x="1}',
        'a{x="\n"}',
    ],
)
def test_texts_that_do_not_fit_are_refused_as_ever(bad):
    preparations = Preparations()
    preparations.of('a{x=~"1"}', LOOKBACK_NS)
    preparations.of('label_replace(a{x="1"}, "z", "$1", "x", "(.*)")', LOOKBACK_NS)

    def outcome(of):
        try:
            return run(of().answer(**span(*RANGES[0]), cells_max=1_000_000))
        except Invalid as error:
            return str(error)

    expected = outcome(lambda: prepared(bad, LOOKBACK_NS))
    assert outcome(lambda: preparations.of(bad, LOOKBACK_NS)) == expected


def test_what_is_kept_is_bounded():
    preparations = Preparations(characters_max=100)
    texts = [f"metric_{number:03}" for number in range(50)]
    for text in texts:
        preparations.of(text, LOOKBACK_NS)
    kept = [text for text in texts if preparations.known(text, LOOKBACK_NS) is not None]
    assert kept == texts[-10:]
    assert preparations.known(texts[-1], LOOKBACK_NS + 1) is None
