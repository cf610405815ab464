"""The answer of a query, as ``evaluate`` hands it to ``query/run`` and the wires."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from orrery.kernels.label_rows import order_rows
from orrery.languages.promql.values import Bools, Floats, Indexes, Vector
from orrery.model.effects import Labels, SampleFrames

STALE_BITS = 0x7FF0000000000002


class Result(Struct, frozen=True, eq=False):
    """The answer of a query. ``values`` and ``present`` are (series, steps) over ``times_ns``.

    A scalar is one unlabelled row; a string is ``text``. A range vector asked for at one instant
    is a matrix whose raw samples are ``samples``, each series with times of its own.
    """

    kind: str
    labels: Sequence[Labels]
    times_ns: Indexes
    values: Floats
    present: Bools
    text: str | None = None
    samples: SampleFrames | None = None
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()


def by_labels(vector: Vector) -> Vector:
    return vector.rows(order_rows(vector.labels))


def join_samples(batches: list[SampleFrames]) -> SampleFrames:
    """The batches as one, in the order of labels, without staleness markers or empty series."""
    found: list[tuple[Labels, Indexes, Floats]] = []
    for batch in batches:
        for row, labels in enumerate(batch.labels):
            part = slice(int(batch.offsets[row]), int(batch.offsets[row + 1]))
            values = batch.values[part]
            live = values.view(np.int64) != STALE_BITS
            if live.any():
                found.append((labels, batch.times_ns[part][live], values[live]))
    found.sort(key=lambda one: one[0])
    counts = [len(times) for _, times, _ in found]
    return SampleFrames(
        tuple(labels for labels, _, _ in found),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([times for _, times, _ in found] or [np.zeros(0, dtype=np.int64)]),
        np.concatenate([values for _, _, values in found] or [np.zeros(0)]),
    )
