"""Binary operators where one operand at least is a native histogram; ``binary`` calls it for the
cells that floats do not settle."""

from dataclasses import dataclass

import numpy as np

from orrery.languages.promql import histogram_notes
from orrery.languages.promql.histogram import Histogram, Incompatible, Sum, added, subtracted
from orrery.languages.promql.nodes import Binary
from orrery.languages.promql.values import Bools, Floats, Notes, Objects

Operand = float | Histogram
EQUALITY = frozenset({"==", "!="})
"""The only comparisons between histograms."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """A table of operands: histograms, and floats where there is None."""

    values: Floats
    histograms: Objects | None

    def at(self, row: int, step: int) -> Operand:
        held = None if self.histograms is None else self.histograms[row, step]
        return float(self.values[row, step]) if held is None else held


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """Results of the cells that were asked for; a comparison has kept those it holds for.
    ``compared`` marks the cells that could be compared at all."""

    present: Bools
    histograms: Objects
    compared: Bools


def combine(node: Binary, left: Cells, right: Cells, asked: Bools, notes: Notes) -> Combined:
    """Histograms at the cells ``asked`` marks: where a result is a histogram, it is there."""
    present = np.zeros(asked.shape, dtype=np.bool_)
    compared = np.zeros(asked.shape, dtype=np.bool_)
    histograms = np.full(asked.shape, None)
    for row, step in zip(*(at.tolist() for at in np.nonzero(asked)), strict=True):
        operands = left.at(row, step), right.at(row, step)
        found = one(node, *operands, notes)
        present[row, step] = found is not None
        compared[row, step] = all(isinstance(one, Histogram) for one in operands)
        histograms[row, step] = found
    if node.operator not in EQUALITY:
        compared &= False
    return Combined(present, histograms, compared)


def one(node: Binary, left: Operand, right: Operand, notes: Notes) -> Histogram | None:
    """The result, or the left operand of a comparison that holds; None where there is none."""
    operator = node.operator
    if isinstance(left, Histogram) and isinstance(right, Histogram):
        if operator in EQUALITY:
            return left if left.equals(right) == (operator == "==") else None
        if operator in ("+", "-"):
            return _summed(node, left, right, notes)
    elif isinstance(left, Histogram):
        assert isinstance(right, float)
        if operator == "*":
            return left.multiplied(right)
        if operator == "/":
            return left.divided(right)
    elif isinstance(right, Histogram) and operator == "*":
        return right.multiplied(left)
    message = histogram_notes.incompatible_types(_kind(left), operator, _kind(right))
    notes.inform(message, node.start)
    return None


def _summed(node: Binary, left: Histogram, right: Histogram, notes: Notes) -> Histogram | None:
    is_sum = node.operator == "+"
    operation = "addition" if is_sum else "subtraction"
    try:
        found: Sum = added([left, right]) if is_sum else subtracted(left, right)
    except Incompatible:
        notes.warn(histogram_notes.incompatible_layouts(node.operator), node.start)
        return None
    if found.collides:
        notes.warn(histogram_notes.collision(operation), node.start)
    if found.is_rebound:
        notes.inform(histogram_notes.rebound(operation), node.start)
    return found.histogram


def _kind(operand: Operand) -> str:
    return "histogram" if isinstance(operand, Histogram) else "float"
