"""The answer of a query, as ``evaluate`` hands it to ``query/run`` and the wires."""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from orrery.kernels.label_rows import order_rows
from orrery.languages.promql.values import STALE_BITS, Bools, Floats, Indexes, Objects, Vector
from orrery.model.effects import Labels, Mixed, SampleFrames


class Result(Struct, frozen=True, eq=False):
    """The answer of a query. ``values`` and ``present`` are (series, steps) over ``times_ns``.

    A scalar is one unlabelled row; a string is ``text``. A range vector asked for at one instant
    is a matrix whose raw samples are ``samples``, each series with times of its own. Of cells that
    are histograms ``histograms`` has them, as a ``Vector`` does.
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
    histograms: Objects | None = None


def by_labels(vector: Vector) -> Vector:
    return vector.rows(order_rows(vector.labels))


def join_samples(batches: list[SampleFrames]) -> SampleFrames:
    """The batches as one, in the order of labels, without staleness markers or empty series."""
    found: list[tuple[Labels, Indexes, Floats, Mixed | None]] = []
    for batch in batches:
        for row, labels in enumerate(batch.labels):
            part = slice(int(batch.offsets[row]), int(batch.offsets[row + 1]))
            values = batch.values[part]
            live = values.view(np.int64) != STALE_BITS
            mixed = batch.mixed.get(row)
            if live.any() or mixed is not None:
                found.append((labels, batch.times_ns[part][live], values[live], mixed))
    found.sort(key=lambda one: one[0])
    counts = [len(times) for _, times, _, _ in found]
    return SampleFrames(
        tuple(labels for labels, _, _, _ in found),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([times for _, times, _, _ in found] or [np.zeros(0, dtype=np.int64)]),
        np.concatenate([values for _, _, values, _ in found] or [np.zeros(0)]),
        mixed={row: mixed for row, (_, _, _, mixed) in enumerate(found) if mixed is not None},
    )
