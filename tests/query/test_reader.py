import numpy as np
import pytest
from msgspec.structs import replace

from orrery.errors import Exhausted, Invalid
from orrery.model.effects import Fetch, Find, More, Values, Window
from orrery.model.selector import Matcher, Operator, Selector
from orrery.query.budget import open_budget
from orrery.query.reader import Cursor, Reader
from tests.query.fakes import FakeClock, FakeLimits, FakeMeter, FakeStore, Series

SECOND = 1_000_000_000
ALL = Selector((Matcher("__name__", Operator.NOT_EQUAL, ""),))
ONLY_A = Matcher("host", Operator.EQUAL, "a")


def store(*series: Series) -> FakeStore:
    return FakeStore({"acme": list(series), "other": [Series({"host": "z"}, {SECOND: 9.0})]})


def hosts(names: str, sample_count: int = 3) -> list[Series]:
    return [
        Series({"host": host}, {step * SECOND: float(step) for step in range(1, sample_count + 1)})
        for host in names
    ]


def reader(kept: FakeStore, *, forced=(), cells_max=1000, batch_cells_max=1000, **limits) -> Reader:
    budget = open_budget(
        FakeLimits(**limits), meter_of=FakeMeter, clock=FakeClock(), cells_max=cells_max
    )
    return Reader(kept, "acme", tuple(forced), budget, batch_cells_max)


def stepped(step_count: int = 3, selector: Selector = ALL) -> Fetch:
    window = Window("last", SECOND, SECOND, step_count, 300 * SECOND)
    return Fetch(selector, 0, step_count * SECOND, window)


def host_of(labels) -> str:
    return dict(labels)["host"]


def everything(found: Reader, effect: Fetch) -> list:
    batches = [found.fetch(effect)]
    while batches[-1].more is not None:
        batches.append(found.more(More(batches[-1].more)))
    return batches


def test_steps_come_in_batches_of_bounded_cells():
    found = reader(store(*hosts("abcde")), batch_cells_max=6)
    batches = everything(found, stepped(step_count=3))
    assert [[host_of(labels) for labels in batch.labels] for batch in batches] == [
        ["a", "b"],
        ["c", "d"],
        ["e"],
    ]
    assert batches[0].values.tolist() == [[1.0, 2.0, 3.0]] * 2
    assert batches[0].present.all()


def test_one_series_is_a_batch_even_if_larger_than_the_bound():
    found = reader(store(*hosts("ab")), batch_cells_max=1)
    assert [len(batch.labels) for batch in everything(found, stepped())] == [1, 1]


def test_raw_samples_come_in_batches_sized_by_what_the_last_one_held():
    many = hosts("abcdefghijklmnop" * 10, 2)
    for number, series in enumerate(many):
        series.labels["number"] = f"{number:03}"
    found = reader(store(*many), cells_max=10_000, batch_cells_max=20)
    batches = everything(found, Fetch(ALL, 0, 10 * SECOND))
    assert [len(batch.labels) for batch in batches][:3] == [64, 10, 10]
    assert sum(len(batch.labels) for batch in batches) == 160
    first = batches[0]
    assert first.offsets.tolist()[:3] == [0, 2, 4]
    assert first.times_ns[:2].tolist() == [SECOND, 2 * SECOND]


def test_a_selector_that_matches_nothing_answers_an_empty_batch():
    answer = reader(store()).fetch(stepped())
    assert list(answer.labels) == []
    assert answer.values.shape == (0, 3)
    assert answer.more is None


def test_other_tenants_are_never_read():
    kept = store(*hosts("a"))
    reader(kept).fetch(stepped())
    assert [asked[1] for asked in kept.asked] == ["acme"]


@pytest.mark.parametrize(
    ("ask", "wanted"),
    [
        (lambda r: [host_of(one) for one in r.fetch(stepped()).labels], ["a"]),
        (lambda r: [host_of(one) for one in r.find(Find((ALL,), 0, SECOND))], ["a"]),
        (lambda r: list(r.values(Values("host", (ALL,), 0, SECOND))), ["a"]),
        (lambda r: list(r.values(Values("host", (), 0, SECOND))), ["a"]),
        (lambda r: list(r.values(Values(None, (), 0, SECOND))), ["__name__", "host"]),
    ],
)
def test_forced_matchers_hold_in_every_way_to_read(ask, wanted):
    hidden = Series({"host": "b", "secret": "1"}, {SECOND: 1.0})
    found = reader(store(*hosts("a"), hidden), forced=[ONLY_A])
    assert ask(found) == wanted


