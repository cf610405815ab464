import numpy as np
import pytest

from orrery.errors import Exhausted, Invalid, Unavailable
from orrery.kernels.memory_source import memory_source
from orrery.kernels.meter import Meter
from orrery.kernels.series import encode_series
from orrery.kernels.snapshot import Snapshot

CPU = encode_series("cpu", "user", [("host", "a")])
MEMORY = encode_series("mem.used", "", [("host", "b")])
UP = encode_series("up", "", [])


def unlimited() -> Meter:
    return Meter(samples_max=0, series_max=0)


def source(series, *, order=0, deletes_through=0):
    names = list(series)
    offsets = np.cumsum([0, *(len(samples) for samples in series.values())])
    flat = [sample for samples in series.values() for sample in samples]
    times = np.array([time for time, _ in flat], dtype=np.int64)
    values = np.array([value for _, value in flat], dtype=np.float64)
    return memory_source(
        "t", names, offsets, times, values, order=order, deletes_through=deletes_through
    )


OLD = {CPU: [(1, 1.0), (2, 2.0)], MEMORY: [(1, 5.0)], UP: [(40, 1.0)]}
NEW = {CPU: [(2, 20.0), (3, 30.0)]}


def select(snapshot, *matchers, meter=None, span=(-100, 100)):
    return snapshot.select("t", list(matchers), *span, meter or unlimited())


def test_series_are_joined_and_the_later_write_wins():
    snapshot = Snapshot([source(NEW, order=9), source(OLD, order=4)], [])
    selection = select(snapshot, ("__name__", "=~", "cpu_.*"))
    assert selection.promql_labels(0, 1).tuples() == [(("__name__", "cpu_user"), ("host", "a"))]
    assert selection.canonical(0) == CPU
    offsets, times, values = selection.samples(0, 1, -100, 100, unlimited())
    assert offsets.tolist() == [0, 3]
    assert times.tolist() == [1, 2, 3]
    assert values.tolist() == [1.0, 20.0, 30.0]


@pytest.mark.parametrize(
    ("matchers", "expected"),
    [
        ([], [CPU, MEMORY, UP]),
        ([("__name__", "=", "mem_used")], [MEMORY]),
        ([("__name__", "=", "mem.used")], [MEMORY]),
        ([("__measurement__", "=", "cpu")], [CPU]),
        ([("__field__", "=", "")], [MEMORY, UP]),
        ([("host", "=", "")], [UP]),
        ([("host", "!~", "a|c")], [MEMORY, UP]),
        ([("host", "=~", ".+"), ("__name__", "!=", "mem_used")], [CPU]),
    ],
)
def test_selecting(matchers, expected):
    selection = select(Snapshot([source(OLD)], []), *matchers)
    assert [selection.canonical(at) for at in range(len(selection))] == expected


def test_deletes_hide_older_samples_only():
    delete = (5, "t", [("host", "=", "a")], 0, 50)
    snapshot = Snapshot([source(OLD, order=4), source(NEW, order=9, deletes_through=5)], [delete])
    selection = select(snapshot, ("__name__", "=", "cpu_user"))
    assert selection.samples(0, 1, -100, 100, unlimited())[1].tolist() == [2, 3]
    other = Snapshot([source(OLD, order=4)], [(5, "other", [], 0, 50)])
    assert len(select(other)) == 3


def test_windows_have_a_row_a_series():
    selection = select(Snapshot([source(OLD)], []))
    values, present = selection.window(
        0,
        3,
        function="sum_over_time",
        start_ns=2,
        step_ns=38,
        step_count=2,
        range_ns=5,
        offset_ns=0,
        parameters=[],
        meter=unlimited(),
        threads=2,
    )
    assert values.tolist() == [[3.0, 0.0], [5.0, 0.0], [0.0, 1.0]]
    assert present.tolist() == [[True, False], [True, False], [False, True]]


def test_reading_outside_the_selected_range_is_refused():
    selection = select(Snapshot([source(OLD)], []), span=(0, 10))
    with pytest.raises(Invalid, match="selected from 0 to 10"):
        selection.samples(0, 1, 0, 11, unlimited())
    with pytest.raises(Invalid, match="selected"):
        selection.samples(0, 9, 0, 10, unlimited())


def test_limits_stop_a_query():
    snapshot = Snapshot([source(OLD)], [])
    with pytest.raises(Exhausted, match="query_series"):
        select(snapshot, meter=Meter(samples_max=0, series_max=2))
    selection = select(snapshot)
    with pytest.raises(Exhausted, match="query_samples"):
        selection.samples(0, 3, -100, 100, Meter(samples_max=3, series_max=0))
    cancelled = unlimited()
    cancelled.cancel()
    with pytest.raises(Unavailable):
        selection.samples(0, 3, -100, 100, cancelled)


def test_label_calls():
    snapshot = Snapshot([source(OLD), source(NEW)], [])
    meter = unlimited()
    assert snapshot.label_names("t", [], -100, 100, meter) == ["__name__", "host"]
    names = ["cpu_user", "mem.used", "up"]
    assert snapshot.label_values("t", "__name__", [], -100, 100, meter) == names
    assert snapshot.label_values("t", "__name__", [], 30, 50, meter) == ["up"]
    assert snapshot.label_values("t", "host", [[("host", "!=", "a")]], -100, 100, meter) == ["b"]
    assert snapshot.label_names("t", [[("host", "=", "")]], -100, 100, meter) == ["__name__"]
    assert snapshot.label_names("nobody", [], -100, 100, meter) == []


def test_two_series_of_one_promql_name_are_told():
    twins = {encode_series("a", "b", []): [(1, 1.0)], encode_series("a_b", "", []): [(1, 1.0)]}
    selection = select(Snapshot([source(twins)], []))
    assert selection.collision() == 0
    assert {selection.canonical(0), selection.canonical(1)} == set(twins)
    assert select(Snapshot([source(OLD)], [])).collision() is None


def test_columns_come_by_kind():
    selection = select(Snapshot([source(OLD)], []))
    [(kind, series, times, values, *sides)] = selection.columns(0, 2, -100, 100, unlimited())
    assert kind == "float64"
    assert series.tolist() == [0, 0, 1]
    assert times.tolist() == [1, 2, 1]
    assert values.tolist() == [1.0, 2.0, 5.0]
    assert sides == [None, None, None]
