"""An answer in chunks: each is made on a turn of its own of the schedule, so that a client that
reads slowly holds no thread. Called by protocols whose answers may be longer than memory.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator

from orrery.errors import OrreryError
from orrery.query.budget import Cancelled
from orrery.query.queries import Asked, OnCancel, Queries, Query, outcome_of

Chunks = Callable[[Query], Iterator[bytes]]


async def stream(
    queries: Queries, asked: Asked, chunks: Chunks, *, on_cancel: OnCancel | None = None
) -> AsyncGenerator[bytes, None]:
    """What ``chunks`` makes of one query. The first is there when this returns, so that an error
    that shows at once is raised here; the query's time runs until the last is taken."""
    streamed = _Streamed(queries, asked, chunks)
    if on_cancel is not None:
        on_cancel(streamed.budget.cancel)
    first = await streamed.next()
    return streamed.rest(first)


class _Streamed:
    """``next`` is called by the event loop, one call at a time."""

    def __init__(self, queries: Queries, asked: Asked, chunks: Chunks) -> None:
        self.budget = queries.budget_for(asked)
        self._queries = queries
        self._asked = asked
        self._chunks = chunks
        self._made: Iterator[bytes] | None = None
        self._submitted_seconds = queries.clock.monotonic_seconds()
        self._started_seconds = self._submitted_seconds
        self._has_ended = False

    async def next(self) -> bytes | None:
        future = self._queries.schedule.submit(self._asked.tenant, self._turn)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self.budget.cancel()
            raise

    async def rest(self, chunk: bytes | None) -> AsyncGenerator[bytes, None]:
        try:
            while chunk is not None:
                yield chunk
                chunk = await self.next()
        finally:
            # A client that left took no more of it.
            self._end(Cancelled("query was canceled in expression evaluation"))

    def _turn(self) -> bytes | None:
        queries, asked, meter = self._queries, self._asked, self.budget.meter
        began_seconds = queries.clock.monotonic_seconds()
        queries.company.enter(asked.tenant, meter, began_seconds)
        try:
            if self._made is None:
                self._started_seconds = began_seconds
                queued_seconds = began_seconds - self._submitted_seconds
                self._made = self._chunks(queries.begin(asked, self.budget, queued_seconds))
            meter.check()
            chunk = next(self._made, None)
        except OrreryError as error:
            failure = queries.explained(error, self.budget)
            self._end(failure)
            if failure is error:
                raise
            raise failure from error
        finally:
            queries.company.leave(meter)
        if chunk is None:
            self._end(None)
        return chunk

    def _end(self, failure: OrreryError | None) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        outcome = "answered" if failure is None else outcome_of(failure)
        self._queries.admission.queried(self._asked.tenant, outcome, self.budget.meter.samples_read)
        self._queries.report(
            self._asked, self.budget, self._submitted_seconds, self._started_seconds, failure
        )
