"""``sum`` and ``avg`` of native histograms, beside those of floats; ``aggregate`` calls it."""

from dataclasses import dataclass, field

import numpy as np

from orrery.languages.promql import histogram_notes
from orrery.languages.promql.histogram import Histogram, Incompatible, added, averaged, overflows
from orrery.languages.promql.nodes import Aggregation
from orrery.languages.promql.values import Indexes, Notes, Vector

ADDING = frozenset({"sum", "avg"})

HELD_MAX = 16
"""So many of a cell are kept before they are added up: together their rounding is made good."""


@dataclass(slots=True)
class Cell:
    """The histograms of one group at one step."""

    held: list[Histogram] = field(default_factory=list)
    count: int = 0
    collides: bool = False
    is_rebound: bool = False
    is_incompatible: bool = False

    def add(self, histogram: Histogram) -> None:
        self.count += 1
        if self.is_incompatible:
            return
        self.held.append(histogram)
        if len(self.held) > HELD_MAX:
            self.fold()

    def fold(self) -> Histogram | None:
        """All of them as one; None where they have no common layout."""
        if self.is_incompatible:
            return None
        try:
            found = added(self.held)
        except Incompatible:
            self.is_incompatible, self.held = True, []
            return None
        self.collides |= found.collides
        self.is_rebound |= found.is_rebound
        self.held = [found.histogram]
        return found.histogram

    def average(self) -> Histogram | None:
        held = self.held
        total = self.fold()
        if total is None:
            return None
        if len(held) == self.count and overflows(total):
            return averaged(held).histogram
        return total.divided(self.count)


class HeldHistograms:
    """The histograms of each group and step, until all are there."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], Cell] = {}

    def add(self, batch: Vector, groups: Indexes) -> None:
        assert batch.histograms is not None
        for row, step in zip(
            *(at.tolist() for at in np.nonzero(batch.is_histogram())), strict=True
        ):
            cell = self.cells.setdefault((int(groups[row]), step), Cell())
            cell.add(batch.histograms[row, step])

    def laid_over(self, floats: Vector, node: Aggregation, notes: Notes) -> Vector:
        """``floats`` is the answer for the floats; where a group has both there is none."""
        if not self.cells:
            return floats
        values, present = floats.values, floats.present.copy()
        histograms = np.full(present.shape, None)
        for (group, step), cell in self.cells.items():
            if present[group, step]:
                notes.warn(histogram_notes.MIXED_IN_AGGREGATION, node.expression.start)
                present[group, step] = False
                continue
            found = cell.fold() if node.operator == "sum" else cell.average()
            histograms[group, step] = found
            present[group, step] = found is not None
            note(cell, node, notes)
        return Vector(floats.labels, values, present, histograms)


def note(cell: Cell, node: Aggregation, notes: Notes) -> None:
    start = node.expression.start
    if cell.is_incompatible:
        notes.warn(histogram_notes.mixed_schemas(""), start)
        return
    if cell.collides:
        notes.warn(histogram_notes.collision("aggregation"), start)
    if cell.is_rebound:
        notes.inform(histogram_notes.rebound("aggregation"), start)
