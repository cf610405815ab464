"""Aggregation over groups of series and classic histograms' quantiles; called by languages.

Rows are added in the order they come in, so that sums round as Prometheus' do.
"""

from typing import TYPE_CHECKING

import numpy as np

from orrery import _core
from orrery._core import Folding
from orrery.errors import Invalid

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Folding", "aggregate", "groups", "histogram_quantile", "pick"]

GROUP_COUNT_MAX = 2**32 - 1


def aggregate(
    operation: str,
    values: "NDArray[np.float64]",
    present: "NDArray[np.bool_]",
    group_index: "NDArray[np.integer]",
    group_count: int,
    parameter: "ArrayLike" = 0.0,
    *,
    meter: _core.Meter | None = None,
) -> "tuple[NDArray[np.float64], NDArray[np.bool_]]":
    """sum, avg, min, max, count, group, stddev, stdvar or quantile of each group at each step.

    Row ``i`` of ``values`` (series, steps) belongs to group ``group_index[i]``. The parameter is
    the quantile's: one for all steps or one a step.
    """
    return _core.aggregate(
        operation,
        np.ascontiguousarray(values, dtype=np.float64),
        np.ascontiguousarray(present, dtype=np.bool_),
        groups(group_index),
        group_count,
        np.atleast_1d(np.ascontiguousarray(parameter, dtype=np.float64)),
        meter=meter,
    )


def pick(
    operation: str,
    values: "NDArray[np.float64]",
    present: "NDArray[np.bool_]",
    group_index: "NDArray[np.integer]",
    group_count: int,
    k: "ArrayLike",
    *,
    meter: _core.Meter | None = None,
) -> "NDArray[np.bool_]":
    """topk, bottomk or limitk: which cells of the input stay."""
    return _core.pick(
        operation,
        np.ascontiguousarray(values, dtype=np.float64),
        np.ascontiguousarray(present, dtype=np.bool_),
        groups(group_index),
        group_count,
        np.atleast_1d(np.ascontiguousarray(k, dtype=np.float64)),
        meter=meter,
    )


def histogram_quantile(
    upper_bounds: "NDArray[np.float64]",
    counts: "NDArray[np.float64]",
    present: "NDArray[np.bool_]",
    q: "ArrayLike",
) -> "tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]":
    """(values, present, forced) of one classic histogram at each step.

    ``counts`` (buckets, steps) are cumulative and may come in any order of ``upper_bounds``; absent
    ones are no buckets of their step. ``forced`` marks steps whose counts had to be made to rise.
    """
    return _core.histogram_quantile(
        np.ascontiguousarray(upper_bounds, dtype=np.float64),
        np.ascontiguousarray(counts, dtype=np.float64),
        np.ascontiguousarray(present, dtype=np.bool_),
        np.atleast_1d(np.ascontiguousarray(q, dtype=np.float64)),
    )


def groups(group_index: "NDArray[np.integer]") -> "NDArray[np.uint32]":
    if (
        len(group_index)
        and not 0 <= int(group_index.min()) <= int(group_index.max()) <= GROUP_COUNT_MAX
    ):
        raise Invalid("cannot aggregate: a group's index lies outside 32 bits")
    return np.ascontiguousarray(group_index, dtype=np.uint32)
