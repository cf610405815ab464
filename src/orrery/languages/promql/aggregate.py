"""Aggregation over groups of series; ``evaluate`` feeds it batch by batch.

The plain operators keep one running row a group, so that ten thousand series are never held at
once; ``topk`` and its kin keep the rows that may still win; the others need everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from orrery.kernels.aggregate import Folding, aggregate, groups, pick
from orrery.kernels.label_rows import group_rows, join_rows
from orrery.languages.promql import histogram_notes
from orrery.languages.promql.durations import format_number, format_plain
from orrery.languages.promql.histogram_aggregate import ADDING, HeldHistograms
from orrery.languages.promql.nodes import Aggregation
from orrery.languages.promql.tokens import go_quote, is_utf8
from orrery.languages.promql.values import (
    NAME_LABELS,
    Bools,
    Floats,
    Indexes,
    Notes,
    Steps,
    Vector,
    are_held,
    concatenate,
    empty,
    fail,
    set_labels,
    with_labels,
)
from orrery.model.effects import Labels

RUNNING = frozenset({"sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"})
CHOOSING = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
COUNTING = frozenset({"count", "group"})
"""These look at no value: histograms count as floats do."""
RANKING = frozenset({"topk", "bottomk"})


def grouped(labels: Sequence[Labels], node: Aggregation) -> tuple[Indexes, Sequence[Labels]]:
    """For each series the number of its group, and what names each group."""
    names = [*node.grouping, *NAME_LABELS] if node.without else node.grouping
    return group_rows(with_labels(labels, names, without=node.without))


class Running:
    """An aggregation whose state is a row a group; :meth:`add` takes the rows batch by batch.

    Where batches are cut does not change the answer."""

    def __init__(self, node: Aggregation, steps: Steps, notes: Notes) -> None:
        self.node = node
        self.steps = steps
        self.notes = notes
        self.groups: Sequence[Labels] = ()
        self.folding = Folding(node.operator, steps.count)
        self.held = HeldHistograms()

    def add(self, batch: Vector) -> None:
        if not batch.labels:
            return
        index, keys = grouped(batch.labels, self.node)
        held = len(self.groups)
        if held:
            numbers, self.groups = group_rows(join_rows([self.groups, keys]))
            index = numbers[held:][index]
        else:
            self.groups = keys
        present = batch.present
        if batch.histograms is not None and self.node.operator not in COUNTING:
            if self.node.operator in ADDING:
                self.held.add(batch, index)
                present = batch.only_floats().present
            else:
                present = floats_alone(self.node, batch, self.notes).present
        self.folding.add(
            np.ascontiguousarray(batch.values),
            np.ascontiguousarray(present),
            groups(index),
            len(self.groups),
        )

    def result(self) -> Vector:
        if not self.groups:
            return empty(self.steps)
        values, present = self.folding.result()
        found = self.held.laid_over(Vector(self.groups, values, present), self.node, self.notes)
        return found.without_empty_rows()


def floats_alone(node: Aggregation, vector: Vector, notes: Notes) -> Vector:
    """Without the histograms, which the operator leaves out, and says so."""
    if vector.histograms is not None and vector.is_histogram().any():
        notes.inform(histogram_notes.ignored_in(node.operator), node.expression.start)
    return vector.only_floats()


def _aggregate(
    operation: str, batch: Vector, index: Indexes, keys: Sequence[Labels], parameter: Floats
) -> Vector:
    values, present = aggregate(
        operation,
        np.ascontiguousarray(batch.values),
        np.ascontiguousarray(batch.present),
        index,
        len(keys),
        np.ascontiguousarray(parameter),
    )
    return Vector(keys, values, present)


# --- quantile and count_values


def quantile(node: Aggregation, vector: Vector, levels: Floats, steps: Steps) -> Vector:
    index, keys = grouped(vector.labels, node)
    if not keys:
        return empty(steps)
    return _aggregate("quantile", vector, index, keys, levels)


def count_values(node: Aggregation, vector: Vector, label: str, *, cells_max: int) -> Vector:
    if not label or not is_utf8(label):
        fail(f"invalid label name {go_quote(label)}")
    index, keys = grouped(vector.labels, node)
    row, step = np.nonzero(vector.present)
    distinct, number = distinct_values(vector, row, step)
    cells, cell = np.unique(index[row] * max(1, len(distinct)) + number, return_inverse=True)
    if len(cells) * vector.values.shape[1] > cells_max:
        fail(f"count_values gives {len(cells)} series: more cells than cells_max {cells_max}")
    counts = np.zeros((len(cells), vector.values.shape[1]))
    np.add.at(counts, (cell, step), 1.0)
    labels = []
    for one in cells.tolist():
        group, value = divmod(one, len(distinct))
        labels.append(set_labels(keys[group], {label: distinct[value]}))
    index, groups = group_rows(labels)
    merged = np.zeros((len(groups), counts.shape[1]))
    np.add.at(merged, index, counts)
    return Vector(groups, merged, merged > 0)


def distinct_values(vector: Vector, row: Indexes, step: Indexes) -> tuple[list[str], Indexes]:
    """The values of the cells as texts, each once, and which of them each cell has."""
    # By their bits: the label of -0 is not that of 0.
    bits, number = np.unique(vector.values[row, step].view(np.int64), return_inverse=True)
    texts = [format_plain(value) for value in bits.view(np.float64).tolist()]
    if vector.histograms is None:
        return texts, number
    numbers = {text: at for at, text in enumerate(texts)}
    held = vector.histograms[row, step]
    for cell in np.nonzero(are_held(held))[0].tolist():
        number[cell] = numbers.setdefault(str(held[cell]), len(numbers))
    return list(numbers), number


# --- topk, bottomk, limitk, limit_ratio


@dataclass(slots=True)
class Choosing:
    """An aggregation that hands on some rows of each group; only those that may win are kept."""

    node: Aggregation
    parameter: Floats
    steps: Steps
    notes: Notes
    kept: Vector | None = None

    def add(self, batch: Vector) -> None:
        if not batch.labels:
            return
        if self.node.operator in RANKING:
            batch = floats_alone(self.node, batch, self.notes)
        parts = [batch] if self.kept is None else [self.kept, batch]
        joined = concatenate(parts, self.steps)
        index, _ = grouped(joined.labels, self.node)
        chosen = self._choose(joined, index)
        self.kept = joined.masked(chosen).without_empty_rows()

    def _choose(self, vector: Vector, groups: Indexes) -> Bools:
        if self.node.operator == "limit_ratio":
            return vector.present & chosen_by_ratio(vector.labels, self.parameter)
        return pick(
            self.node.operator,
            np.ascontiguousarray(vector.values),
            np.ascontiguousarray(vector.present),
            groups,
            int(groups.max(initial=-1)) + 1,
            np.ascontiguousarray(self.parameter),
        )

    def result(self) -> Vector:
        if self.kept is None:
            return empty(self.steps)
        if self.steps.count != 1 or self.node.operator not in ("topk", "bottomk"):
            return self.kept
        return self.kept.rows(self._order(self.kept))

    def _order(self, vector: Vector) -> Indexes:
        """Group by group, best first: the order of an instant query's answer."""
        groups, _ = grouped(vector.labels, self.node)
        ranked = _rank_key(self.node.operator, vector.values[:, 0])
        return np.lexsort((ranked, np.isnan(ranked), groups))


