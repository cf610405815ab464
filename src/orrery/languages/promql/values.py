"""What an expression evaluates to, over a whole range of steps at once; used by every evaluator.

A vector is a table: one row a series, one column a step. A scalar is one float64 a step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from orrery.errors import Invalid
from orrery.kernels.label_rows import LabelRows, group_rows, join_rows, take_rows
from orrery.languages.promql.tokens import place
from orrery.model.effects import Labels
from orrery.model.selector import PROMQL_NAME

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indexes = NDArray[np.int64]
Objects = NDArray[np.object_]

# The name and what Prometheus treats as part of it.
NAME_LABELS = frozenset({PROMQL_NAME, "__type__", "__unit__"})
SECOND_NS = 1_000_000_000
STALE_BITS = 0x7FF0000000000002
"""Of the float that says that a series has ended."""
HISTOGRAM_CELLS = 128
"""A histogram takes about as much memory as so many floats."""


class EvaluationError(Invalid):
    """The query is well formed and cannot be answered over this data."""


class Steps(Struct, frozen=True):
    """The times an expression is evaluated at. A ``step_ns`` of 0 goes with one step."""

    start_ns: int
    step_ns: int
    count: int

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.step_ns * (self.count - 1)

    def times_ns(self) -> Indexes:
        return self.start_ns + self.step_ns * np.arange(self.count, dtype=np.int64)

    def seconds(self) -> Floats:
        times = self.times_ns()
        return times // SECOND_NS + (times % SECOND_NS) / SECOND_NS

    def only_first(self) -> "Steps":
        return Steps(self.start_ns, self.step_ns, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Vector:
    """``values`` and ``present`` have shape (series, steps); absent values mean nothing.

    ``histograms`` is None where every present cell is a float. Else it has that shape too, and a
    present cell is the ``histogram.Histogram`` it holds there, a float where it holds None.
    """

    labels: Sequence[Labels]
    values: Floats
    present: Bools
    histograms: Objects | None = None

    def with_values(self, values: Floats) -> "Vector":
        """Of a vector of floats alone."""
        return Vector(self.labels, values, self.present)

    def with_labels(self, labels: Sequence[Labels]) -> "Vector":
        return Vector(labels, self.values, self.present, self.histograms)

    def masked(self, present: Bools) -> "Vector":
        """``present`` marks some of the cells that are there."""
        return Vector(self.labels, self.values, present, self.histograms)

    def is_histogram(self) -> Bools:
        if self.histograms is None:
            return np.zeros(self.present.shape, dtype=np.bool_)
        return self.present & are_held(self.histograms)

    def cell_count(self) -> int:
        """What it takes of ``cells_max``."""
        if self.histograms is None:
            return self.values.size
        return self.values.size + HISTOGRAM_CELLS * int(self.is_histogram().sum())

    def only_floats(self) -> "Vector":
        if self.histograms is None:
            return self
        return Vector(self.labels, self.values, self.present & ~self.is_histogram())

    def rows(self, index: Indexes | Bools) -> "Vector":
        chosen = np.arange(len(self.labels))[index]
        histograms = None if self.histograms is None else self.histograms[chosen]
        labels = take_rows(self.labels, chosen)
        return Vector(labels, self.values[chosen], self.present[chosen], histograms)

    def without_empty_rows(self) -> "Vector":
        used: Bools = np.asarray(self.present.any(axis=1))
        return self if used.all() else self.rows(used)


Value = Vector | Floats | str


def are_held(objects: Objects) -> Bools:
    """Which of them are not None."""
    nothing: Any = None
    return np.asarray(np.not_equal(objects, nothing), dtype=np.bool_)


def empty(steps: Steps) -> Vector:
    shape = (0, steps.count)
    return Vector([], np.zeros(shape), np.zeros(shape, dtype=np.bool_))


def concatenate(parts: list[Vector], steps: Steps) -> Vector:
    if not parts:
        return empty(steps)
    if len(parts) == 1:
        return parts[0]
    labels = join_rows([part.labels for part in parts])
    values = np.concatenate([part.values for part in parts])
    present = np.concatenate([part.present for part in parts])
    return Vector(labels, values, present, join_histograms(parts))


def join_histograms(parts: Sequence[Vector]) -> Objects | None:
    """Those of all parts one below the other; None where no part has any."""
    if all(part.histograms is None for part in parts):
        return None
    columns = [
        np.full(part.values.shape, None) if part.histograms is None else part.histograms
        for part in parts
    ]
    return np.concatenate(columns)


def as_objects(held: Sequence[object]) -> Objects:
    """A column of them, whatever they are."""
    objects = np.full(len(held), None)
    objects[:] = held
    return objects


def broadcast(vector: Vector, count: int) -> Vector:
    shape = (len(vector.labels), count)
    values = np.broadcast_to(vector.values, shape)
    histograms = vector.histograms
    if histograms is not None:
        histograms = np.broadcast_to(histograms, shape)
    return Vector(vector.labels, values, np.broadcast_to(vector.present, shape), histograms)


def drop_name(labels: Labels) -> Labels:
    # Labels are sorted: the name comes first unless another label begins with a capital.
    if labels and labels[0][0] == PROMQL_NAME and not (labels[1:] and labels[1][0][:2] == "__"):
        return labels[1:]
    return tuple(pair for pair in labels if pair[0] not in NAME_LABELS)


def without_names(vector: Vector) -> Vector:
    """The vector without metric names; raises where that makes two series one."""
    labels = with_labels(vector.labels, sorted(NAME_LABELS), without=True)
    return merge_duplicates(vector.with_labels(labels))


def set_labels(labels: Labels, changes: dict[str, str]) -> Labels:
    """``labels`` with ``changes`` applied; an empty value removes a label."""
    merged = {**dict(labels), **changes}
    return tuple(sorted((name, value) for name, value in merged.items() if value))


def column(labels: Sequence[Labels], name: str) -> list[str]:
    """The value of a label in each of ``labels``; empty where it has none."""
    if isinstance(labels, LabelRows):
        return labels.column(name)
    return [dict(one).get(name, "") for one in labels]


def with_column(
    labels: Sequence[Labels], name: str, values: Sequence[str | None]
) -> Sequence[Labels]:
    """A label set in each of ``labels``: None keeps what is there, an empty text removes it."""
    if isinstance(labels, LabelRows):
        return labels.with_column(name, values)
    return [
        old if new is None else set_labels(old, {name: new})
        for old, new in zip(labels, values, strict=True)
    ]


def with_labels(
    labels: Sequence[Labels], names: Sequence[str], *, without: bool
) -> Sequence[Labels]:
    """Each of ``labels`` with only the named ones, or without them."""
    if isinstance(labels, LabelRows):
        return labels.with_labels(names, without=without)
    named = frozenset(names)
    return [tuple(pair for pair in one if (pair[0] in named) != without) for one in labels]


def values_of(labels: Sequence[Labels], label: str) -> Sequence[str]:
    """Distinct values of a label, in the order they are seen."""
    if isinstance(labels, LabelRows):
        return labels.values(label)
    return list(dict.fromkeys(value for one in labels for name, value in one if name == label))


def is_distinct(labels: Sequence[Labels]) -> bool:
    if isinstance(labels, LabelRows):
        return labels.is_distinct()
    return len(set(labels)) == len(labels)


def merge_duplicates(vector: Vector) -> Vector:
    """Rows of equal labels made one, where they are never present at the same step."""
    if is_distinct(vector.labels):
        return vector
    index, groups = group_rows(vector.labels)
    shape = (len(groups), vector.values.shape[1])
    counts = np.zeros(shape, dtype=np.int32)
    np.add.at(counts, index, vector.present)
    if (counts > 1).any():
        raise EvaluationError("vector cannot contain metrics with the same labelset")
    values = np.zeros(shape)
    row, step = np.nonzero(vector.present)
    values[index[row], step] = vector.values[row, step]
    if vector.histograms is None:
        return Vector(groups, values, counts > 0)
    histograms = np.full(shape, None)
    histograms[index[row], step] = vector.histograms[row, step]
    return Vector(groups, values, counts > 0, histograms)


@dataclass(slots=True)
class Notes:
    """The warnings and infos of one query, in the order they arose, each once: as in Prometheus
    one that arises at several places is told of the last."""

    text: str
    warnings: dict[str, str] = field(default_factory=dict)
    infos: dict[str, str] = field(default_factory=dict)

    def warn(self, message: str, start: int) -> None:
        self.warnings[message] = f"PromQL warning: {message} ({place(self.text, start)})"

    def inform(self, message: str, start: int) -> None:
        self.infos[message] = f"PromQL info: {message} ({place(self.text, start)})"


def fail(message: str) -> NoReturn:
    raise EvaluationError(message)
