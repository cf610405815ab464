"""Batches from columns in memory, for in-process writes and imports."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orrery import _core
from orrery.errors import Invalid
from orrery.kernels.batch import Batch

Values = NDArray[Any] | Sequence[str] | Sequence[bytes]


def decode_columns(
    series: Sequence[bytes],
    offsets: NDArray[np.int64],
    times_ns: NDArray[np.int64],
    values: Values,
    *,
    start_times_ns: NDArray[np.int64] | None = None,
    positions: NDArray[np.uint64] | None = None,
    elevations_mm: NDArray[np.int64] | None = None,
) -> Batch:
    """Series ``i`` (canonical bytes, ``kernels.series``) owns samples
    ``offsets[i]:offsets[i + 1]``.

    Floats, signed and unsigned integers of any width and booleans are stored as float64, int64,
    uint64 and bool; str and bytes as they are. Side columns are as long as the values
    (``kernels.sides`` says what stands for none).
    """
    return _core.decode_columns(
        list(series),
        np.ascontiguousarray(offsets, dtype=np.int64),
        np.ascontiguousarray(times_ns, dtype=np.int64),
        _widened(values),
        start_times_ns=_side(start_times_ns, np.int64),
        positions=_side(positions, np.uint64),
        elevations_mm=_side(elevations_mm, np.int64),
    )


def _side(column: NDArray[Any] | None, dtype: type[np.generic]) -> NDArray[Any] | None:
    return None if column is None else np.ascontiguousarray(column, dtype=dtype)


_WIDEST: dict[str, type[np.generic]] = {"f": np.float64, "i": np.int64, "u": np.uint64}


def _widened(values: Values) -> NDArray[Any] | list[Any]:
    if not isinstance(values, np.ndarray):
        return list(values)
    kind = values.dtype.kind
    if kind in "US":
        return list(values.tolist())
    if kind == "b":
        return np.ascontiguousarray(values)
    if kind not in _WIDEST or values.dtype.itemsize > 8:
        raise Invalid(f"cannot write columns of type {str(values.dtype)!r}: no kind holds it")
    return np.ascontiguousarray(values, dtype=_WIDEST[kind])
