"""Selectors to fetches: what ``evaluate`` asks the store for, and how the answers come in."""

import math
from collections.abc import Callable, Generator

from orrery.languages.promql.functions.registry import Query
from orrery.languages.promql.histogram_windows import Place, of_mixed, overlaid
from orrery.languages.promql.nodes import At, Bound, RangeSelector, VectorSelector
from orrery.languages.promql.result import join_samples
from orrery.languages.promql.values import Notes, Steps, Vector, broadcast
from orrery.model.effects import Effect, Fetch, More, SampleFrames, StepFrames, Window
from orrery.model.selector import Selector

TIME_NS_MAX = (1 << 63) - 1

OF_NEWEST = frozenset({"instant", "timestamp", "last_over_time", "ts_of_last_over_time"})
"""Kernels that look at the newest sample alone: only where windows end matters to them."""

FROM_BUCKETS = OF_NEWEST | {
    "rate",
    "increase",
    "delta",
    "resets",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "first_over_time",
    "present_over_time",
    "ts_of_first_over_time",
}

Consume = Callable[[Vector], None]
Steady = Generator[Effect, object, None]


class Reader:
    def __init__(self, query: Query, notes: Notes) -> None:
        self.query = query
        self.notes = notes

    def pinned(self, at: At | None, steps: Steps) -> Steps:
        """The steps a selector is really read at: one, where ``@`` says so."""
        if at is None:
            return steps
        if isinstance(at, Bound):
            at = self.query.steps.start_ns if at is Bound.START else self.query.end_ns
        return Steps(at, 0, 1)

    def instant(
        self, node: VectorSelector, steps: Steps, function: str, consume: Consume
    ) -> Steady:
        yield from self.windows(
            node,
            steps,
            function=function,
            range_ns=self.query.lookback_ns,
            consume=consume,
            place=node.start,
        )

    def windows(
        self,
        node: VectorSelector,
        steps: Steps,
        *,
        function: str,
        range_ns: int,
        consume: Consume,
        place: int,
        parameters: tuple[float, ...] = (),
    ) -> Steady:
        """One fetch with a window kernel, its batches handed on as they arrive; notes on what it
        holds belong to ``place`` in the query."""
        pinned = self.pinned(node.at, steps)
        count = steps.count
        window = Window(
            function,
            pinned.start_ns,
            pinned.step_ns,
            pinned.count,
            range_ns,
            node.offset_ns,
            parameters,
        )
        start_ns = _bounded(pinned.start_ns - node.offset_ns - range_ns + 1)
        end_ns = _bounded(pinned.end_ns - node.offset_ns)
        unit_ns = resolution_unit_ns(window)
        answer = yield Fetch(Selector(node.matchers), start_ns, end_ns, window, unit_ns)
        while True:
            assert isinstance(answer, StepFrames)
            self.note_warnings(answer.warnings)
            self.notes.infos.update((info, f"PromQL info: {info}") for info in answer.infos)
            batch = Vector(answer.labels, answer.values, answer.present)
            rows = {row: of_mixed(mixed) for row, mixed in answer.mixed.items()}
            batch = overlaid(batch, rows, window, Place(self.notes, place))
            consume(broadcast(batch.without_empty_rows(), count))
            if answer.more is None:
                return
            answer = yield More(answer.more)

    def samples(self, node: RangeSelector, steps: Steps) -> Generator[Effect, object, SampleFrames]:
        """The raw samples of a range selector, at the first of the steps."""
        end_ns = self.pinned(node.selector.at, steps).start_ns - node.selector.offset_ns
        start_ns = end_ns - node.range_ns + 1
        batches: list[SampleFrames] = []
        answer = yield Fetch(Selector(node.selector.matchers), _bounded(start_ns), _bounded(end_ns))
        while True:
            assert isinstance(answer, SampleFrames)
            batches.append(answer)
            self.note_warnings(answer.warnings)
            if answer.more is None:
                return join_samples(batches)
            answer = yield More(answer.more)

    def note_warnings(self, warnings: tuple[str, ...]) -> None:
        self.notes.warnings.update(zip(warnings, warnings, strict=True))


def resolution_unit_ns(window: Window) -> int | None:
    """Buckets whose length divides this are whole inside every window (docs/languages/promql.md);
    None where the function needs the samples themselves."""
    if window.function not in FROM_BUCKETS:
        return None
    unit_ns = abs(window.start_ns - window.offset_ns)
    if window.step_count > 1:
        unit_ns = math.gcd(unit_ns, window.step_ns)
    return unit_ns if window.function in OF_NEWEST else math.gcd(unit_ns, window.range_ns)


def _bounded(time_ns: int) -> int:
    return max(-TIME_NS_MAX - 1, min(TIME_NS_MAX, time_ns))
