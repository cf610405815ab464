"""Binary operators between vectors, over all steps at once; ``evaluate`` calls them.

Rows are paired by their matching labels once; the arithmetic then runs on whole tables. Errors
about ambiguous matches depend on what is present at each step, as in Prometheus.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from orrery.kernels.label_rows import group_rows, join_rows
from orrery.languages.promql.histogram_binary import Cells, Combined, combine
from orrery.languages.promql.nodes import COMPARISONS, Binary, Card, Matching
from orrery.languages.promql.tokens import go_quote
from orrery.languages.promql.values import (
    NAME_LABELS,
    Bools,
    EvaluationError,
    Floats,
    Indexes,
    Notes,
    Vector,
    as_objects,
    drop_name,
    fail,
    join_histograms,
    merge_duplicates,
    with_labels,
)
from orrery.model.effects import Labels

_ARITHMETIC: dict[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
    "atan2": np.arctan2,
}
_COMPARE: dict[str, Callable[[Floats, Floats], Bools]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}


def scalars(operator: str, left: Floats, right: Floats) -> Floats:
    """Between two scalars; comparisons give 0 and 1."""
    if operator in COMPARISONS:
        return _COMPARE[operator](left, right).astype(np.float64)
    return _ARITHMETIC[operator](left, right)


def with_scalar(
    node: Binary, vector: Vector, scalar: Floats, notes: Notes, *, vector_is_left: bool
) -> Vector:
    """Between a vector and a scalar; a comparison filters and keeps the vector's values."""
    if vector.histograms is not None:
        scalars = np.broadcast_to(scalar, vector.values.shape)
        own, other = Cells(vector.values, vector.histograms), Cells(scalars, None)
        left_cells, right_cells = (own, other) if vector_is_left else (other, own)
        found = combine(node, left_cells, right_cells, vector.is_histogram(), notes)
        floats = with_scalar(
            node, vector.only_floats(), scalar, notes, vector_is_left=vector_is_left
        )
        return overlaid(floats, found, return_bool=node.return_bool)
    left, right = (vector.values, scalar) if vector_is_left else (scalar, vector.values)
    if node.operator not in COMPARISONS:
        return vector.with_values(_ARITHMETIC[node.operator](left, right))
    holds = _COMPARE[node.operator](left, right)
    if node.return_bool:
        return vector.with_values(holds.astype(np.float64))
    return vector.masked(vector.present & holds)


def overlaid(floats: Vector, found: Combined, *, return_bool: bool) -> Vector:
    """The result between floats, with what histograms gave in other cells."""
    if return_bool:
        values = np.where(found.compared, found.present.astype(np.float64), floats.values)
        return Vector(floats.labels, values, floats.present | found.compared)
    return Vector(floats.labels, floats.values, floats.present | found.present, found.histograms)


def scaled(vector: Vector, factor: float) -> Vector:
    floats = vector.only_floats().with_values(vector.values * factor)
    if vector.histograms is None:
        return floats
    histograms = np.full(vector.values.shape, None)
    is_histogram = vector.is_histogram()
    held = vector.histograms[is_histogram].tolist()
    histograms[is_histogram] = as_objects([one.multiplied(factor) for one in held])
    return Vector(vector.labels, floats.values, vector.present, histograms)


def keeps_name(operator: str, *, return_bool: bool) -> bool:
    return operator in COMPARISONS and not return_bool


