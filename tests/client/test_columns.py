from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from orrery.client.columns import Name, Roles, arrange
from orrery.errors import Invalid

SECOND = 1_000_000_000
ROLES = {
    "name": "load",
    "name_column": None,
    "time": "time",
    "time_unit": "ns",
    "value": "value",
    "fields": None,
    "labels": None,
}


def arranged(data, **roles):
    return arrange(data, Roles(**{**ROLES, **roles}))


def rows(points) -> dict:
    """{(name, field, labels): [(time, value), ...]}"""
    found = {}
    for at, name in enumerate(points.series):
        first, last = points.offsets[at : at + 2]
        pairs = zip(
            points.times_ns[first:last].tolist(), points.values[first:last].tolist(), strict=True
        )
        found[(name.name, name.field, name.labels)] = list(pairs)
    return found


def test_rows_are_grouped_by_labels_in_the_order_of_the_table():
    (points,) = arranged(
        {
            "time": np.array([3, 1, 2]),
            "host": ["b", "a", "b"],
            "value": np.array([30.0, 10.0, 20.0]),
        }
    )
    assert rows(points) == {
        ("load", "", (("host", "b"),)): [(3, 30.0), (2, 20.0)],
        ("load", "", (("host", "a"),)): [(1, 10.0)],
    }


def test_a_missing_label_is_no_label():
    (points,) = arranged({"time": [1, 2], "host": ["a", None], "value": [1.0, 2.0]})
    assert [name.labels for name in points.series] == [(("host", "a"),), ()]


def test_names_may_stand_in_a_column():
    table = {"time": [1, 2], "metric": ["up", "down"], "value": [1.0, 2.0]}
    (points,) = arranged(table, name=None, name_column="metric")
    assert points.series == (Name("up", "", ()), Name("down", "", ()))


def test_several_fields_are_a_series_each_and_the_field_value_is_none():
    table = {"time": [1, 2], "user": [1.0, None], "value": [True, False], "host": ["a", "a"]}
    user, value = arranged(table, fields=["user", "value"])
    assert rows(user) == {("load", "user", (("host", "a"),)): [(1, 1.0)]}
    assert rows(value) == {("load", "", (("host", "a"),)): [(1, True), (2, False)]}


@pytest.mark.parametrize(
    ("column", "dtype", "wanted"),
    [
        (np.array([1.5, 2.5], np.float32), np.float64, [1.5, 2.5]),
        (np.array([1, 2], np.int8), np.int64, [1, 2]),
        (np.array([1, 2], np.uint16), np.uint64, [1, 2]),
        ([2**63, 1], np.uint64, [2**63, 1]),
        ([True, False], np.bool_, [True, False]),
        ([1, 2.5], np.float64, [1.0, 2.5]),
        (["on", "off"], object, ["on", "off"]),
        (np.array(["on", "off"]), object, ["on", "off"]),
        (pa.array([1, 2], pa.int32()), np.int64, [1, 2]),
        (pa.array(["on", "off"]).dictionary_encode(), object, ["on", "off"]),
        (pd.Series([1, 2], dtype="Int64"), np.int64, [1, 2]),
        (pl.Series([1, 2], dtype=pl.UInt8), np.uint64, [1, 2]),
    ],
)
def test_values_keep_their_kind(column, dtype, wanted):
    (points,) = arranged({"time": [1, 2], "value": column}, labels=[])
    assert points.values.dtype == dtype
    assert points.values.tolist() == wanted


NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
NOON_NS = 1_704_110_400 * SECOND


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ([NOON_NS], "ns"),
        (np.array([NOON_NS // 1_000_000]), "ms"),
        (np.array([NOON_NS // SECOND], np.uint32), "s"),
        (np.array(["2024-01-01T12"], "datetime64[h]"), "ns"),
        ([NOON], "ns"),
        ([NOON.replace(tzinfo=None)], "ns"),
        ([NOON.astimezone(timezone(timedelta(hours=5)))], "ns"),
        (pa.array([NOON], pa.timestamp("ms", tz="Asia/Tokyo")), "ns"),
        (pd.Series([NOON]).dt.tz_convert("US/Pacific"), "ns"),
        (pl.Series([NOON.replace(tzinfo=None)]), "ns"),
    ],
)
def test_times_of_every_make(column, unit):
    (points,) = arranged({"time": column, "value": [1.0]}, time_unit=unit)
    assert points.times_ns.tolist() == [NOON_NS]


FRAME = {
    "time": pd.to_datetime(["2024-01-01T12:00:00Z", None, "2024-01-01T12:00:01Z"]),
    "host": pd.Categorical(["a", "b", None]),
    "value": [1.0, 2.0, None],
}


@pytest.mark.parametrize(
    "make",
    [
        pd.DataFrame,
        lambda data: pa.Table.from_pandas(pd.DataFrame(data)),
        lambda data: pa.Table.from_pandas(pd.DataFrame(data)).to_batches()[0],
        lambda data: pl.from_pandas(pd.DataFrame(data)),
    ],
    ids=["pandas", "arrow table", "arrow batch", "polars"],
)
def test_frames_mean_the_same_rows_without_time_or_value_left_out(make):
    (points,) = arranged(make(FRAME))
    assert rows(points) == {("load", "", (("host", "a"),)): [(NOON_NS, 1.0)]}


def test_nan_is_a_value_in_numpy_columns():
    (points,) = arranged({"time": [1, 2], "value": np.array([np.nan, 1.0])})
    assert np.isnan(points.values[0])
    assert len(points.values) == 2


def test_an_empty_table_has_no_series():
    (points,) = arranged({"time": np.array([], np.int64), "value": np.array([])})
    assert points.series == ()
    assert points.offsets.tolist() == [0]


@pytest.mark.parametrize(
    ("data", "roles", "message"),
    [
        ({"value": [1.0]}, {}, "it has no column 'time'"),
        ({"time": [1], "value": [1.0, 2.0]}, {}, "its columns differ in length"),
        ({"time": [1], "value": [1.0]}, {"name": None}, "give either name= or name_column="),
        ({"time": [1], "value": [1.0], "n": ["x"]}, {"name_column": "n"}, "give either name="),
        (
            {"time": [1], "value": [1.0], "load": np.array([2.0])},
            {},
            "cannot write column 'load': it holds float64 and is neither time nor value",
        ),
        ({"time": [1.5], "value": [1.0]}, {}, "a column of float64 is not supported"),
        ({"time": [2**62], "value": [1.0]}, {"time_unit": "s"}, "out of range when counted in 's'"),
        ({"time": [1], "value": [1.0]}, {"time_unit": "h"}, "unit 'h' is none of"),
        ({"time": [1], "value": [1 + 2j]}, {}, "it holds complex"),
        ({"time": [1], "value": [[1]]}, {}, "it holds list"),
        ({"time": [1, 2], "value": [1, "x"]}, {}, "it holds int, str"),
        ({"time": [1], "value": [2**64]}, {}, "needs more than 64 bits"),
        ({"time": np.zeros((1, 1)), "value": [1.0]}, {}, "it has 2 dimensions"),
        ({"time": ["noon"], "value": [1.0]}, {}, "cannot read time 'noon'"),
        (
            {"time": [1], "value": [1.0], "host": [1.5]},
            {"labels": ["host"]},
            "cannot use column 'host' as a label: it holds float64",
        ),
        ("table", {}, "cannot write a str: give columns, a table or a frame"),
    ],
)
def test_what_cannot_be_written_is_named(data, roles, message):
    with pytest.raises(Invalid) as caught:
        arranged(data, **roles)
    assert message in str(caught.value)
