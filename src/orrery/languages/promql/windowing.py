"""Window kernels over range selectors and subqueries, for ``evaluate``."""

from collections.abc import Callable, Generator
from itertools import pairwise

import numpy as np

from orrery.errors import Excess, Exhausted
from orrery.kernels.window import window_over_steps
from orrery.languages.promql.functions.registry import Query
from orrery.languages.promql.histogram_windows import Place, of_row, overlaid
from orrery.languages.promql.nodes import Expr, RangeSelector, Subquery
from orrery.languages.promql.reading import TIME_NS_MAX, Consume, Reader, Steady
from orrery.languages.promql.values import (
    Floats,
    Steps,
    Vector,
    broadcast,
    concatenate,
    empty,
    fail,
)
from orrery.model.effects import Effect, Labels, Window

Collected = Generator[Effect, object, Vector]


def check_cells(query: Query, cells: int) -> None:
    """Refuses a table that would not fit the memory one query may take."""
    if cells > query.cells_max:
        excess = Excess("query_cells_max", "query", query.cells_max, cells)
        cause = f"it holds more than {query.cells_max} values (query_cells_max)"
        raise Exhausted(f"cannot evaluate query: {cause} in one table", excess)


class Windows:
    """``collect`` evaluates the expression a subquery is over."""

    def __init__(
        self, query: Query, reader: Reader, collect: Callable[[Expr, Steps], Collected]
    ) -> None:
        self.query = query
        self.reader = reader
        self.collect = collect

    def all(
        self, source: Expr, kernel: str, steps: Steps, parameters: Floats, place: int
    ) -> Collected:
        """Every window at once; parameters that change are read run by run of equal ones."""
        changes = np.nonzero((parameters[:, 1:] != parameters[:, :-1]).any(axis=0))[0] + 1
        edges = [0, *changes.tolist(), steps.count]
        rows: dict[Labels, int] = {}
        runs: list[tuple[int, int, Vector]] = []
        for first, last in pairwise(edges):
            parts: list[Vector] = []
            run = Steps(steps.start_ns + first * steps.step_ns, steps.step_ns, last - first)
            given = parameters[:, first]
            yield from self.each(source, kernel, run, given, parts.append, place)
            vector = concatenate(parts, run)
            for labels in vector.labels:
                rows.setdefault(labels, len(rows))
            runs.append((first, last, vector))
        if len(runs) == 1:
            return runs[0][2]
        shape = (len(rows), steps.count)
        check_cells(self.query, shape[0] * shape[1])
        values, present = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
        histograms = np.full(shape, None)
        for first, last, vector in runs:
            index = [rows[labels] for labels in vector.labels]
            values[index, first:last] = vector.values
            present[index, first:last] = vector.present
            if vector.histograms is not None:
                histograms[index, first:last] = vector.histograms
        has_histograms = any(vector.histograms is not None for _, _, vector in runs)
        return Vector(list(rows), values, present, histograms if has_histograms else None)

    def each(
        self,
        source: Expr,
        kernel: str,
        steps: Steps,
        parameters: Floats,
        consume: Consume,
        place: int,
    ) -> Steady:
        """One kernel over a range selector or a subquery; notes belong to ``place``."""
        given = tuple(float(one) for one in parameters)
        if isinstance(source, RangeSelector):
            yield from self.reader.windows(
                source.selector,
                steps,
                function=kernel,
                range_ns=min(source.range_ns, TIME_NS_MAX),
                consume=consume,
                place=place,
                parameters=given,
            )
            return
        assert isinstance(source, Subquery)
        vector, inner, outer = yield from self.subquery(source, steps)
        if not vector.labels or inner.count == 0:
            return
        floats = vector.only_floats()
        values, present = window_over_steps(
            kernel,
            np.ascontiguousarray(floats.values),
            np.ascontiguousarray(floats.present),
            in_start_ns=inner.start_ns,
            in_step_ns=inner.step_ns,
            start_ns=outer.start_ns,
            step_ns=outer.step_ns,
            step_count=outer.count,
            range_ns=source.range_ns,
            offset_ns=source.offset_ns,
            parameters=given,
        )
        found = Vector(vector.labels, values, present)
        if vector.histograms is not None:
            window = Window(
                kernel,
                outer.start_ns,
                outer.step_ns,
                outer.count,
                source.range_ns,
                source.offset_ns,
                given,
            )
            times_ns = inner.times_ns()
            held = np.nonzero(vector.is_histogram().any(axis=1))[0].tolist()
            rows = {row: of_row(vector, row, times_ns) for row in held}
            found = overlaid(found, rows, window, Place(self.reader.notes, place))
        consume(broadcast(found.without_empty_rows(), steps.count))

    def subquery(
        self, node: Subquery, steps: Steps
    ) -> Generator[Effect, object, tuple[Vector, Steps, Steps]]:
        """The inner vector, the steps it is on, and the steps of the windows over it.

        The inner steps are multiples of the subquery's own step, so that windows that overlap
        see the same points.
        """
        outer = self.reader.pinned(node.at, steps)
        step_ns = self.query.subquery_step_ns if node.step_ns is None else node.step_ns
        before_ns = outer.start_ns - node.offset_ns - node.range_ns
        start_ns = (before_ns // step_ns + 1) * step_ns
        count = max(0, (outer.end_ns - node.offset_ns - start_ns) // step_ns + 1)
        check_cells(self.query, count)
        inner = Steps(start_ns, step_ns, count)
        if max(abs(start_ns), abs(inner.end_ns)) > TIME_NS_MAX:
            fail("the times of a subquery lie beyond the years 1678 to 2261")
        if count == 0:
            return empty(inner), inner, outer
        vector = yield from self.collect(node.expression, inner)
        return vector, inner, outer