def match_keys(labels: Sequence[Labels], matching: Matching) -> Sequence[Labels]:
    """The labels that series must share to pair up, for each of ``labels``."""
    if matching.on:
        return with_labels(labels, matching.labels, without=False)
    return with_labels(labels, [*matching.labels, *NAME_LABELS], without=True)


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Both sides with the number of the match group of each row; the many side first."""

    many: Vector
    one: Vector
    many_groups: Indexes
    one_groups: Indexes
    keys: Sequence[Labels]
    swapped: bool


def _sides(left: Vector, right: Vector, matching: Matching) -> Sides:
    swapped = matching.card is Card.ONE_TO_MANY
    many, one = (right, left) if swapped else (left, right)
    keys = match_keys(join_rows([many.labels, one.labels]), matching)
    index, groups = group_rows(keys)
    count = len(many.labels)
    return Sides(many, one, index[:count], index[count:], groups, swapped)


def any_of_group(present: Bools, groups: Indexes, group_count: int) -> Bools:
    """For each group and step whether a row of the group is present."""
    found = np.zeros((group_count, present.shape[1]), dtype=np.bool_)
    np.logical_or.at(found, groups, present)
    return found


def _filled(sides: Sides, matching: Matching) -> Sides:
    """Both sides with rows of fill values for the groups and steps only the other side has.

    As in Prometheus ``fill_left`` is for the many side, also where group_right puts it right.
    """
    fill_many, fill_one = matching.fill_left, matching.fill_right
    count = len(sides.keys)
    with_many = any_of_group(sides.many.present, sides.many_groups, count)
    with_one = any_of_group(sides.one.present, sides.one_groups, count)
    many, one = sides.many, sides.one
    many_groups, one_groups = sides.many_groups, sides.one_groups
    if fill_many is not None:
        many = _with_fill_rows(many, sides.keys, fill_many, with_one & ~with_many)
        many_groups = np.concatenate([many_groups, np.arange(count)])
    if fill_one is not None:
        one = _with_fill_rows(one, sides.keys, fill_one, with_many & ~with_one)
        one_groups = np.concatenate([one_groups, np.arange(count)])
    return Sides(many, one, many_groups, one_groups, sides.keys, sides.swapped)


def _with_fill_rows(vector: Vector, keys: Sequence[Labels], fill: float, missing: Bools) -> Vector:
    filled = Vector(keys, np.full(missing.shape, fill), missing)
    values = np.concatenate([vector.values, filled.values])
    present = np.concatenate([vector.present, missing])
    histograms = join_histograms([vector, filled])
    return Vector([*vector.labels, *keys], values, present, histograms)


# --- set operators


def set_operation(operator: str, left: Vector, right: Vector, matching: Matching) -> Vector:
    sides = _sides(left, right, matching)
    count = len(sides.keys)
    if operator == "or":
        taken = any_of_group(left.present, sides.many_groups, count)[sides.one_groups]
        labels = join_rows([left.labels, right.labels])
        values = np.concatenate([left.values, right.values])
        present = np.concatenate([left.present, right.present & ~taken])
        joined = Vector(labels, values, present, join_histograms([left, right]))
        return merge_duplicates(joined.without_empty_rows())
    found = any_of_group(right.present, sides.one_groups, count)[sides.many_groups]
    present = left.present & (found if operator == "and" else ~found)
    return left.masked(present).without_empty_rows()


# --- arithmetic and comparison


def vectors(node: Binary, left: Vector, right: Vector, notes: Notes) -> Vector:
    matching = node.matching
    sides = _filled(_sides(left, right, matching), matching)
    _refuse_ambiguous_one_side(sides)
    if matching.card is Card.ONE_TO_ONE:
        _refuse_ambiguous_many_side(sides)
    many_rows, one_rows = _pairs(sides)
    many, one = sides.many.rows(many_rows), sides.one.rows(one_rows)
    found = between(node, *((one, many) if sides.swapped else (many, one)), notes)
    keep = keeps_name(node.operator, return_bool=node.return_bool)
    labels = [
        result_labels(one_many, one_one, matching, keep_name=keep)
        for one_many, one_one in zip(many.labels, one.labels, strict=True)
    ]
    return _merge_pairs(found.with_labels(labels).without_empty_rows(), matching)


def between(node: Binary, left: Vector, right: Vector, notes: Notes) -> Vector:
    """Row by row and step by step, where both sides have something; a comparison keeps the left."""
    present = left.present & right.present
    if left.histograms is not None or right.histograms is not None:
        asked = present & (left.is_histogram() | right.is_histogram())
        left_cells = Cells(left.values, left.histograms)
        right_cells = Cells(right.values, right.histograms)
        found = combine(node, left_cells, right_cells, asked, notes)
        floats = between(node, left.only_floats(), right.only_floats(), notes)
        return overlaid(floats, found, return_bool=node.return_bool)
    if node.operator not in COMPARISONS:
        values = _ARITHMETIC[node.operator](left.values, right.values)
        return Vector(left.labels, values, present)
    holds = _COMPARE[node.operator](left.values, right.values)
    if node.return_bool:
        return Vector(left.labels, holds.astype(np.float64), present)
    return Vector(left.labels, left.values, present & holds)


def _merge_pairs(result: Vector, matching: Matching) -> Vector:
    try:
        return merge_duplicates(result)
    except EvaluationError:
        if matching.card is Card.ONE_TO_ONE:
            raise
        fail("multiple matches for labels: grouping labels must ensure unique matches")


def result_labels(many: Labels, one: Labels, matching: Matching, *, keep_name: bool) -> Labels:
    labels = many if keep_name else drop_name(many)
    named = frozenset(matching.labels)
    if matching.card is Card.ONE_TO_ONE:
        if matching.on:
            return tuple(pair for pair in labels if pair[0] in named)
        return tuple(pair for pair in labels if pair[0] not in named)
    if not matching.include:
        return labels
    offered = dict(one)
    taken = {name: offered.get(name, "") for name in matching.include}
    merged = {**dict(labels), **taken}
    return tuple(sorted((name, value) for name, value in merged.items() if value))


def _pairs(sides: Sides) -> tuple[Indexes, Indexes]:
    """Every pair of rows of one group that share a step."""
    rows_of: dict[int, list[int]] = {}
    for row, group in enumerate(sides.one_groups.tolist()):
        rows_of.setdefault(group, []).append(row)
    many_rows: list[int] = []
    one_rows: list[int] = []
    for row, group in enumerate(sides.many_groups.tolist()):
        candidates = rows_of.get(group, [])
        if len(candidates) > 1:
            shared = (sides.one.present[candidates] & sides.many.present[row]).any(axis=1)
            candidates = np.array(candidates)[shared].tolist()
        many_rows.extend([row] * len(candidates))
        one_rows.extend(candidates)
    return np.array(many_rows, dtype=np.int64), np.array(one_rows, dtype=np.int64)


def _crowded(present: Bools, groups: Indexes, group_count: int) -> tuple[int, int] | None:
    """The first step, and its group, at which two rows of one group are present."""
    sizes = np.bincount(groups, minlength=group_count)
    if not (sizes > 1).any():
        return None
    counts = np.zeros((group_count, present.shape[1]), dtype=np.int32)
    np.add.at(counts, groups, present)
    step, group = np.nonzero(counts.T > 1)
    return (int(step[0]), int(group[0])) if len(step) else None


def _refuse_ambiguous_one_side(sides: Sides) -> None:
    # Prometheus does not look at steps where nothing could match.
    live = sides.many.present.any(axis=0)
    found = _crowded(sides.one.present & live, sides.one_groups, len(sides.keys))
    if found is None:
        return
    step, group = found
    rows = np.nonzero((sides.one_groups == group) & sides.one.present[:, step])[0][:2].tolist()
    shown = ", ".join(format_labels(labels) for labels in sorted(sides.one.labels[r] for r in rows))
    side = "left" if sides.swapped else "right"
    fail(
        f"found duplicate series for the match group {format_labels(sides.keys[group])} on the "
        f"{side} hand-side of the operation: [{shown}];many-to-many matching not allowed: "
        "matching labels must be unique on one side"
    )


def _refuse_ambiguous_many_side(sides: Sides) -> None:
    count = len(sides.keys)
    matched = any_of_group(sides.one.present, sides.one_groups, count)[sides.many_groups]
    if _crowded(sides.many.present & matched, sides.many_groups, count) is not None:
        fail(
            "multiple matches for labels: many-to-one matching must be explicit "
            "(group_left/group_right)"
        )


def format_labels(labels: Labels) -> str:
    """A label set as errors show it, every label inside the braces."""
    return "{" + ", ".join(f"{name}={go_quote(value)}" for name, value in labels) + "}"
