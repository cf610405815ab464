import sys

import numpy as np
import pytest

from orrery.client.results import Result
from orrery.errors import Invalid

RESULT = Result(
    kind="matrix",
    labels=({"host": "a", "dc": "x"}, {"host": "b"}),
    offsets=np.array([0, 2, 3]),
    times_ns=np.array([1_000_000_000, 2_000_000_000, 1_000_000_000]),
    values=np.array([1.0, np.nan, 3.0]),
)


def test_a_result_is_walked_series_by_series():
    walked = [(labels["host"], times.tolist()) for labels, times, _ in RESULT]
    assert walked == [("a", [1_000_000_000, 2_000_000_000]), ("b", [1_000_000_000])]
    assert len(RESULT) == 2
    assert RESULT.times[0] == np.datetime64("1970-01-01T00:00:01", "ns")


def test_arrow_has_a_row_a_sample_and_null_for_an_absent_label():
    table = RESULT.to_arrow()
    assert table.column_names == ["dc", "host", "time", "value"]
    assert table.column("dc").to_pylist() == ["x", "x", None]
    assert table.column("host").to_pylist() == ["a", "a", "b"]
    assert str(table.schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert table.column("value").null_count == 0


def test_frames_hold_the_same():
    frame = RESULT.to_pandas()
    assert frame["host"].tolist() == ["a", "a", "b"]
    assert str(frame["time"].dtype) == "datetime64[ns, UTC]"
    polars = RESULT.to_polars()
    assert polars["dc"].to_list() == ["x", "x", None]
    assert polars["value"].to_list()[2] == 3.0


def test_an_empty_result_is_an_empty_table():
    nothing = np.array([], np.int64)
    empty = Result("vector", (), np.array([0]), nothing, np.array([]))
    assert empty.to_arrow().num_rows == 0
    assert len(empty.to_pandas()) == 0


def test_a_label_named_like_a_column_is_an_error_with_a_way_out():
    clash = Result("vector", ({"time": "x"},), np.array([0, 1]), np.array([0]), np.array([1.0]))
    with pytest.raises(Invalid, match="a label is called 'time' too"):
        clash.to_arrow()
    assert clash.to_arrow(time="at").column_names == ["time", "at", "value"]


def test_a_library_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(Invalid, match=r"pip install 'orrery-db\[polars\]'"):
        RESULT.to_polars()
