"""Properties of evaluation, limits, and what is asked of the store."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orrery.errors import Exhausted, Invalid
from orrery.languages.promql.evaluate import evaluate, selectors
from orrery.languages.promql.parse import NESTING_DEPTH_MAX, parse
from orrery.model.effects import Fetch
from tests.languages.promql.expressions import LABELS, NAMES, vectors
from tests.languages.promql.store import Store

SECOND = 1_000_000_000
MINUTE = 60 * SECOND


def filled(batch_size: int = 1000) -> Store:
    store = Store(batch_size)
    for number, name in enumerate(NAMES):
        for x in "12":
            for y in "12":
                seed = number * 7 + int(x) * 3 + int(y)
                samples = {
                    step * 10 * SECOND: float((seed * (step + 3)) % 11)
                    for step in range(13)
                    if (step * seed) % 5
                }
                store.write({"__name__": name, LABELS[0]: x, LABELS[1]: y}, samples)
    return store


@settings(max_examples=150, deadline=None)
@given(vectors())
def test_a_range_is_its_instants_side_by_side(text):
    """Each column of a range query is the instant query at that time; ``@`` ends aside."""
    if "start()" in text or "end()" in text:
        return
    store = filled()
    try:
        whole = store.query(text, start_ns=0, end_ns=2 * MINUTE, step_ns=40 * SECOND)
    except Invalid:
        return
    for step in range(4):
        alone = store.query(text, start_ns=step * 40 * SECOND)
        assert column(whole, step) == pytest.approx(column(alone, 0), nan_ok=True), step


@settings(max_examples=100, deadline=None)
@given(vectors())
def test_batches_change_nothing(text):
    answers = []
    for batch_size in (1000, 3, 1):
        try:
            result = filled(batch_size).query(
                text, start_ns=0, end_ns=2 * MINUTE, step_ns=40 * SECOND
            )
        except Invalid as error:
            answers.append(str(error))
        else:
            answers.append([column(result, step) for step in range(4)])
    for other in answers[1:]:
        if isinstance(other, str):
            assert answers[0] == other
        else:
            assert len(answers[0]) == len(other)
            for left, right in zip(answers[0], other, strict=True):
                assert left == pytest.approx(right, nan_ok=True, abs=1e-9)


def column(result, step: int) -> dict:
    return {
        labels: float(result.values[row, step])
        for row, labels in enumerate(result.labels)
        if result.present[row, step]
    }


def test_windows_are_pushed_into_the_fetch():
    store = filled()
    store.query("sum(rate(a[1m] offset 10s))", start_ns=0, end_ns=2 * MINUTE, step_ns=MINUTE)
    (fetch,) = store.fetches
    window = fetch.window
    assert (window.function, window.range_ns, window.offset_ns) == ("rate", MINUTE, 10 * SECOND)
    assert (window.start_ns, window.step_ns, window.step_count) == (0, MINUTE, 3)
    assert (fetch.start_ns, fetch.end_ns) == (-70 * SECOND + 1, 110 * SECOND)


def test_what_no_step_changes_is_read_once():
    store = filled()
    result = store.query("sum(a @ 60) + 0", start_ns=0, end_ns=10 * MINUTE, step_ns=SECOND)
    (fetch,) = store.fetches
    assert fetch.window.step_count == 1
    assert result.values.shape == (1, 601)


def test_aggregations_hold_no_more_than_a_batch():
    """A hundred series of ten steps pass a limit that holds one batch of ten, not all."""
    store = Store(10)
    for number in range(100):
        store.write({"__name__": "m", "n": str(number)}, {0: 1.0})
    for query, held in (("sum(m)", 100.0), ("avg by (x) (abs(m * 2))", 2.0), ("topk(1, m)", 1.0)):
        result = limited(store, query, cells_max=300)
        assert result.values[0].tolist() == [held] * 10
    with pytest.raises(Exhausted, match="query_cells_max"):
        limited(store, "sort(m)", cells_max=300)


def limited(store: Store, text: str, *, cells_max: int):
    run = evaluate(parse(text), start_ns=0, end_ns=9 * SECOND, step_ns=SECOND, cells_max=cells_max)
    answer = None
    while True:
        try:
            answer = store.answer(run.send(answer))
        except StopIteration as finished:
            return finished.value


def test_subqueries_have_a_limit():
    with pytest.raises(Exhausted, match="query_cells_max"):
        filled().query("max_over_time(a[10y:1ms])")


def test_a_range_vector_is_answered_with_raw_samples():
    store = Store()
    store.write({"__name__": "m", "n": "2"}, {10 * SECOND: 1.0, 20 * SECOND: 2.0, 31 * SECOND: 9.0})
    store.write({"__name__": "m", "n": "1"}, {5 * SECOND: 3.0, 30 * SECOND: 4.0})
    store.write({"__name__": "m", "n": "0"}, {0: 5.0})
    result = store.query("m[25s]", start_ns=30 * SECOND)
    frames = result.samples
    assert result.kind == "matrix"
    assert [dict(labels)["n"] for labels in frames.labels] == ["1", "2"]
    assert frames.offsets.tolist() == [0, 1, 3]
    assert [time // SECOND for time in frames.times_ns.tolist()] == [30, 10, 20]
    assert frames.values.tolist() == [4.0, 1.0, 2.0]


def test_a_subquery_is_answered_on_its_own_steps():
    result = filled().query("(a * 2)[30s:10s]", start_ns=65 * SECOND)
    assert [time // SECOND for time in result.times_ns.tolist()] == [40, 50, 60]


def test_warnings_of_the_store_reach_the_answer():
    class Warning_(Store):
        def windows(self, fetch, batch, more):
            from msgspec.structs import replace

            return replace(super().windows(fetch, batch, more), warnings=("it holds strings",))

    store = Warning_()
    store.write({"__name__": "m"}, {0: 1.0})
    assert store.query("m + m").warnings == ("it holds strings",)


@pytest.mark.parametrize(
    "text",
    [
        "(" * (NESTING_DEPTH_MAX - 1) + "a" + ")" * (NESTING_DEPTH_MAX - 1),
        "-(" * (NESTING_DEPTH_MAX // 2 - 1) + "a" + ")" * (NESTING_DEPTH_MAX // 2 - 1),
        " + ".join(["a"] * (NESTING_DEPTH_MAX - 1)),
        " ^ ".join(["a"] * (NESTING_DEPTH_MAX // 2 - 1)),
        "abs(" * (NESTING_DEPTH_MAX - 2) + "a" + ")" * (NESTING_DEPTH_MAX - 2),
        "sum(" * (NESTING_DEPTH_MAX - 2) + "a" + ")" * (NESTING_DEPTH_MAX - 2),
        "sort(" * (NESTING_DEPTH_MAX - 2) + "a" + ")" * (NESTING_DEPTH_MAX - 2),
    ],
    ids=["parentheses", "signs", "chain", "powers", "calls", "aggregations", "wholes"],
)
def test_the_deepest_queries_are_answered(text):
    assert filled().query(text).kind == "vector"


def test_times_beyond_the_clock_are_bounded():
    result = filled().query("a @ 9e9 offset -200y")
    assert list(result.labels) == []
    assert filled().query("count_over_time(a[250y])", start_ns=MINUTE).labels != ()


def test_selectors_are_listed_in_order():
    found = [node.name for node in selectors(parse("a + sum(rate(b[5m]))"))]
    assert found == ["a", "b"]


def test_every_effect_is_a_fetch_of_a_selector():
    run = evaluate(parse("a"), start_ns=0, end_ns=0, step_ns=0)
    effect = run.send(None)
    assert isinstance(effect, Fetch)
    assert not math.isnan(effect.start_ns)
    run.close()


@given(st.lists(st.floats(allow_nan=True, width=32), min_size=1, max_size=9))
def test_a_mean_of_batches_is_the_mean(values):
    store = Store(2)
    for number, value in enumerate(values):
        store.write({"__name__": "m", "n": str(number)}, {0: value})
    found = store.query("avg(m)").values[0, 0]
    with np.errstate(all="ignore"):
        assert found == pytest.approx(np.mean(values), nan_ok=True, rel=1e-6, abs=1e-6)
