"""Aggregation over groups of series; ``evaluate`` feeds it batch by batch.

The plain operators keep one running row a group, so that ten thousand series are never held at
once; ``topk`` and its kin keep the rows that may still win; the others need everything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from orrery.kernels.aggregate import aggregate, pick
from orrery.kernels.label_rows import join_rows
from orrery.languages.promql.durations import format_number, format_plain
from orrery.languages.promql.nodes import Aggregation
from orrery.languages.promql.tokens import go_quote, is_utf8
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
    with_labels,
)
from orrery.model.effects import Labels

RUNNING = frozenset({"sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"})
CHOOSING = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
NO_PARAMETER = np.zeros(1)
# NaN yields to any number.
_COMBINED_BY: dict[str, Callable[[Floats, Floats], Floats]] = {
    "sum": np.add,
    "count": np.add,
    "min": np.fmin,
    "max": np.fmax,
    "group": np.fmax,
}


def grouped(labels: Sequence[Labels], node: Aggregation) -> tuple[Indexes, Sequence[Labels]]:
    """For each series the number of its group, and what names each group."""
    names = [*node.grouping, *NAME_LABELS] if node.without else node.grouping
    return group_index(with_labels(labels, names, without=node.without))


@dataclass(slots=True, eq=False)
class Table:
    """Rows of steps that grow in number; doubled, so that a row is copied few times."""

    values: Floats
    present: Bools

    @classmethod
    def empty(cls, step_count: int) -> "Table":
        return cls(np.zeros((0, step_count)), np.zeros((0, step_count), dtype=np.bool_))

    def grow(self, count: int) -> None:
        held, step_count = self.values.shape
        if count <= held:
            return
        added = (max(count, 2 * held) - held, step_count)
        self.values = np.concatenate([self.values, np.zeros(added)])
        self.present = np.concatenate([self.present, np.zeros(added, dtype=np.bool_)])


@dataclass(slots=True)
class Running:
    """An aggregation whose state is a row a group; :meth:`add` takes a batch, in any order."""

    node: Aggregation
    steps: Steps
    groups: Sequence[Labels] = ()
    state: dict[str, Table] = field(default_factory=dict)

    def add(self, batch: Vector) -> None:
        if not batch.labels:
            return
        index, keys = grouped(batch.labels, self.node)
        parts = {
            name: _aggregate(name, batch, index, keys, NO_PARAMETER)
            for name in self._parts_needed()
        }
        rows = self._rows_of(keys)
        for name in parts:
            self.state.setdefault(name, Table.empty(self.steps.count)).grow(len(self.groups))
        self._combine(parts, rows)

    def _rows_of(self, keys: Sequence[Labels]) -> Indexes:
        """The rows of these groups, which are distinct; the table gets room for new ones."""
        held = len(self.groups)
        if not held:
            self.groups = keys
            return np.arange(len(keys), dtype=np.int64)
        index, self.groups = group_index(join_rows([self.groups, keys]))
        return index[held:]

    def _parts_needed(self) -> tuple[str, ...]:
        match self.node.operator:
            case "avg":
                return ("avg", "count")
            case "stddev" | "stdvar":
                return ("stdvar", "avg", "count")
            case operator:
                return (operator,)

    def _combine(self, parts: dict[str, Vector], rows: Indexes) -> None:
        """Adds the groups of one batch to those seen before, touching no other rows."""
        old = {name: self.state[name].values[rows] for name in parts}
        new = {name: np.where(part.present, part.values, 0.0) for name, part in parts.items()}
        before = self.state[next(iter(parts))].present[rows]
        arrived = next(iter(parts.values())).present
        with np.errstate(all="ignore"):
            combine = _COMBINED_BY.get(self.node.operator)
            if combine is None:
                both = _combine_moments(old, new)
            else:
                both = {name: combine(old[name], new[name]) for name in parts}
        for name, table in self.state.items():
            alone = np.where(arrived, new[name], old[name])
            table.values[rows] = np.where(before & arrived, both[name], alone)
            table.present[rows] = before | arrived

    def result(self) -> Vector:
        if not self.groups:
            return empty(self.steps)
        name = {"stddev": "stdvar"}.get(self.node.operator, self.node.operator)
        count = len(self.groups)
        values, present = self.state[name].values[:count], self.state[name].present[:count]
        values = np.sqrt(values) if self.node.operator == "stddev" else values
        return Vector(self.groups, values, present).without_empty_rows()


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


def _combine_moments(old: dict[str, Floats], new: dict[str, Floats]) -> dict[str, Floats]:
    """Means and variances of two disjoint sets made one (Chan, Golub, LeVeque)."""
    count = old["count"] + new["count"]
    share_old, share_new = old["count"] / count, new["count"] / count
    mean_old, mean_new = old["avg"], new["avg"]
    # Adding the difference keeps equal means as they are; infinities have no difference.
    step = mean_old + (mean_new - mean_old) * share_new
    finite = np.isfinite(mean_old) & np.isfinite(mean_new) & np.isfinite(step)
    weighted = mean_old * share_old + mean_new * share_new
    state = {"count": count, "avg": np.where(finite, step, weighted)}
    if "stdvar" in old:
        between = (mean_new - mean_old) ** 2 * share_old * share_new
        state["stdvar"] = old["stdvar"] * share_old + new["stdvar"] * share_new + between
    return state


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
    values = vector.values[row, step]
    # By their bits: the label of -0 is not that of 0.
    bits, number = np.unique(values.view(np.int64), return_inverse=True)
    distinct = bits.view(np.float64)
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
        if not batch.labels:
            return
        parts = [batch] if self.kept is None else [self.kept, batch]
        joined = concatenate(parts, self.steps)
        index, _ = grouped(joined.labels, self.node)
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
