"""A store in a dictionary that answers the effects of a query, and the driver that runs one."""

import re
from dataclasses import dataclass, field

import numpy as np

from orrery.languages.promql.evaluate import Result, evaluate
from orrery.languages.promql.parse import parse
from orrery.model.effects import Fetch, Labels, More, SampleFrames, StepFrames
from orrery.model.selector import Matcher, Operator, Selector
from tests.languages.promql import oracle


def matches(matcher: Matcher, labels: dict[str, str]) -> bool:
    value = labels.get(matcher.label, "")
    match matcher.operator:
        case Operator.EQUAL:
            return value == matcher.value
        case Operator.NOT_EQUAL:
            return value != matcher.value
    found = regex(matcher.value).fullmatch(value) is not None
    return found if matcher.operator is Operator.REGEX else not found


def regex(pattern: str) -> re.Pattern[str]:
    # Python takes flags only at the start of a group; RE2 takes them anywhere in one.
    pattern = re.sub(r"\(\(\?i\)([^()]*)\)", r"((?i:\1))", pattern)
    return re.compile(pattern, re.DOTALL)


@dataclass
class Store:
    batch_size: int = 1000
    series: dict[Labels, dict[int, float]] = field(default_factory=dict)
    fetches: list[Fetch] = field(default_factory=list)

    def write(self, labels: dict[str, str], samples: dict[int, float]) -> None:
        key = tuple(sorted((name, value) for name, value in labels.items() if value))
        self.series.setdefault(key, {}).update(samples)

    def select(self, selector: Selector) -> list[Labels]:
        return [
            labels
            for labels in sorted(self.series)
            if all(matches(matcher, dict(labels)) for matcher in selector.matchers)
        ]

    def answer(self, effect: Fetch | More) -> StepFrames | SampleFrames:
        if isinstance(effect, Fetch):
            self.fetches.append(effect)
            fetch, first = effect, 0
        else:
            fetch, first = effect.cursor
        chosen = self.select(fetch.selector)
        batch = chosen[first : first + self.batch_size]
        last = first + self.batch_size
        more = (fetch, last) if last < len(chosen) else None
        return self.windows(fetch, batch, more) if fetch.window else self.raw(fetch, batch, more)

    def samples(self, fetch: Fetch, labels: Labels) -> list[tuple[int, float]]:
        held = self.series[labels]
        return [
            (time, held[time]) for time in sorted(held) if fetch.start_ns <= time <= fetch.end_ns
        ]

    def windows(self, fetch: Fetch, batch: list[Labels], more: object) -> StepFrames:
        window = fetch.window
        rows = [
            oracle.windows(
                window.function,
                self.samples(fetch, labels),
                window.start_ns,
                window.step_ns,
                window.step_count,
                window.range_ns,
                window.offset_ns,
                window.parameters,
            )
            for labels in batch
        ]
        values, present = oracle.table(rows, window.step_count)
        return StepFrames(tuple(batch), values, present, more)

    def raw(self, fetch: Fetch, batch: list[Labels], more: object) -> SampleFrames:
        found = [self.samples(fetch, labels) for labels in batch]
        offsets = np.cumsum([0, *(len(samples) for samples in found)]).astype(np.int64)
        pairs = [pair for samples in found for pair in samples]
        times = np.array([time for time, _ in pairs], dtype=np.int64)
        values = np.array([value for _, value in pairs], dtype=np.float64)
        return SampleFrames(tuple(batch), offsets, times, values, more)

    def query(
        self, text: str, *, start_ns: int = 0, end_ns: int | None = None, step_ns: int = 0
    ) -> Result:
        run = evaluate(
            parse(text),
            start_ns=start_ns,
            end_ns=start_ns if end_ns is None else end_ns,
            step_ns=step_ns,
            text=text,
        )
        answer = None
        try:
            while True:
                answer = self.answer(run.send(answer))
        except StopIteration as finished:
            return finished.value
