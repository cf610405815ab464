"""A store of plain Python lists, a meter that counts and a clock that only tests move."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from orrery.errors import Excess, Exhausted, Unavailable
from orrery.model.effects import Labels


class FakeClock:
    def __init__(self) -> None:
        self.time_ns = 1_700_000_000_000_000_000
        self.seconds = 100.0

    def now_ns(self) -> int:
        return self.time_ns

    def monotonic_seconds(self) -> float:
        return self.seconds

    def sleep_seconds(self, seconds: float) -> None:
        self.seconds += seconds


class FakeMeter:
    def __init__(self, *, samples_max: int, series_max: int, deadline_seconds: float | None):
        self.samples_max = samples_max
        self.series_max = series_max
        self.deadline_seconds = deadline_seconds
        self.samples_read = 0
        self.series_read = 0
        self.cancelled = False
        self.has_company = False

    def keep_company(self) -> None:
        self.has_company = True

    def cancel(self) -> None:
        self.cancelled = True

    def check(self) -> None:
        if self.cancelled:
            raise Unavailable("cannot go on with query: it was cancelled")

    def add_samples(self, count: int) -> None:
        self.check()
        self.samples_read += count
        if self.samples_read > self.samples_max:
            excess = Excess("query_samples", "query", self.samples_max, self.samples_read)
            raise Exhausted("cannot read more samples: query_samples is reached", excess)

    def add_series(self, count: int) -> None:
        self.series_read += count
        if self.series_read > self.series_max:
            raise Exhausted("cannot select more series: query_series is reached")


@dataclass(frozen=True)
class FakeLimits:
    series_max: int = 1000
    samples_max: int = 1000
    seconds_max: float = 60.0


class FakeAdmission:
    def __init__(self, **limits) -> None:
        self.limits = FakeLimits(**limits)
        self.counted: list[tuple[str, str, int]] = []

    def query(self, tenant: str) -> FakeLimits:
        return self.limits

    def queried(self, tenant: str, outcome: str, samples_read: int) -> None:
        self.counted.append((tenant, outcome, samples_read))


@dataclass(frozen=True)
class Series:
    labels: dict[str, str]
    samples: dict[int, float]
    name: str = "m"
    field_name: str = ""
    holds_text: bool = False

    @property
    def shown(self) -> Labels:
        name = f"{self.name}_{self.field_name}" if self.field_name else self.name
        return tuple(sorted({**self.labels, "__name__": name}.items()))

    def value(self, label: str) -> str:
        own = {"__measurement__": self.name, "__field__": self.field_name}
        return own[label] if label in own else dict(self.shown).get(label, "")


def passes(series: Series, matcher: tuple[str, str, str]) -> bool:
    label, operator, wanted = matcher
    value = series.value(label)
    if operator in ("=", "!="):
        return (value == wanted) == (operator == "=")
    return bool(re.fullmatch(wanted, value)) == (operator == "=~")


@dataclass
class FakeSelection:
    found: list[Series]
    calls: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.found)

    def canonical(self, position: int) -> bytes:
        from orrery.kernels.series import encode_series

        series = self.found[position]
        return encode_series(series.name, series.field_name, list(series.labels.items()))

    def collision(self) -> int | None:
        shown = [series.shown for series in self.found]
        return next((at for at in range(1, len(shown)) if shown[at - 1] == shown[at]), None)

    def promql_labels(self, first: int, count: int) -> list[Labels]:
        return [series.shown for series in self.found[first : first + count]]

    def coarse_used(self):
        return [], False

    def histogram_series(self):
        return ()

    def text_series(self) -> list[int]:
        return [at for at, series in enumerate(self.found) if series.holds_text]

    def window(
        self, first, count, *, function, start_ns, step_ns, step_count, range_ns, offset_ns,
        parameters, meter,
    ):  # fmt: skip
        """``last_over_time``, whatever the function."""
        self.calls.append((first, count))
        values = np.zeros((count, step_count))
        present = np.zeros((count, step_count), np.bool_)
        for row, series in enumerate(self.found[first : first + count]):
            meter.add_samples(len(series.samples))
            for step in range(step_count):
                until = start_ns + step * step_ns - offset_ns
                inside = [t for t in series.samples if until - range_ns < t <= until]
                if inside:
                    values[row, step] = series.samples[max(inside)]
                    present[row, step] = True
        return values, present

    def samples(self, first, count, min_ns, max_ns, meter):
        self.calls.append((first, count))
        times, values, offsets = [], [], [0]
        for series in self.found[first : first + count]:
            inside = sorted(t for t in series.samples if min_ns <= t <= max_ns)
            meter.add_samples(len(inside))
            times += inside
            values += [series.samples[t] for t in inside]
            offsets.append(len(times))
        return (
            np.array(offsets, np.int64),
            np.array(times, np.int64),
            np.array(values, np.float64),
        )


@dataclass
class FakeStore:
    """Both the store and its snapshot; remembers what was asked."""

    series: dict[str, list[Series]] = field(default_factory=dict)
    selections: list[FakeSelection] = field(default_factory=list)
    asked: list[tuple] = field(default_factory=list)

    def snapshot(self, tenant: str) -> "FakeStore":
        return self

    def matching(self, tenant: str, matchers: Sequence, min_ns: int, max_ns: int) -> list[Series]:
        found = [
            series
            for series in self.series.get(tenant, [])
            if all(passes(series, matcher) for matcher in matchers)
            and any(min_ns <= t <= max_ns for t in series.samples)
        ]
        return sorted(found, key=lambda series: series.shown)

    def compute(self, fused, tenant, forced, **rest) -> None:
        """Everything is left to the language."""

    resolutions_ns = ()
    raw_from_ns = -(2**63)

    def select(self, tenant, matchers, min_ns, max_ns, meter, finest_ns=None) -> FakeSelection:
        self.asked.append(("select", tenant, tuple(matchers), min_ns, max_ns))
        found = self.matching(tenant, matchers, min_ns, max_ns)
        meter.add_series(len(found))
        self.selections.append(FakeSelection(found))
        return self.selections[-1]

    def any_of(self, tenant, selectors, min_ns, max_ns) -> list[Series]:
        return [s for m in (selectors or [[]]) for s in self.matching(tenant, m, min_ns, max_ns)]

    def label_names(self, tenant, selectors, min_ns, max_ns, meter) -> list[str]:
        self.asked.append(("label_names", tenant, tuple(map(tuple, selectors)), min_ns, max_ns))
        found = self.any_of(tenant, selectors, min_ns, max_ns)
        return list({key for series in found for key, _ in series.shown})

    def label_values(self, tenant, label, selectors, min_ns, max_ns, meter) -> list[str]:
        self.asked.append(("label_values", tenant, tuple(map(tuple, selectors)), min_ns, max_ns))
        found = self.any_of(tenant, selectors, min_ns, max_ns)
        return list({series.value(label) for series in found} - {""})


class FakeChanges:
    """A store in which nothing changes but what a test says."""

    def __init__(self) -> None:
        self.marks = 0
        self.changed_ns = 2**63 - 1
        self.kept_ns = -(2**63)

    def mark(self, tenant: str) -> int:
        return self.marks

    def changed_from_ns(self, tenant: str, mark: int) -> int:
        return self.changed_ns if mark < self.marks else 2**63 - 1

    def kept_from_ns(self, tenant: str) -> int:
        return self.kept_ns
