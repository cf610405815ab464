"""PromQL over a range of steps; ``query/run`` drives :func:`evaluate`.

A plain generator: it yields effects (``model.effects``) and is sent their answers. Every node is
evaluated over all steps at once; functions of a range are pushed down into the fetch; selectors
answer in batches, which aggregations consume one by one.
"""

from collections.abc import Callable, Generator, Iterator, Mapping

import numpy as np

from orrery.errors import Invalid
from orrery.languages.promql import binary
from orrery.languages.promql.aggregate import (
    CHOOSING,
    RUNNING,
    Choosing,
    Running,
    count_values,
    counts_of,
    floats_alone,
    quantile,
)
from orrery.languages.promql.durations import format_number
from orrery.languages.promql.functions.ranges import COUNTER_ENDINGS, note_bad_quantiles
from orrery.languages.promql.functions.registry import (
    Arguments,
    Elementwise,
    Function,
    OverRange,
    Query,
    Whole,
    functions,
)
from orrery.languages.promql.invariance import invariant_nodes
from orrery.languages.promql.lengths import resolved
from orrery.languages.promql.nodes import (
    SET_OPERATORS,
    Aggregation,
    Binary,
    Call,
    Expr,
    Kind,
    NumberLiteral,
    Parenthesis,
    RangeSelector,
    StringLiteral,
    Subquery,
    Unary,
    VectorSelector,
    walk,
    without_parentheses,
)
from orrery.languages.promql.reading import Consume, Reader, Steady
from orrery.languages.promql.result import Result as Result
from orrery.languages.promql.result import by_labels
from orrery.languages.promql.tokens import go_quote, is_utf8
from orrery.languages.promql.types import has_one_name, kind_of
from orrery.languages.promql.values import (
    EvaluationError,
    Floats,
    Notes,
    Steps,
    Value,
    Vector,
    broadcast,
    concatenate,
    empty,
    fail,
    values_of,
    without_names,
)
from orrery.languages.promql.windowing import Collected, Windows, check_cells
from orrery.model.effects import Compute, Effect, SampleFrames, StepFrames
from orrery.model.selector import PROMQL_NAME

LOOKBACK_NS = 300 * 1_000_000_000
SUBQUERY_STEP_NS = 60 * 1_000_000_000
CELLS_MAX = 50_000_000

Evaluated = Generator[Effect, object, Value]


