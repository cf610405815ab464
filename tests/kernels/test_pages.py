"""Pages round-trip bit for bit, and bytes that are no page are named so."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from orrery.errors import Corrupt, Invalid
from orrery.kernels import pages

FLOAT64, INT64, UINT64, BOOL, STRING = 1, 2, 3, 4, 5
STALE_NAN = 0x7FF0_0000_0000_0002
CODED = 6
GOLDEN = Path(__file__).parents[1] / "golden" / "formats"

efforts = st.sampled_from(["fast", "small"])
bits = arrays.arrays(np.uint64, st.integers(1, 300), elements=st.integers(0, 2**64 - 1))
times = arrays.arrays(np.int64, st.integers(1, 300), elements=st.integers(-(2**63), 2**63 - 1))


@given(times, efforts)
def test_times_round_trip(column: np.ndarray, effort: pages.Effort) -> None:
    page = pages.encode_times(column, effort=effort)
    assert np.array_equal(pages.decode_times(page), column)


@given(bits, st.sampled_from([FLOAT64, INT64, UINT64]), efforts)
def test_values_round_trip(column: np.ndarray, kind: int, effort: pages.Effort) -> None:
    page = pages.encode_values(kind, column, effort=effort)
    assert np.array_equal(pages.decode_values(kind, page), column)


decimals = st.lists(st.decimals(-1_000_000, 1_000_000, places=3).map(float), min_size=1)


@given(decimals, st.lists(st.integers(0, 200)), efforts)
def test_decimals_with_stale_markers_round_trip(
    values: list[float], stale: list[int], effort: pages.Effort
) -> None:
    column = np.array(values).view(np.uint64).copy()
    for at in stale:
        column[at % len(column)] = STALE_NAN
    page = pages.encode_values(FLOAT64, column, effort=effort)
    assert np.array_equal(pages.decode_values(FLOAT64, page), column)


@pytest.mark.parametrize("value", [-0.0, float("inf"), float("-inf"), 5e-324, 1.7e308, 0.1 + 0.2])
def test_odd_doubles_keep_their_bits(value: float) -> None:
    column = np.array([1.5, value, 2.5, value]).view(np.uint64)
    page = pages.encode_values(FLOAT64, column, effort="fast")
    assert np.array_equal(pages.decode_values(FLOAT64, page), column)


@pytest.mark.parametrize(
    ("name", "column", "bytes_max"),
    [
        ("regular times", np.arange(2048, dtype=np.int64) * 10**10, 24),
        ("times with a gap", np.r_[0:1000, 1500:2500].astype(np.int64) * 10**9, 40),
        ("constant", np.full(2048, 7, dtype=np.int64), 16),
        ("whole milliseconds", np.arange(2048) * 7919 % 5000 * 10**6, 3500),
    ],
)
def test_columns_shrink(name: str, column: np.ndarray, bytes_max: int) -> None:
    assert len(pages.encode_times(column, effort="fast")) <= bytes_max, name


def test_a_merge_settles_what_a_flush_guessed() -> None:
    """A flush looks at a few residuals only, and a period of eight misleads it."""
    column = np.arange(2048, dtype=np.int64) * 7919 % 8
    assert len(pages.encode_times(column, effort="small")) <= 200


@given(st.binary(max_size=200))
def test_any_bytes_are_corrupt(page: bytes) -> None:
    with pytest.raises(Corrupt, match="cannot read a page"):
        pages.decode_times(page)


def test_a_page_is_never_empty_or_overlong() -> None:
    with pytest.raises(Invalid, match="cannot write a page of 0 samples"):
        pages.encode_times(np.array([], dtype=np.int64), effort="fast")
    with pytest.raises(Invalid, match="1 to 8192 fit"):
        pages.encode_times(np.zeros(pages.PAGE_SAMPLES_MAX + 1, dtype=np.int64), effort="fast")


def test_kinds_with_payloads_have_no_columns_here() -> None:
    with pytest.raises(Invalid, match="only numeric kinds"):
        pages.encode_values(STRING, np.zeros(1, dtype=np.uint64), effort="fast")


def test_a_bool_that_is_none_is_corrupt() -> None:
    page = pages.encode_values(INT64, np.array([0, 2], dtype=np.uint64), effort="fast")
    with pytest.raises(Corrupt, match="bool"):
        pages.decode_values(BOOL, page)


def test_a_coded_page_of_version_1_is_read_for_ever() -> None:
    """Written once by this column; never to be written anew."""
    column = np.cumsum(np.arange(700) * 7919 % 97 % 13 * 1000 + np.arange(700) % 7) - 10**6
    page = (GOLDEN / "page_coded_v1.page").read_bytes()
    assert page[6] == CODED
    assert np.array_equal(pages.decode_times(page), column)
