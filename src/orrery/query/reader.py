"""Answers a language's effects from a snapshot of the store, in bounded batches of series.

Built by ``query.queries`` for one query. The caller's forced matchers (row-level security) join
every selector here, and nowhere else: no language sees them or can leave them out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from orrery.errors import Invalid
from orrery.kernels.fused import Fused
from orrery.kernels.series import parse_series
from orrery.model.effects import (
    Compute,
    Fetch,
    Find,
    Labels,
    Mixed,
    More,
    SampleFrames,
    StepFrames,
    Values,
)
from orrery.model.selector import FIELD, MEASUREMENT, Matcher, Selector
from orrery.query.budget import Budget
from orrery.query.contract import MatcherTriple, Selection, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_CELLS_MAX = 1_000_000
BATCH_SERIES_MAX = 4096
FIRST_SAMPLES_BATCH = 64
"""Series in the first batch of raw samples, when their density is still unknown."""

MIXED_BYTES_MAX = 64 << 20
"""Payloads of histograms in one batch: a longer one is cut, to one series at least."""
MIXED_CELLS_MAX = 100_000
"""Steps of series with histograms in one batch, as each step may have a histogram of its own."""

TEXT_WARNINGS_MAX = 10
SECOND_NS = 1_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TooLong(Exception):
    """What was to be answered at once is not; it begins anew on a thread."""


class Brief(Struct, frozen=True):
    """What may be done without a thread of the schedule, while everybody else waits."""

    cells_max: int = 20_000
    series_max: int = 128
    samples_max: int = 250_000
    """About a millisecond; the time is for when the disk, or somebody else, makes it longer."""
    seconds_max: float = 0.02


@dataclass(slots=True)
class Cursor:
    """How far a fetch has come; handed to the language as an opaque token."""

    fetch: Fetch
    selection: Selection
    may_collide: bool
    """Whether two of its series have one set of labels; they may still lie apart in time."""
    first: int = 0
    batch_series: int = FIRST_SAMPLES_BATCH
    shown_last: Labels | None = None
    position_last: int = 0


class Reader(Struct, frozen=True, eq=False):
    snapshot: Snapshot
    tenant: str
    forced: tuple[Matcher, ...]
    budget: Budget
    batch_cells_max: int = BATCH_CELLS_MAX
    brief: Brief | None = None
    raw_only: bool = False

    def handlers(self) -> dict[type, Callable[..., object]]:
        if self.brief is not None:
            return {Compute: self.compute}
        return {
            Compute: self.compute,
            Fetch: self.fetch,
            More: self.more,
            Find: self.find,
            Values: self.values,
        }

    def compute(self, effect: Compute) -> StepFrames | None:
        fused, brief, count = effect.fused, self.brief, effect.step_count
        assert isinstance(fused, Fused)
        if self.snapshot.resolutions_ns:
            # One call reads samples alone: which buckets may stand for them is told by fetches.
            if brief is not None:
                raise TooLong
            return None
        series_max = None
        if brief is not None:
            series_max = min(brief.series_max, brief.cells_max // max(1, count))
        found = self.snapshot.compute(
            fused,
            self.tenant,
            triples(self.forced),
            start_ns=effect.start_ns,
            step_ns=effect.step_ns,
            step_count=count,
            cells_max=self.batch_cells_max,
            meter=self.budget.meter,
            series_max=series_max,
            brief=None if brief is None else (brief.samples_max, brief.seconds_max),
            is_ordered=effect.is_ordered,
        )
        if found is None:
            if brief is not None:
                raise TooLong
            return None
        labels, (values, present) = found
        return StepFrames(labels, values, present)

    def fetch(self, effect: Fetch) -> StepFrames | SampleFrames:
        finest_ns = self.finest_ns(effect)
        selection = self.select(effect.selector, effect.start_ns, effect.end_ns, finest_ns)
        may_collide = selection.collision() is not None
        return self.batch(Cursor(effect, selection, may_collide))

    def finest_ns(self, effect: Fetch) -> int | None:
        """The longest buckets that answer as samples do; 0 where none does; None for samples
        alone."""
        unit_ns = effect.resolution_unit_ns
        if self.raw_only or unit_ns is None or not self.snapshot.resolutions_ns:
            return None
        whole = [
            length_ns for length_ns in self.snapshot.resolutions_ns if unit_ns % length_ns == 0
        ]
        return max(whole, default=0)

    def missing(self, effect: Fetch) -> tuple[str, ...]:
        """A warning where samples alone are read of a time in which some are gone."""
        from_ns = self.snapshot.raw_from_ns
        is_coarse = bool(self.snapshot.resolutions_ns) and self.finest_ns(effect) is not None
        if is_coarse or not self.snapshot.resolutions_ns or effect.start_ns >= from_ns:
            return ()
        return (
            f"samples before {shown_time(from_ns)} are no longer kept of every series, "
            "and this reads samples alone: where they are gone it shows nothing",
        )

    def more(self, effect: More) -> StepFrames | SampleFrames:
        if not isinstance(effect.cursor, Cursor):
            raise Invalid(f"cannot continue fetch: {effect.cursor!r} is no cursor of this query")
        return self.batch(effect.cursor)

    def find(self, effect: Find) -> tuple[Labels, ...]:
        """Each label set once, in the order of the selectors; at most ``series_max`` of them."""
        found: dict[Labels, None] = {}
        for selector in effect.selectors:
            selection = self.select(selector, effect.start_ns, effect.end_ns, 0)
            for first in range(0, len(selection), BATCH_SERIES_MAX):
                self.budget.meter.check()
                count = min(BATCH_SERIES_MAX, len(selection) - first)
                found.update(dict.fromkeys(selection.promql_labels(first, count)))
                if effect.series_max is not None and len(found) >= effect.series_max:
                    return tuple(found)[: effect.series_max]
        return tuple(found)

    def values(self, effect: Values) -> tuple[str, ...]:
        selectors = [self.triples(selector) for selector in effect.selectors]
        if not selectors and self.forced:
            selectors = [self.triples(Selector(()))]
        start_ns, end_ns, meter = effect.start_ns, effect.end_ns, self.budget.meter
        if effect.label is None:
            names = self.snapshot.label_names(self.tenant, selectors, start_ns, end_ns, meter)
        else:
            names = self.snapshot.label_values(
                self.tenant, effect.label, selectors, start_ns, end_ns, meter
            )
        return tuple(sorted(names))

    def select(
        self, selector: Selector, start_ns: int, end_ns: int, finest_ns: int | None = None
    ) -> Selection:
        matchers, meter = self.triples(selector), self.budget.meter
        return self.snapshot.select(self.tenant, matchers, start_ns, end_ns, meter, finest_ns)

    def triples(self, selector: Selector) -> list[MatcherTriple]:
        return triples((*selector.matchers, *self.forced))

    def batch(self, cursor: Cursor) -> StepFrames | SampleFrames:
        if cursor.fetch.window is not None:
            return self.step_batch(cursor)
        return self.sample_batch(cursor)

    def step_batch(self, cursor: Cursor) -> StepFrames:
        window = cursor.fetch.window
        assert window is not None
        selection, first = cursor.selection, cursor.first
        rows_max = max(1, self.batch_cells_max // max(1, window.step_count))
        count = min(rows_max, BATCH_SERIES_MAX, len(selection) - first)
        values, present = selection.window(
            first,
            count,
            function=window.function,
            start_ns=window.start_ns,
            step_ns=window.step_ns,
            step_count=window.step_count,
            range_ns=window.range_ns,
            offset_ns=window.offset_ns,
            parameters=window.parameters,
            meter=self.budget.meter,
        )
        mixed, count = self.mixed(cursor, count)
        values, present = values[:count], present[:count]
        labels = selection.promql_labels(first, count)
        if cursor.may_collide:
            filled = np.any(present, axis=1)
            filled[list(mixed)] = True
            check_distinct(cursor, first, labels, filled)
        more = self.advance(cursor, count)
        infos = () if more is not None else coarse_notes(*selection.coarse_used())
        warnings = (*self.missing(cursor.fetch), *notes(selection, more))
        return StepFrames(labels, values, present, more, warnings, infos, mixed)

    def sample_batch(self, cursor: Cursor) -> SampleFrames:
        selection, first, fetch = cursor.selection, cursor.first, cursor.fetch
        count = min(cursor.batch_series, len(selection) - first)
        offsets, times_ns, values = selection.samples(
            first, count, fetch.start_ns, fetch.end_ns, self.budget.meter
        )
        mixed, count = self.mixed(cursor, count)
        offsets, end = offsets[: count + 1], int(offsets[count])
        times_ns, values = times_ns[:end], values[:end]
        held = sum(len(one.payloads) for one in mixed.values())
        self.budget.take_samples(len(values) + held)
        labels = selection.promql_labels(first, count)
        if cursor.may_collide:
            filled = np.diff(offsets) > 0
            filled[list(mixed)] = True
            check_distinct(cursor, first, labels, filled)
        cursor.batch_series = next_batch_series(count, len(values) + held, self.batch_cells_max)
        more = self.advance(cursor, count)
        warnings = (*self.missing(fetch), *notes(selection, more))
        return SampleFrames(labels, offsets, times_ns, values, more, warnings, mixed)

    def mixed(self, cursor: Cursor, count: int) -> tuple[dict[int, Mixed], int]:
        """The samples of the batch's series in which the read met histograms, by their place in it,
        and how many series the batch may keep."""
        first, fetch, selection = cursor.first, cursor.fetch, cursor.selection
        found: dict[int, Mixed] = {}
        size = 0
        for at in selection.histogram_series():
            if not first <= at < first + count:
                continue
            row = at - first
            columns = selection.mixed(at, fetch.start_ns, fetch.end_ns, self.budget.meter)
            found[row] = Mixed(*columns)
            size += sum(len(payload) for payload in columns[2] if payload is not None)
            cells = len(found) * (1 if fetch.window is None else fetch.window.step_count)
            if size > MIXED_BYTES_MAX or cells > MIXED_CELLS_MAX:
                return found, row + 1
        return found, count

    def advance(self, cursor: Cursor, count: int) -> Cursor | None:
        cursor.first += count
        return cursor if cursor.first < len(cursor.selection) else None


def triples(matchers: Sequence[Matcher]) -> list[MatcherTriple]:
    return [(matcher.label, str(matcher.operator), matcher.value) for matcher in matchers]


def notes(selection: Selection, more: object | None) -> tuple[str, ...]:
    """With the last batch: which series hold text, that no number stands for."""
    if more is not None:
        return ()
    found = selection.text_series()
    shown = [
        f"series {shown_as(selection.promql_labels(position, 1)[0])} holds text, which is left out"
        for position in found[:TEXT_WARNINGS_MAX]
    ]
    if len(found) > len(shown):
        shown.append(f"{len(found) - len(shown)} more series hold text, which is left out")
    return tuple(shown)


def coarse_notes(resolutions_ns: Sequence[int], has_moved: bool) -> tuple[str, ...]:
    """What an answer from buckets says of itself."""
    if not resolutions_ns:
        return ()
    lengths = ", ".join(shown_length(length_ns) for length_ns in resolutions_ns)
    moved = "; windows were moved back and cut to whole buckets" if has_moved else ""
    return (f"answered from buckets of {lengths}{moved}",)


def shown_length(length_ns: int) -> str:
    seconds = length_ns // SECOND_NS
    units = (("d", 86_400), ("h", 3600), ("m", 60))
    fitting = ((name, size) for name, size in units if seconds % size == 0)
    name, size = next(fitting, ("s", 1))
    return f"{seconds // size}{name}"


def shown_time(time_ns: int) -> str:
    return (EPOCH + timedelta(seconds=time_ns // SECOND_NS)).isoformat()


def shown_as(labels: Labels) -> str:
    pairs = ",".join(f"{key}={quoted(value)}" for key, value in labels)
    return f"{{{pairs}}}"


def next_batch_series(count: int, sample_count: int, cells_max: int) -> int:
    """As many series as should fill a batch, going by the last one; at most four times more."""
    fitting = cells_max * count // max(1, sample_count)
    return max(1, min(fitting, 4 * count, BATCH_SERIES_MAX))


def check_distinct(
    cursor: Cursor, first: int, labels: Sequence[Labels], filled: "NDArray[np.bool_]"
) -> None:
    """PromQL cannot tell ``cpu`` with field ``user`` from ``cpu_user``. Selections are sorted by
    label sets, so equal ones follow each other, across batches too."""
    for row in np.flatnonzero(filled).tolist():
        if labels[row] == cursor.shown_last:
            selection = cursor.selection
            one, other = cursor.position_last, first + row
            raise collision(selection.canonical(one), selection.canonical(other))
        cursor.shown_last, cursor.position_last = labels[row], first + row


def collision(one: bytes, other: bytes) -> Invalid:
    """Names both series and the matcher that keeps the first of them alone."""
    first_name, first_field, _ = parse_series(one)
    second_name, second_field, labels = parse_series(other)
    label, value = (
        (FIELD, first_field) if first_field != second_field else (MEASUREMENT, first_name)
    )
    shown = ", ".join(f"{key}={text!r}" for key, text in labels)
    return Invalid(
        "cannot tell two series apart: "
        f"{describe(first_name, first_field)} and {describe(second_name, second_field)} "
        f"with labels {{{shown}}} have one name here; add the matcher {label}={quoted(value)}"
    )


def describe(name: str, field_name: str) -> str:
    return f"{name!r} with field {field_name!r}" if field_name else f"{name!r} without field"


def quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
