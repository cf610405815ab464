"""Aggregation over groups of series; ``evaluate`` feeds it batch by batch.

The plain operators keep one running row a group, so that ten thousand series are never held at
once; ``topk`` and its kin keep the rows that may still win; the others need everything.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from orrery.kernels.aggregate import aggregate, pick
from orrery.languages.promql.durations import format_number, format_plain
from orrery.languages.promql.nodes import Aggregation
from orrery.languages.promql.tokens import go_quote
from orrery.languages.promql.values import (
    NAME_LABELS,
    Bools,
    Floats,
    Indexes,
    Steps,
    Vector,
    concatenate,
    empty,
    fail,
    group_index,
    set_labels,
)
from orrery.model.effects import Labels

RUNNING = frozenset({"sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"})
CHOOSING = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
NO_PARAMETER = np.zeros(1)
_COMBINED_BY = {"sum": "sum", "count": "sum", "min": "min", "max": "max", "group": "group"}


def group_key(node: Aggregation) -> Callable[[Labels], Labels]:
    """What names the group of a series."""
    named = frozenset(node.grouping)
    if node.without:
        dropped = named | NAME_LABELS
        return lambda labels: tuple(pair for pair in labels if pair[0] not in dropped)
    return lambda labels: tuple(pair for pair in labels if pair[0] in named)


@dataclass(slots=True)
class Running:
    """An aggregation whose state is a row a group; :meth:`add` takes a batch, in any order."""

    node: Aggregation
    steps: Steps
    groups: dict[Labels, int] = field(default_factory=dict)
    state: dict[str, Vector] = field(default_factory=dict)

    def add(self, batch: Vector) -> None:
        key = group_key(self.node)
        index, keys = group_index([key(labels) for labels in batch.labels])
        parts = {
            name: _aggregate(name, batch, index, keys, NO_PARAMETER)
            for name in self._parts_needed()
        }
        if not self.groups:
            self.groups = {one: number for number, one in enumerate(keys)}
            self.state = parts
            return
        numbers = [self.groups.setdefault(one, len(self.groups)) for one in keys]
        self._combine(parts, np.array(numbers, dtype=np.int64))

    def _parts_needed(self) -> tuple[str, ...]:
        match self.node.operator:
            case "avg":
                return ("avg", "count")
            case "stddev" | "stdvar":
                return ("stdvar", "avg", "count")
            case operator:
                return (operator,)

    def _combine(self, parts: dict[str, Vector], numbers: Indexes) -> None:
        """Adds the groups of one batch to those seen before."""
        if "count" not in parts or len(parts) == 1:
            name = self.node.operator
            self.state = {name: self._stack(name, parts[name], numbers, _COMBINED_BY[name])}
            return
        old = {name: _spread(self.state[name], len(self.groups)) for name in parts}
        new = {name: _placed(parts[name], numbers, len(self.groups)) for name in parts}
        self.state = _combine_moments(old, new)

    def _stack(self, name: str, part: Vector, numbers: Indexes, operation: str) -> Vector:
        before = self.state[name]
        both = concatenate([before, part], self.steps)
        index = np.concatenate([np.arange(len(before.labels)), numbers])
        return _aggregate(operation, both, index, list(self.groups), NO_PARAMETER)

    def result(self) -> Vector:
        if not self.groups:
            return empty(self.steps)
        name = {"stddev": "stdvar"}.get(self.node.operator, self.node.operator)
        found = self.state[name]
        values = np.sqrt(found.values) if self.node.operator == "stddev" else found.values
        return Vector(list(self.groups), values, found.present).without_empty_rows()


def _aggregate(
    operation: str, batch: Vector, index: Indexes, keys: list[Labels], parameter: Floats
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


def _spread(vector: Vector, group_count: int) -> Vector:
    return _placed(vector, np.arange(len(vector.labels)), group_count)


def _placed(vector: Vector, numbers: Indexes, group_count: int) -> Vector:
    """The rows of ``vector`` at ``numbers`` of a table of ``group_count`` rows, else absent."""
    shape = (group_count, vector.values.shape[1])
    values, present = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
    values[numbers] = np.where(vector.present, vector.values, 0.0)
    present[numbers] = vector.present
    return Vector([()] * group_count, values, present)


def _combine_moments(old: dict[str, Vector], new: dict[str, Vector]) -> dict[str, Vector]:
    """Means and variances of two disjoint sets made one (Chan, Golub, LeVeque)."""
    present = old["count"].present | new["count"].present
    count_old, count_new = old["count"].values, new["count"].values
    count = count_old + count_new
    with np.errstate(all="ignore"):
        share_old, share_new = count_old / count, count_new / count
        mean_old, mean_new = old["avg"].values, new["avg"].values
        finite = np.isfinite(mean_old) & np.isfinite(mean_new)
        weighted = mean_old * share_old + mean_new * share_new
        mean = np.where(finite, weighted, mean_old + mean_new)
        state = {"count": count, "avg": mean}
        if "stdvar" in old:
            between = (mean_new - mean_old) ** 2 * share_old * share_new
            within = old["stdvar"].values * share_old + new["stdvar"].values * share_new
            state["stdvar"] = within + between
    keys = [()] * len(present)
    return {name: Vector(list(keys), values, present) for name, values in state.items()}


# --- quantile and count_values


def quantile(node: Aggregation, vector: Vector, levels: Floats, steps: Steps) -> Vector:
    key = group_key(node)
    index, keys = group_index([key(labels) for labels in vector.labels])
    if not keys:
        return empty(steps)
    return _aggregate("quantile", vector, index, keys, levels)


def count_values(node: Aggregation, vector: Vector, label: str, *, cells_max: int) -> Vector:
    if not label or any("\ud800" <= character <= "\udfff" for character in label):
        fail(f"invalid label name {go_quote(label)}")
    key = group_key(node)
    index, keys = group_index([key(labels) for labels in vector.labels])
    row, step = np.nonzero(vector.present)
    values = vector.values[row, step]
    distinct, number = np.unique(values, return_inverse=True)
    cells, cell = np.unique(index[row] * max(1, len(distinct)) + number, return_inverse=True)
    if len(cells) * vector.values.shape[1] > cells_max:
        fail(f"count_values gives {len(cells)} series: more cells than cells_max {cells_max}")
    counts = np.zeros((len(cells), vector.values.shape[1]))
    np.add.at(counts, (cell, step), 1.0)
    labels = []
    for one in cells.tolist():
        group, value = divmod(one, len(distinct))
        labels.append(set_labels(keys[group], {label: format_plain(float(distinct[value]))}))
    index, groups = group_index(labels)
    merged = np.zeros((len(groups), counts.shape[1]))
    np.add.at(merged, index, counts)
    return Vector(groups, merged, merged > 0)


# --- topk, bottomk, limitk, limit_ratio


@dataclass(slots=True)
class Choosing:
    """An aggregation that hands on some rows of each group; only those that may win are kept."""

    node: Aggregation
    parameter: Floats
    steps: Steps
    kept: Vector | None = None

    def add(self, batch: Vector) -> None:
        parts = [batch] if self.kept is None else [self.kept, batch]
        joined = concatenate(parts, self.steps)
        key = group_key(self.node)
        index, _ = group_index([key(labels) for labels in joined.labels])
        chosen = self._choose(joined, index)
        self.kept = Vector(joined.labels, joined.values, chosen).without_empty_rows()

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
        key = group_key(self.node)
        groups, _ = group_index([key(labels) for labels in vector.labels])
        ranked = _rank_key(self.node.operator, vector.values[:, 0])
        return np.lexsort((ranked, np.isnan(ranked), groups))


def _rank_key(operator: str, values: Floats) -> Floats:
    return -values if operator == "topk" else values


def chosen_by_ratio(labels: list[Labels], ratios: Floats) -> Bools:
    """A share of the series told by a hash of their labels; a negative ratio is the complement."""
    places = np.array([place_of(one) for one in labels]).reshape(-1, 1)
    lower = (ratios >= 0) & (places < ratios)
    return np.where(ratios >= 1, True, np.where(ratios >= 0, lower, places >= 1 + ratios))


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