def evaluate(
    expression: Expr,
    *,
    start_ns: int,
    end_ns: int,
    step_ns: int,
    lookback_ns: int = LOOKBACK_NS,
    subquery_step_ns: int = SUBQUERY_STEP_NS,
    cells_max: int = CELLS_MAX,
    text: str = "",
    fused: Mapping[int, object] | None = None,
    invariant: frozenset[int] | None = None,
) -> Generator[Effect, object, Result]:
    """Answers ``expression`` at every step from start to end; a ``step_ns`` of 0 asks once, at
    ``start_ns``. ``text`` is the query as written, to place warnings on their line.

    ``fused`` has what the core evaluates in one call, by the ``id`` of its node, ``invariant``
    the ids of the nodes that no step changes: a prepared query has both.

    Raises EvaluationError, and Exhausted where more than ``cells_max`` values would stand in
    memory in one table.
    """
    if invariant is None:
        try:
            expression = resolved(expression, step_ns=step_ns, range_ns=end_ns - start_ns)
        except Invalid as error:
            raise EvaluationError(str(error)) from error
        invariant = invariant_nodes(expression)
    count = 1 if step_ns == 0 else max(0, (end_ns - start_ns) // step_ns) + 1
    steps = Steps(start_ns, step_ns, count)
    query = Query(steps, end_ns, lookback_ns, subquery_step_ns, cells_max)
    evaluator = Evaluator(query, Notes(text), invariant, fused or {})
    result = yield from evaluator.result(expression)
    return result


def selectors(expression: Expr) -> Iterator[VectorSelector]:
    """Every selector in the tree, in the order they are written."""
    return (node for node in walk(expression) if isinstance(node, VectorSelector))


class Evaluator:
    def __init__(
        self,
        query: Query,
        notes: Notes,
        invariant: frozenset[int],
        fused: Mapping[int, object],
    ) -> None:
        self.query = query
        self.notes = notes
        self.invariant = invariant
        self.fused = fused
        self.reader = Reader(query, notes)
        self.windows = Windows(query, self.reader, self.collect)

    # --- the answer

    def result(self, node: Expr) -> Generator[Effect, object, Result]:
        steps = self.query.steps
        kind = kind_of(node)
        if steps.step_ns and kind in (Kind.STRING, Kind.RANGE):
            cause = f"invalid expression type {go_quote(kind)} for range query"
            fail(f"{cause}, must be Scalar or instant Vector")
        if kind is Kind.RANGE:
            result = yield from self.range_result(without_parentheses(node))
            return result
        value = yield from self.value(node, steps)
        if isinstance(value, str):
            if not is_utf8(value):
                fail(f"string {go_quote(value)} is not valid UTF-8")
            return self.finished("string", empty(steps), steps, text=value)
        if isinstance(value, Vector):
            if not steps.step_ns:
                return self.finished("vector", value.without_empty_rows(), steps)
            return self.finished("matrix", by_labels(value.without_empty_rows()), steps)
        row = Vector([()], value.reshape(1, -1), np.ones((1, steps.count), dtype=np.bool_))
        return self.finished("matrix" if steps.step_ns else "scalar", row, steps)

    def finished(
        self,
        kind: str,
        vector: Vector,
        steps: Steps,
        text: str | None = None,
        samples: SampleFrames | None = None,
    ) -> Result:
        return Result(
            kind,
            vector.labels,
            steps.times_ns(),
            np.ascontiguousarray(vector.values),
            np.ascontiguousarray(vector.present),
            text,
            samples,
            tuple(self.notes.warnings.values()),
            tuple(self.notes.infos.values()),
            vector.histograms,
        )

    def range_result(self, node: Expr) -> Generator[Effect, object, Result]:
        steps = self.query.steps
        if isinstance(node, Subquery):
            vector, inner, _ = yield from self.windows.subquery(node, steps)
            return self.finished("matrix", by_labels(vector.without_empty_rows()), inner)
        assert isinstance(node, RangeSelector)
        samples = yield from self.reader.samples(node, steps)
        return self.finished("matrix", empty(steps), steps, samples=samples)

    # --- values of any kind

    def value(self, node: Expr, steps: Steps) -> Evaluated:
        """The value of a node over ``steps``."""
        match node:
            case NumberLiteral():
                return np.full(steps.count, node.value)
            case StringLiteral():
                return node.value
            case Parenthesis():
                value = yield from self.value(node.expression, steps)
                return value
        kind = kind_of(node)
        if kind is Kind.VECTOR:
            vector = yield from self.collect(node, steps)
            return vector
        if steps.count > 1 and id(node) in self.invariant:
            value = yield from self.value(node, steps.only_first())
            assert isinstance(value, np.ndarray)
            return np.broadcast_to(value, (steps.count,))
        value = yield from self.scalar_node(node, steps)
        return value

    def scalar_node(self, node: Expr, steps: Steps) -> Evaluated:
        match node:
            case Unary():
                operand = yield from self.scalar(node.expression, steps)
                return -operand if node.operator == "-" else operand
            case Binary():
                left = yield from self.scalar(node.left, steps)
                right = yield from self.scalar(node.right, steps)
                with np.errstate(all="ignore"):
                    return binary.scalars(node.operator, left, right)
            case Call():
                function = functions()[node.function]
                assert isinstance(function, Whole)
                value = yield from self.whole_call(node, function, steps)
                return value
        raise AssertionError(f"no scalar: {node!r}")

    def scalar(self, node: Expr, steps: Steps) -> Generator[Effect, object, Floats]:
        value = yield from self.value(node, steps)
        assert isinstance(value, np.ndarray)
        return value

    def collect(self, node: Expr, steps: Steps) -> Collected:
        """The whole vector at once; refused where it would be too large."""
        parts: list[Vector] = []
        cells = 0

        def consume(batch: Vector) -> None:
            nonlocal cells
            cells += batch.cell_count()
            check_cells(self.query, cells)
            parts.append(batch)

        yield from self.each(node, steps, consume)
        return concatenate(parts, steps)

    # --- vectors, batch by batch

    def each(self, node: Expr, steps: Steps, consume: Consume) -> Steady:
        """Hands the vector of ``node`` to ``consume`` in batches of whole rows."""
        if steps.count > 1 and id(node) in self.invariant:
            count = steps.count
            yield from self.each(
                node, steps.only_first(), lambda batch: consume(broadcast(batch, count))
            )
            return
        fused = self.fused.get(id(node))
        if fused is not None:
            answer = yield Compute(fused, steps.start_ns, steps.step_ns, steps.count)
            if answer is not None:
                assert isinstance(answer, StepFrames)
                consume(Vector(answer.labels, answer.values, answer.present))
                return
        match node:
            case Parenthesis():
                yield from self.each(node.expression, steps, consume)
            case VectorSelector():
                yield from self.reader.instant(node, steps, "instant", consume)
            case Unary():
                yield from self.unary(node, steps, consume)
            case Binary():
                yield from self.binary(node, steps, consume)
            case Aggregation():
                vector = yield from self.aggregation(node, steps)
                consume(vector)
            case Call():
                yield from self.call(node, functions()[node.function], steps, consume)
            case _:
                raise AssertionError(f"no instant vector: {node!r}")

    def each_unnamed(
        self, node: Expr, steps: Steps, change: Callable[[Vector], Vector], consume: Consume
    ) -> Steady:
        """``change`` applied to the vector of ``node`` and the metric names dropped."""

        def changed(batch: Vector) -> None:
            with np.errstate(all="ignore"):
                consume(without_names(change(batch)))

        if has_one_name(node):
            yield from self.each(node, steps, changed)
        else:
            # Series of several names may become one: told only when all are there.
            vector = yield from self.collect(node, steps)
            changed(vector)

    def unary(self, node: Unary, steps: Steps, consume: Consume) -> Steady:
        if node.operator == "+":
            yield from self.each(node.expression, steps, consume)
            return
        yield from self.each_unnamed(node.expression, steps, negated, consume)

    def binary(self, node: Binary, steps: Steps, consume: Consume) -> Steady:
        left_kind, right_kind = kind_of(node.left), kind_of(node.right)
        if Kind.SCALAR in (left_kind, right_kind):
            yield from self.binary_with_scalar(node, steps, consume)
            return
        left = yield from self.collect(node.left, steps)
        right = yield from self.collect(node.right, steps)
        with np.errstate(all="ignore"):
            if node.operator in SET_OPERATORS:
                consume(binary.set_operation(node.operator, left, right, node.matching))
                return
            consume(binary.vectors(node, left, right, self.notes))

    def binary_with_scalar(self, node: Binary, steps: Steps, consume: Consume) -> Steady:
        vector_is_left = kind_of(node.left) is Kind.VECTOR
        vector_node, scalar_node = (
            (node.left, node.right) if vector_is_left else (node.right, node.left)
        )
        scalar = yield from self.scalar(scalar_node, steps)

        def change(batch: Vector) -> Vector:
            with np.errstate(all="ignore"):
                return binary.with_scalar(
                    node, batch, scalar, self.notes, vector_is_left=vector_is_left
                )

        if binary.keeps_name(node.operator, return_bool=node.return_bool):
            yield from self.each(vector_node, steps, lambda batch: consume(change(batch)))
        else:
            yield from self.each_unnamed(vector_node, steps, change, consume)

    # --- calls

    def call(self, node: Call, function: Function, steps: Steps, consume: Consume) -> Steady:
        match function:
            case Elementwise():
                yield from self.elementwise_call(node, function, steps, consume)
            case OverRange():
                yield from self.range_call(node, function, steps, consume)
            case Whole():
                source = without_parentheses(node.arguments[0]) if node.arguments else None
                if node.function == "timestamp" and isinstance(source, VectorSelector):
                    vector: list[Vector] = []
                    yield from self.reader.instant(source, steps, "timestamp", vector.append)
                    consume(without_names(concatenate(vector, steps)))
                    return
                value = yield from self.whole_call(node, function, steps)
                assert isinstance(value, Vector)
                consume(value)

    def whole_call(self, node: Call, function: Whole, steps: Steps) -> Evaluated:
        values: list[Value] = []
        for argument in node.arguments:
            value = yield from self.value(argument, steps)
            values.append(value)
        with np.errstate(all="ignore"):
            return function.run(self.arguments(node, tuple(values), steps))

    def arguments(self, node: Call, values: tuple[Value, ...], steps: Steps) -> Arguments:
        return Arguments(node, values, steps, self.query, self.notes)

    def elementwise_call(
        self, node: Call, function: Elementwise, steps: Steps, consume: Consume
    ) -> Steady:
        scalars: list[Floats] = []
        for argument in node.arguments[1:]:
            scalar = yield from self.scalar(argument, steps)
            scalars.append(scalar)

        def run(batch: Vector) -> Vector:
            return batch.with_values(function.run(batch.values, *scalars))

        yield from self.each_unnamed(
            node.arguments[0],
            steps,
            lambda batch: run(batch.only_floats()),
            consume,
        )

    def range_call(self, node: Call, function: OverRange, steps: Steps, consume: Consume) -> Steady:
        source = without_parentheses(node.arguments[function.range_index])
        values: list[Value] = []
        for index, argument in enumerate(node.arguments):
            if index != function.range_index:
                value = yield from self.value(argument, steps)
                values.append(value)
        arguments = self.arguments(node, tuple(values), steps)
        if function.check is not None and not function.checks_late:
            function.check(arguments, *values)

        def named(batch: Vector) -> None:
            self.note_counters(node, function, batch)
            if function.check is not None and function.checks_late:
                read = batch.present.any(axis=0)
                function.check(arguments, *(scalar[read] for scalar in scalars(values)))
            consume(batch if function.keeps_name else without_names(batch))

        place = node.arguments[0].start
        parameters = self.parameters(function, source, values, steps)
        changing = bool((parameters != parameters[:, :1]).any())
        if function.finish is None and not changing and has_one_name(source):
            yield from self.windows.each(
                source, function.kernel, steps, parameters[:, 0], named, place
            )
            return
        vector = yield from self.windows.all(source, function.kernel, steps, parameters, place)
        if function.finish is not None:
            consume(function.finish(arguments, vector))
        else:
            named(vector)

    def parameters(
        self, function: OverRange, source: Expr, values: list[Value], steps: Steps
    ) -> Floats:
        """The kernel's parameters at each step: (parameters, steps)."""
        table = np.array(values, dtype=np.float64).reshape(len(values), steps.count)
        inner = source.selector if isinstance(source, RangeSelector) else source
        assert isinstance(inner, VectorSelector | Subquery)
        if function.kernel == "predict_linear":
            # The prediction starts at the time of the step, which `@` leaves alone.
            pinned = self.reader.pinned(inner.at, steps)
            moved_ns = steps.times_ns() - pinned.times_ns()
            table = np.concatenate([table, moved_ns.reshape(1, -1) / 1e9])
        return table

    def note_counters(self, node: Call, function: OverRange, batch: Vector) -> None:
        if not function.is_for_counters:
            return
        # Histograms need no ending to be counters.
        floats = batch.only_floats().without_empty_rows()
        for name in values_of(floats.labels, PROMQL_NAME):
            if not name.endswith(COUNTER_ENDINGS):
                message = "metric might not be a counter, name does not end in "
                message += f"{'/'.join(COUNTER_ENDINGS)}: {go_quote(name)}"
                self.notes.inform(message, node.arguments[0].start)

    # --- aggregations

    def aggregation(self, node: Aggregation, steps: Steps) -> Collected:
        if node.operator in RUNNING:
            running = Running(node, steps, self.notes)
            yield from self.each(node.expression, steps, running.add)
            return running.result()
        assert node.parameter is not None
        parameter = yield from self.value(node.parameter, steps)
        if node.operator in CHOOSING:
            assert isinstance(parameter, np.ndarray)
            choosing = Choosing(node, self.choice(node, parameter), steps, self.notes)
            yield from self.each(node.expression, steps, choosing.add)
            return choosing.result()
        vector = yield from self.collect(node.expression, steps)
        if isinstance(parameter, str):
            return count_values(node, vector, parameter, cells_max=self.query.cells_max)
        assert isinstance(parameter, np.ndarray)
        note_bad_quantiles(self.notes, parameter, node.parameter.start)
        vector = floats_alone(node, vector, self.notes)
        return quantile(node, vector, parameter, steps)

    def choice(self, node: Aggregation, parameter: Floats) -> Floats:
        """How many rows to keep at each step, or for limit_ratio the share of them."""
        if node.operator != "limit_ratio":
            return counts_of(parameter)
        assert node.parameter is not None
        if np.isnan(parameter).any():
            fail("Ratio value is NaN")
        for ratio in np.unique(parameter[np.abs(parameter) > 1]).tolist():
            message = "ratio value should be between -1 and 1, got "
            message += f"{format_number(ratio)}, capping to {'1' if ratio > 0 else '-1'}"
            self.notes.warn(message, node.parameter.start)
        return np.clip(parameter, -1, 1)


def negated(batch: Vector) -> Vector:
    return binary.scaled(batch, -1.0)


def scalars(values: list[Value]) -> Iterator[Floats]:
    return (value for value in values if isinstance(value, np.ndarray))
