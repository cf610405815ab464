"""A database in this process: no sockets, no copies of samples; built by ``api.open``."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from msgspec.structs import replace

from orrery.client.columns import Points
from orrery.client.results import PartlyWritten, Result, Written, histograms_left_out
from orrery.client.side import Selectors
from orrery.ingest.accept import Accept
from orrery.ingest.contract import Written as Acknowledged
from orrery.ingest.receipts import Receipts
from orrery.kernels.batch import Batch
from orrery.kernels.columns import decode_columns
from orrery.kernels.series import encode_series
from orrery.languages.promql.evaluate import LOOKBACK_NS
from orrery.languages.promql.prepare import Preparations
from orrery.languages.promql.result import Result as Evaluated
from orrery.languages.promql.values import are_held
from orrery.model.effects import Fetch, Find, Labels, More, SampleFrames, Values
from orrery.model.receipts import Receipt
from orrery.model.selector import Matcher, Selector
from orrery.query.queries import Asked, Queries, Query
from orrery.store.engine import Store

T = TypeVar("T")


class Engine(Protocol):
    """What ``app.open_engine`` gives: a store with its way in and its way out."""

    @property
    def accept(self) -> Accept: ...
    @property
    def store(self) -> Store: ...
    @property
    def receipts(self) -> Receipts: ...
    @property
    def queries(self) -> Queries: ...

    def close(self) -> None: ...


class Embedded:
    """A :class:`~orrery.client.side.Side`; closing it closes the engine."""

    def __init__(self, engine: Engine, *, tenant: str) -> None:
        self._engine = engine
        self._tenant = tenant
        self._preparations = Preparations()

    def write(self, points: Sequence[Points]) -> Written:
        """Every column is queued before the first is waited for: one sync serves them all."""
        batches = [batch_of(one) for one in points if len(one.values)]
        queued = [self._engine.accept.write(self._tenant, batch) for batch in batches]
        return acknowledged(batches, [future.result() for future in queued])

    def query(self, text: str, *, time_ns: int | None, raw_only: bool = False) -> Result:
        if time_ns is None:
            time_ns = self._engine.queries.clock.now_ns()
        return self._evaluate(text, time_ns, time_ns, 0, raw_only)

    def query_range(
        self, text: str, *, start_ns: int, end_ns: int, step_ns: int, raw_only: bool = False
    ) -> Result:
        return self._evaluate(text, start_ns, end_ns, step_ns, raw_only)

    def read(self, matchers: tuple[Matcher, ...], *, start_ns: int, end_ns: int) -> Result:
        fetch = Fetch(Selector(matchers), start_ns, end_ns)

        def work(query: Query) -> Result:
            batches = [query.reader.fetch(fetch)]
            while batches[-1].more is not None:
                batches.append(query.reader.more(More(batches[-1].more)))
            return joined([batch for batch in batches if isinstance(batch, SampleFrames)])

        return self._run("read", work)

    def series(self, selectors: Selectors, *, start_ns: int, end_ns: int) -> Sequence[Labels]:
        effect = Find(tuple(map(Selector, selectors)), start_ns, end_ns)
        return self._run("series", lambda query: query.reader.find(effect))

    def label_values(
        self, label: str | None, selectors: Selectors, *, start_ns: int, end_ns: int
    ) -> Sequence[str]:
        effect = Values(label, tuple(map(Selector, selectors)), start_ns, end_ns)
        return self._run("label values", lambda query: query.reader.values(effect))

    def delete(self, matchers: tuple[Matcher, ...], *, start_ns: int, end_ns: int) -> Receipt:
        receipts = self._engine.receipts
        return receipts.delete(self._tenant, Selector(matchers), min_ns=start_ns, max_ns=end_ns)

    def flush(self) -> None:
        self._engine.store.flush()

    def close(self) -> None:
        self._engine.close()

    def _evaluate(
        self, text: str, start_ns: int, end_ns: int, step_ns: int, raw_only: bool
    ) -> Result:
        ready = self._preparations.of(text, LOOKBACK_NS)

        def work(query: Query) -> Result:
            program = ready.answer(
                start_ns=start_ns,
                end_ns=end_ns,
                step_ns=step_ns,
                cells_max=query.budget.cells_max,
            )
            return columns(query.drive(program))

        return self._run(text, work, raw_only=raw_only)

    def _run(self, text: str, work: Callable[[Query], T], *, raw_only: bool = False) -> T:
        asked = Asked(tenant=self._tenant, text=text, raw_only=raw_only)
        return self._engine.queries.run_here(asked, work)


def batch_of(points: Points) -> Batch:
    series = [encode_series(name.name, name.field, name.labels) for name in points.series]
    values = points.values
    return decode_columns(
        series,
        points.offsets,
        points.times_ns,
        values.tolist() if values.dtype == object else values,
    )


def acknowledged(batches: Sequence[Batch], parts: Sequence[Acknowledged]) -> Written:
    written_count = sum(part.sample_count for part in parts)
    rejected_count = sum(batch.sample_count for batch in batches) - written_count
    reasons = [reason for batch in batches for reason in batch.rejected]
    reasons += [reason for part in parts for reason in part.rejected]
    if rejected_count or reasons:
        raise PartlyWritten(written_count, rejected_count, reasons)
    return Written(written_count, parts[0].acknowledgement if parts else "nothing to write")


def columns(result: Evaluated) -> Result:
    """A table of steps as the numbers that are present in it."""
    if result.samples is not None:
        samples = result.samples
        warnings = left_out(samples.labels[row] for row in sorted(samples.mixed))
        result = replace(result, warnings=(*result.warnings, *warnings))
        return matrix(samples.labels, samples.offsets, samples.times_ns, samples.values, result)
    present = result.present
    if result.histograms is not None:
        is_histogram = present & are_held(result.histograms)
        rows = np.nonzero(is_histogram.any(axis=1))[0].tolist()
        warnings = left_out(result.labels[row] for row in rows)
        result = replace(result, warnings=(*result.warnings, *warnings))
        present = present & ~is_histogram
    counts = present.sum(axis=1, dtype=np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    times_ns = np.broadcast_to(result.times_ns, present.shape)[present]
    return matrix(result.labels, offsets, times_ns, result.values[present], result)


def matrix(
    labels: Sequence[Labels],
    offsets: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    times_ns: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    values: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    result: Evaluated,
) -> Result:
    filled = np.diff(offsets) > 0
    return Result(
        kind=result.kind,
        labels=tuple(dict(one) for one, kept in zip(labels, filled, strict=True) if kept),
        offsets=offsets[np.concatenate([np.ones(1, dtype=np.bool_), filled])],
        times_ns=times_ns,
        values=values,
        text=result.text,
        warnings=(*result.warnings, *result.infos),
    )


def left_out(labels: Iterable[Labels]) -> tuple[str, ...]:
    return histograms_left_out([dict(one) for one in labels])


def joined(batches: Sequence[SampleFrames]) -> Result:
    """Raw samples of all batches; series without any in the range are left out."""
    counts = np.concatenate([np.diff(batch.offsets) for batch in batches])
    labels = [dict(one) for batch in batches for one in batch.labels]
    filled = counts > 0
    return Result(
        kind="matrix",
        labels=tuple(one for one, kept in zip(labels, filled, strict=True) if kept),
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[filled])]),
        times_ns=np.concatenate([batch.times_ns for batch in batches]),
        values=np.concatenate([batch.values for batch in batches]),
        warnings=(
            *(text for batch in batches for text in batch.warnings),
            *left_out(batch.labels[row] for batch in batches for row in sorted(batch.mixed)),
        ),
    )
