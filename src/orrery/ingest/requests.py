"""One write request from body to outcome: the steps that every HTTP wire's write handler shares.

``protocols/<wire>/write`` calls :func:`store`; decoding, naming and appending run on the executor
handed in, so that the event loop only waits; small bodies are written on the loop itself, where
a hop to a thread and back would cost more than the work.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future

from msgspec import Struct

from orrery.errors import Exhausted
from orrery.ingest.contract import Label, Rejected, Written
from orrery.ingest.parts import WriteParts
from orrery.kernels.batch import Batch

ACKNOWLEDGEMENT_HEADER = "x-orrery-acknowledgement"
REASONS_SHOWN_MAX = 100
"""An answer lists so many refusals and counts the rest."""
ON_LOOP_BYTES_MAX = 64 * 1024
ON_LOOP_DECOMPRESSED_BYTES_MAX = 512 * 1024
"""A body within both is taken in by the event loop: half a millisecond, ten where all is new."""

Decode = Callable[[int], Batch]
"""Decodes a request's body; ``Exhausted`` where it takes more bytes than it is given."""


class TooLarge(Exhausted):
    """The body holds more than a request may: send less at once."""


class Outcome(Struct, frozen=True):
    """``refused`` is sorted by line, without repeats; ``acknowledgement`` is None where nothing
    was there to store. ``sample_count`` samples are stored, ``histogram_count`` of them native
    histograms; ``refused_sample_count`` decoded ones are not; ``points_refused_count`` counts the
    points a decoder refused, where its wire counts them, and the lines of others with a refusal."""

    sample_count: int
    refused_sample_count: int
    refused: tuple[Rejected, ...]
    acknowledgement: str | None
    points_refused_count: int = 0
    histogram_count: int = 0

    @property
    def refused_line_count(self) -> int:
        return len({line for line, _ in self.refused})

    @property
    def shown(self) -> tuple[Rejected, ...]:
        return self.refused[:REASONS_SHOWN_MAX]

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        if self.acknowledgement is None:
            return ()
        return ((ACKNOWLEDGEMENT_HEADER, self.acknowledgement),)


async def store(
    tenant: str,
    decode: Decode,
    *,
    body_bytes: int,
    forced: Sequence[Label],
    parts: WriteParts,
) -> Outcome:
    """Decodes and writes; returns once the batch is durable. ``body_bytes`` is the size of the
    body as it came."""
    accept, size_bytes_max = parts.accept, parts.size_bytes_max
    tried = _decoded_small(decode, body_bytes, size_bytes_max)

    def work() -> "tuple[Batch, Future[Written] | None]":
        batch = _decoded(decode, size_bytes_max) if tried is None else tried
        if not batch.sample_count and not batch.metadata:
            return batch, None
        return batch, accept.write(tenant, batch, defaults=(), forced=forced)

    taking = _Taking(work)
    if tried is None or accept.is_busy:
        batch, written = await taking.on(parts.decode_executor)
    else:
        batch, written = await taking.here()
    if written is None:
        refused = _merged(batch.rejected, ())
        return Outcome(0, 0, refused, None, batch.refused_count)
    refused = _merged(batch.rejected, written.rejected)
    count = written.sample_count
    return Outcome(
        count,
        batch.sample_count - count,
        refused,
        written.acknowledgement,
        batch.refused_count + written.lines_rejected_count,
        written.histogram_count,
    )


def with_forced(own: Sequence[Label], forced: Sequence[Label]) -> tuple[Label, ...]:
    """Labels a wire sets itself, and over them those the caller's token forces."""
    return tuple({**dict(own), **dict(forced)}.items())


def _decoded_small(decode: Decode, body_bytes: int, size_bytes_max: int) -> Batch | None:
    """None where the body is a large one, or turned out to be."""
    if body_bytes > ON_LOOP_BYTES_MAX:
        return None
    try:
        return _decoded(decode, min(size_bytes_max, ON_LOOP_DECOMPRESSED_BYTES_MAX))
    except TooLarge:
        return None


def _decoded(decode: Decode, size_bytes_max: int) -> Batch:
    try:
        return decode(size_bytes_max)
    except Exhausted as error:
        if error.is_of_the_server:
            raise
        if error.excess is not None:
            raise TooLarge(str(error), error.excess) from error
        raise TooLarge(f"{error} (http_body_decompressed_bytes_max)") from error


class _Taking:
    """A write under way. However it is taken in, the event loop is woken once: when the batch is
    durable, or has failed. Nothing of it is cancelled, as it may be logged already."""

    def __init__(self, work: Callable[[], "tuple[Batch, Future[Written] | None]"]) -> None:
        self._work = work
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] = self._loop.create_future()
        self._taken: tuple[Batch, Future[Written] | None] | None = None
        self._failure: BaseException | None = None

    async def here(self) -> "tuple[Batch, Written | None]":
        batch, written = self._work()
        if written is not None and not written.done():
            written.add_done_callback(self._tell)
            await self._waiter
        return batch, None if written is None else written.result()

    async def on(self, executor: Executor) -> "tuple[Batch, Written | None]":
        executor.submit(self._run)
        await self._waiter
        if self._failure is not None:
            try:
                raise self._failure
            finally:
                self._failure = None
        assert self._taken is not None, "a thread that ended has a batch or a failure"
        # The future holds on to this by its callback, and a failure by its traceback: this lets go
        # of them, or all would await the collector, and the batch with them.
        (batch, written), self._taken = self._taken, None
        return batch, None if written is None else written.result()

    def _run(self) -> None:
        written = None
        try:
            self._taken = _, written = self._work()
        except BaseException as failure:
            self._failure = failure
        if written is None:
            self._tell()
        else:
            written.add_done_callback(self._tell)

    def _tell(self, _done: "Future[Written] | None" = None) -> None:
        # A loop that was closed has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self._waiter.done():
            self._waiter.set_result(None)


def _merged(first: Sequence[Rejected], second: Sequence[Rejected]) -> tuple[Rejected, ...]:
    if not first and not second:
        return ()
    return tuple(sorted({*first, *second}))
