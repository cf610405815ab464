import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orrery.errors import Invalid
from orrery.kernels.answer import matrix_json, samples_json, scalar_json, vector_json

UP = (("__name__", "up"), ("job", 'a"\\b\n\x01é'))
DOWN = (("__name__", "down"),)


def test_a_matrix_leaves_absent_points_and_series_out():
    values = np.array([[1.0, 2.5, math.nan], [1.0, 1.0, 1.0], [math.inf, -math.inf, 1e21]])
    present = np.array([[True, False, True], [False] * 3, [True] * 3])
    got = json.loads(matrix_json((UP, DOWN, ()), 1000, 250, values, present))
    assert got == [
        {"metric": dict(UP), "values": [[1, "1"], [1.5, "NaN"]]},
        {"metric": {}, "values": [[1, "+Inf"], [1.25, "-Inf"], [1.5, "1e+21"]]},
    ]


def test_a_vector_and_a_scalar():
    values = np.array([[1.0, 9.0], [2.0, 9.0]])
    got = vector_json([UP, DOWN], 1500, values[:, 0], np.array([False, True]))
    assert got == b'[{"metric":{"__name__":"down"},"value":[1.500,"2"]}]'
    assert scalar_json(-1, 0.1) == b'[-0.001,"0.1"]'


def test_raw_samples():
    got = samples_json(
        [UP, DOWN], np.array([0, 0, 2]), np.array([0, 1_500_000_000]), np.array([1.0, 2.0])
    )
    assert got == b'[{"metric":{"__name__":"down"},"values":[[0,"1"],[1.500,"2"]]}]'


@given(st.floats(), st.integers(-(10**15), 10**15))
def test_a_number_reads_back(value, time_ms):
    time, text = json.loads(scalar_json(time_ms, value))
    assert time == time_ms / 1000
    assert float(text) == value or math.isnan(value)


@given(st.dictionaries(st.text(), st.text(), max_size=4))
def test_labels_read_back(labels):
    got = vector_json([tuple(labels.items())], 0, np.array([1.0]), np.array([True]))
    assert json.loads(got)[0]["metric"] == labels


def test_what_does_not_fit_is_refused():
    values, present = np.zeros((1, 2)), np.ones((1, 2), dtype=np.bool_)
    with pytest.raises(Invalid, match="not 2 series"):
        matrix_json([UP, DOWN], 0, 1, values, present)
    with pytest.raises(Invalid, match="do not fit"):
        samples_json([UP], np.array([0, 5]), np.array([1]), np.array([1.0]))