def _rank_key(operator: str, values: Floats) -> Floats:
    return -values if operator == "topk" else values


def chosen_by_ratio(labels: Sequence[Labels], ratios: Floats) -> Bools:
    """A share of the series told by a hash of their labels; a negative ratio is the complement."""
    places = np.array([place_of(one) for one in labels]).reshape(-1, 1)
    lower = (ratios >= 0) & (places < ratios)
    upper = (ratios < 0) & (places >= 1 + ratios)
    chosen: Bools = (ratios >= 1) | lower | upper
    return chosen


def place_of(labels: Labels) -> float:
    """A number in [0, 1) that depends on the labels alone."""
    encoded = b"\xff".join(part.encode() for pair in labels for part in pair)
    return int.from_bytes(blake2b(encoded, digest_size=6).digest(), "big") / (1 << 48)


def counts_of(parameter: Floats) -> Floats:
    """``k`` of topk and its kin at each step: whole, never negative; refuses what is no count."""
    if np.isnan(parameter).any():
        fail("Parameter value is NaN")
    for bound, word in ((-(2.0**63), "underflows"), (2.0**63, "overflows")):
        wrong = parameter < bound if bound < 0 else parameter >= bound
        for value in parameter[wrong][:1]:
            fail(f"Scalar value {format_number(float(value))} {word} int64")
    return np.maximum(np.trunc(parameter), 0)