def test_label_sets_are_found_once_and_up_to_a_count():
    found = reader(store(*hosts("abc")))
    again = Selector((Matcher("host", Operator.REGEX, "b|c"),))
    assert [host_of(one) for one in found.find(Find((ALL, again), 0, SECOND))] == ["a", "b", "c"]
    assert len(found.find(Find((ALL, again), 0, SECOND, series_max=2))) == 2


def test_raw_samples_a_query_holds_are_bounded():
    with pytest.raises(Exhausted, match="holds more than 4 raw samples") as caught:
        reader(store(*hosts("abc")), cells_max=8).fetch(Fetch(ALL, 0, 9 * SECOND))
    assert caught.value.excess.limit == "query_cells_max"


def test_limits_of_the_tenant_reach_the_meter():
    with pytest.raises(Exhausted, match="query_series"):
        reader(store(*hosts("abc")), series_max=2).fetch(stepped())
    with pytest.raises(Exhausted, match="query_samples"):
        reader(store(*hosts("abc")), samples_max=4).fetch(stepped())


@pytest.mark.parametrize(
    ("unit_ns", "raw_only", "expected"),
    [
        (None, False, None),
        (7200, False, 3600),
        (86400 * 30, False, 86400),
        (600, False, 300),
        (1, False, 0),
        (7200, True, None),
    ],
)
def test_the_longest_buckets_that_are_whole_in_every_window_are_taken(unit_ns, raw_only, expected):
    found = store()
    found.resolutions_ns = (300, 3600, 86400)
    asked = replace(reader(found), raw_only=raw_only)
    assert asked.finest_ns(Fetch(ALL, 0, 1, resolution_unit_ns=unit_ns)) == expected


def test_samples_that_are_gone_are_told_of():
    found = store(*hosts("a"))
    found.resolutions_ns, found.raw_from_ns = (300,), 10**18
    (warning,) = reader(found).fetch(Fetch(ALL, 0, 10**18)).warnings
    assert "samples before 2001-09-09T01:46:40+00:00 are no longer kept" in warning
    assert reader(found).fetch(Fetch(ALL, 10**18, 10**18 + 1)).warnings == ()


def test_a_cursor_of_something_else_is_refused():
    with pytest.raises(Invalid, match="no cursor of this query"):
        reader(store()).more(More("seven"))


def twins(later: dict[int, float]) -> FakeStore:
    plain = Series({"host": "a"}, {SECOND: 1.0}, name="cpu_user")
    fielded = Series({"host": "a"}, later, name="cpu", field_name="user")
    return store(plain, *hosts("bc"), fielded)


@pytest.mark.parametrize("effect", [stepped(), Fetch(ALL, 0, 3 * SECOND)])
@pytest.mark.parametrize("batch_cells_max", [1, 1000])
def test_two_series_that_look_the_same_are_an_error_naming_both(effect, batch_cells_max):
    found = reader(twins({SECOND: 2.0}), batch_cells_max=batch_cells_max)
    with pytest.raises(Invalid) as caught:
        everything(found, effect)
    assert str(caught.value) == (
        "cannot tell two series apart: 'cpu_user' without field and 'cpu' with field 'user' "
        "with labels {host='a'} have one name here; add the matcher __field__=\"\""
    )


def test_the_matcher_named_in_that_error_separates_them():
    own = Selector((Matcher("__field__", Operator.EQUAL, ""),))
    batches = everything(reader(twins({SECOND: 2.0})), stepped(selector=own))
    assert len(batches[0].labels) == 3


def test_series_that_look_the_same_do_not_matter_where_one_has_no_samples():
    found = reader(twins({200 * SECOND: 2.0}))
    wide = Fetch(ALL, 0, 300 * SECOND, Window("last", SECOND, SECOND, 3, SECOND))
    (batch,) = everything(found, wide)
    assert len(batch.labels) == 4
    assert np.count_nonzero(batch.present) == 7


def test_cursors_do_not_share_their_place():
    found = reader(store(*hosts("abcd")), batch_cells_max=6)
    one, two = found.fetch(stepped()), found.fetch(stepped())
    assert isinstance(one.more, Cursor)
    assert found.more(More(one.more)).more is None
    assert [host_of(labels) for labels in found.more(More(two.more)).labels] == ["c", "d"]


def test_series_with_text_are_told_once_with_the_last_batch():
    texts = [Series({"host": f"{n:02}"}, {SECOND: 1.0}, holds_text=True) for n in range(12)]
    batches = everything(reader(store(*texts), batch_cells_max=20), stepped())
    assert [len(batch.warnings) for batch in batches] == [0, 11]
    told = batches[-1].warnings
    assert told[0] == 'series {__name__="m",host="00"} holds text, which is left out'
    assert told[-1] == "2 more series hold text, which is left out"
