"""A source made of columns in memory; for tests and benches of what reads sources."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orrery import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray


def memory_source(
    tenant: str,
    series: Sequence[bytes],
    offsets: "NDArray[np.int64]",
    times_ns: "NDArray[np.int64]",
    values: "NDArray[np.float64]",
    *,
    order: int = 0,
    deletes_through: int = 0,
) -> _core.Source:
    """``series[i]`` (canonical bytes) owns samples ``offsets[i]..offsets[i + 1]``, ascending."""
    return _core.memory_source(
        tenant,
        list(series),
        np.ascontiguousarray(offsets, dtype=np.int64),
        np.ascontiguousarray(times_ns, dtype=np.int64),
        np.ascontiguousarray(values, dtype=np.float64),
        order=order,
        deletes_through=deletes_through,
    )
