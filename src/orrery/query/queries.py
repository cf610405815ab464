"""One query from start to end: its turn, its budget, its reader, its driver, its slow-query line.

Built by ``app``; called by the protocols that read, on their event loop, and by the embedded
database, on the caller's thread.
"""

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from msgspec import Struct

from orrery.clock import Clock
from orrery.errors import Corrupt, Exhausted, OrreryError
from orrery.model.selector import Matcher
from orrery.query.budget import CELLS_MAX, Budget, Cancelled, TimedOut, open_budget
from orrery.query.company import Company
from orrery.query.contract import Admission, MeterOf, Snapshots
from orrery.query.reader import BATCH_CELLS_MAX, Brief, Reader, TooLong
from orrery.query.run import drive
from orrery.query.schedule import Schedule
from orrery.telemetry import Event

T = TypeVar("T")
OnCancel = Callable[[Callable[[], None]], None]
TEXT_SHOWN_MAX = 2048

OnSlow = Callable[[Event, dict[str, object]], None]
"""Takes an event and its fields."""


class Query(Struct, frozen=True, eq=False):
    """What the work of one query is given, on its own thread."""

    tenant: str
    budget: Budget
    reader: Reader
    queued_seconds: float

    def drive(self, program: Generator[Any, Any, T]) -> T:
        return drive(program, handlers=self.reader.handlers(), meter=self.budget.meter)


class Asked(Struct, frozen=True, kw_only=True):
    """Who asks, and what: ``text`` is for the slow-query log only.

    ``is_brief`` where the language expects to be done in a moment: it is tried at once, on the
    caller's thread. ``raw_only``: no buckets stand for samples.
    """

    tenant: str
    text: str
    is_brief: bool = False
    forced: tuple[Matcher, ...] = ()
    timeout_seconds: float | None = None
    raw_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    store: Snapshots
    schedule: Schedule
    admission: Admission
    meter_of: MeterOf
    clock: Clock
    on_slow: OnSlow | None = None
    slow_seconds: float = 1.0
    cells_max: int = CELLS_MAX
    batch_cells_max: int = BATCH_CELLS_MAX
    company: Company = field(default_factory=Company)

    async def run(
        self, asked: Asked, work: Callable[[Query], T], *, on_cancel: OnCancel | None = None
    ) -> T:
        """``work`` runs on a thread of the schedule; its result comes back to this loop.

        ``on_cancel`` is handed the function that stops the query.
        """
        if asked.is_brief and self.schedule.is_idle():
            try:
                return self._at_once(asked, work)
            except TooLong:
                pass
        budget, future = self.submit(asked, work)
        if on_cancel is not None:
            on_cancel(budget.cancel)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            budget.cancel()
            raise

    def run_here(self, asked: Asked, work: Callable[[Query], T]) -> T:
        """Waits for its turn and its end on the calling thread."""
        budget, future = self.submit(asked, work)
        try:
            return future.result()
        except BaseException:
            budget.cancel()
            raise

    def _at_once(self, asked: Asked, work: Callable[[Query], T]) -> T:
        """Raises TooLong, and has counted nothing, where it takes more than a moment."""
        return self._turn(
            asked, self.budget_for(asked), self.clock.monotonic_seconds(), work, Brief()
        )

    def budget_for(self, asked: Asked) -> Budget:
        """Its time runs from now on."""
        return open_budget(
            self.admission.query(asked.tenant),
            meter_of=self.meter_of,
            clock=self.clock,
            timeout_seconds=asked.timeout_seconds,
            cells_max=self.cells_max,
        )

    def submit(self, asked: Asked, work: Callable[[Query], T]) -> "tuple[Budget, Future[T]]":
        budget = self.budget_for(asked)
        submitted_seconds = self.clock.monotonic_seconds()

        def turn() -> T:
            return self._turn(asked, budget, submitted_seconds, work)

        return budget, self.schedule.submit(asked.tenant, turn)

    def _turn(
        self,
        asked: Asked,
        budget: Budget,
        submitted_seconds: float,
        work: Callable[[Query], T],
        brief: Brief | None = None,
    ) -> T:
        started_seconds = self.clock.monotonic_seconds()
        failure: OrreryError | None = None
        outcome: str | None = "failed"
        self.company.enter(asked.tenant, budget.meter, started_seconds)
        try:
            query = self.begin(asked, budget, started_seconds - submitted_seconds, brief)
            result = work(query)
            outcome = "answered"
            return result
        except TooLong:
            outcome = None
            raise
        except OrreryError as error:
            failure = self.explained(error, budget)
            outcome = outcome_of(failure)
            if failure is error:
                raise
            raise failure from error
        finally:
            self.company.leave(budget.meter)
            if outcome is not None:
                self.admission.queried(asked.tenant, outcome, budget.meter.samples_read)
            self.report(asked, budget, submitted_seconds, started_seconds, failure)

    def begin(
        self, asked: Asked, budget: Budget, queued_seconds: float, brief: Brief | None = None
    ) -> Query:
        """Takes the snapshot that the query reads."""
        budget.meter.check()
        reader = Reader(
            snapshot=self.store.snapshot(asked.tenant),
            tenant=asked.tenant,
            forced=asked.forced,
            budget=budget,
            batch_cells_max=self.batch_cells_max,
            brief=brief,
            raw_only=asked.raw_only,
        )
        return Query(asked.tenant, budget, reader, queued_seconds)

    def explained(self, error: OrreryError, budget: Budget) -> OrreryError:
        if isinstance(error, Corrupt):
            self.store.suspect(error)
        return budget.explain(error)

    def report(
        self,
        asked: Asked,
        budget: Budget,
        submitted_seconds: float,
        started_seconds: float,
        failure: OrreryError | None,
    ) -> None:
        seconds = self.clock.monotonic_seconds() - started_seconds
        if self.on_slow is None or seconds < self.slow_seconds:
            return
        self.on_slow(
            Event.QUERY_SLOW,
            {
                "tenant": asked.tenant,
                "query": asked.text[:TEXT_SHOWN_MAX],
                "seconds": seconds,
                "queued_seconds": started_seconds - submitted_seconds,
                "samples_read": budget.meter.samples_read,
                "series": budget.meter.series_read,
                "error": "" if failure is None else str(failure),
            },
        )


def outcome_of(failure: OrreryError) -> str:
    """A fixed word for the tenant's counts."""
    if isinstance(failure, Cancelled):
        return "cancelled"
    if isinstance(failure, TimedOut):
        return "timeout"
    excess = failure.excess if isinstance(failure, Exhausted) else None
    return excess.limit if excess is not None else "failed"
