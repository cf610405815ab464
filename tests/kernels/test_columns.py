"""Columns of each kind go in and come out."""

import numpy as np
import pytest

from orrery.errors import Invalid
from orrery.kernels.columns import decode_columns
from orrery.kernels.series import encode_series, parse_series, series_id, shard

from .samples import BOOL, BYTES, FLOAT64, INT64, STRING, UINT64, samples_of

A = encode_series("a", "", [("k", "v")])
B = encode_series("b", "f", [])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([1.5, 2.5, -0.0]), FLOAT64),
        (np.array([1.5, 2.5, 3.5], np.float32), FLOAT64),
        (np.array([1, -2, 3]), INT64),
        (np.array([1, -2, 3], np.int8), INT64),
        (np.array([1, 2, 2**64 - 1], np.uint64), UINT64),
        (np.array([True, False, True]), BOOL),
        (["x", "", "\u00e9"], STRING),
        ([b"x", b"", b"\xff"], BYTES),
        (np.array(["x", "yy", ""]), STRING),
    ],
)
def test_every_kind_comes_back(values, kind):
    batch = decode_columns([A, B], np.array([0, 2, 3]), np.array([1, 2, 3]), values)
    assert set(batch.columns()["kinds"].tolist()) == {kind}
    assert samples_of(batch) == [
        ("a", "", [("k", "v")], 1, values[0]),
        ("a", "", [("k", "v")], 2, values[1]),
        ("b", "f", [], 3, values[2]),
    ]


@pytest.mark.parametrize(
    ("offsets", "values", "cause"),
    [
        ([0, 1], [1.0, 2.0], "offsets of 2 series must be 3 ascending numbers from 0 to 2"),
        ([0, 2, 1], [1.0, 2.0], "must be 3 ascending numbers"),
        ([0, 1, 2], [1.0], "2 times but 1 values"),
        ([0, 1, 2], [1j, 2j], "no kind holds it"),
    ],
)
def test_columns_that_do_not_fit_are_named(offsets, values, cause):
    with pytest.raises(Invalid, match=cause):
        decode_columns([A, B], np.array(offsets), np.array([1, 2]), np.array(values))


def test_a_series_has_one_id_everywhere():
    # Fixed for ever: a change here breaks every data directory.
    assert series_id(A) == 0xCA7FF384DDCA84624212F67998A8C5A6
    assert shard("default", series_id(A)) == 105


def test_series_are_parsed_as_they_were_built():
    labels = [("b", "2"), ("a", "1"), ("c", "")]
    assert parse_series(encode_series("n", "f", labels)) == ("n", "f", [("a", "1"), ("b", "2")])
