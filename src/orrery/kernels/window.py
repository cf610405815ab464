"""Window functions over dense matrices: what subqueries need. Called by languages.

Over stored series the same functions run inside ``Selection.window``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orrery import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

FUNCTIONS = {
    "instant": 0,
    "timestamp": 0,
    "rate": 0,
    "increase": 0,
    "delta": 0,
    "irate": 0,
    "idelta": 0,
    "deriv": 0,
    "predict_linear": 2,
    "resets": 0,
    "changes": 0,
    "avg_over_time": 0,
    "min_over_time": 0,
    "max_over_time": 0,
    "sum_over_time": 0,
    "count_over_time": 0,
    "first_over_time": 0,
    "last_over_time": 0,
    "present_over_time": 0,
    "stddev_over_time": 0,
    "stdvar_over_time": 0,
    "quantile_over_time": 1,
    "mad_over_time": 0,
    "ts_of_min_over_time": 0,
    "ts_of_max_over_time": 0,
    "ts_of_first_over_time": 0,
    "ts_of_last_over_time": 0,
    "double_exponential_smoothing": 2,
}
"""Names of the functions and how many parameters each takes."""


def window_over_steps(
    function: str,
    values: "NDArray[np.float64]",
    present: "NDArray[np.bool_]",
    *,
    in_start_ns: int,
    in_step_ns: int,
    start_ns: int,
    step_ns: int,
    step_count: int,
    range_ns: int,
    offset_ns: int = 0,
    parameters: Sequence[float] = (),
    meter: _core.Meter | None = None,
) -> "tuple[NDArray[np.float64], NDArray[np.bool_]]":
    """Runs ``function`` over each row of a matrix whose columns lie ``in_step_ns`` apart.

    At each step t it sees the present points in ``(t - offset - range, t - offset]``.
    """
    return _core.window_over_steps(
        function,
        np.ascontiguousarray(values, dtype=np.float64),
        np.ascontiguousarray(present, dtype=np.bool_),
        in_start_ns=in_start_ns,
        in_step_ns=in_step_ns,
        start_ns=start_ns,
        step_ns=step_ns,
        step_count=step_count,
        range_ns=range_ns,
        offset_ns=offset_ns,
        parameters=list(parameters),
        meter=meter,
    )
