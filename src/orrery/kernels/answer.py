"""The ``result`` of Prometheus' query API as JSON bytes; called by ``protocols.prometheus``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orrery import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from orrery.model.effects import Labels


Held = tuple[Sequence[int], Sequence[int], Sequence[bytes]]
"""Rows, times in milliseconds and JSON objects of histograms, by rising row and time."""

NOTHING_HELD: Held = ((), (), ())


def matrix_json(
    labels: "Sequence[Labels]",
    start_ms: int,
    step_ms: int,
    values: "NDArray[np.float64]",
    present: "NDArray[np.bool_]",
    held: Held = NOTHING_HELD,
) -> bytes:
    """``[{"metric":{..},"values":[[t,"v"],..]},..]``; series without a point are left out.

    Histograms follow as ``"histograms":[[t,{..}],..]``."""
    return _core.matrix_json(
        labels,
        start_ms,
        step_ms,
        np.ascontiguousarray(values, dtype=np.float64),
        np.ascontiguousarray(present, dtype=np.bool_),
        held,
    )


def samples_json(
    labels: "Sequence[Labels]",
    offsets: "NDArray[np.int64]",
    times_ns: "NDArray[np.int64]",
    values: "NDArray[np.float64]",
    held: Held = NOTHING_HELD,
) -> bytes:
    """As :func:`matrix_json`, of raw samples: series ``i`` owns ``offsets[i]..offsets[i + 1]``."""
    return _core.samples_json(
        labels,
        np.ascontiguousarray(offsets, dtype=np.int64),
        np.ascontiguousarray(times_ns, dtype=np.int64),
        np.ascontiguousarray(values, dtype=np.float64),
        held,
    )


def vector_json(
    labels: "Sequence[Labels]",
    time_ms: int,
    values: "NDArray[np.float64]",
    present: "NDArray[np.bool_]",
    held: Held = NOTHING_HELD,
) -> bytes:
    """``[{"metric":{..},"value":[t,"v"]},..]`` of one step; absent series are left out."""
    return _core.vector_json(
        labels,
        time_ms,
        np.ascontiguousarray(values, dtype=np.float64),
        np.ascontiguousarray(present, dtype=np.bool_),
        held,
    )


def scalar_json(time_ms: int, value: float) -> bytes:
    """``[t,"v"]``"""
    return _core.scalar_json(time_ms, value)
