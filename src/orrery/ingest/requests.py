"""One write request from body to outcome: the steps that every HTTP wire's write handler shares.

``protocols/<wire>/write`` calls :func:`store`; decoding, naming and appending run on the executor
handed in, so that the event loop only waits.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from orrery.errors import Exhausted
from orrery.ingest.contract import Accept, Label, Rejected, Written
from orrery.kernels.batch import Batch

ACKNOWLEDGEMENT_HEADER = "x-orrery-acknowledgement"
REASONS_SHOWN_MAX = 100
"""An answer lists so many refusals and counts the rest."""


class TooLarge(Exhausted):
    """The body holds more than a request may: send less at once."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """``refused`` is sorted by line, without repeats; ``acknowledgement`` is None where nothing
    was there to store. ``sample_count`` samples are stored, ``refused_sample_count`` decoded ones
    are not."""

    sample_count: int
    refused_sample_count: int
    refused: tuple[Rejected, ...]
    acknowledgement: str | None

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
    decode: Callable[[], Batch],
    *,
    forced: Sequence[Label],
    accept: Accept,
    executor: Executor,
) -> Outcome:
    """Decodes and writes; returns once the batch is durable."""

    def work() -> "tuple[Batch, Future[Written] | None]":
        batch = _decoded(decode)
        if not batch.sample_count and not batch.metadata:
            return batch, None
        return batch, accept.write(tenant, batch, defaults=(), forced=forced)

    batch, future = await asyncio.get_running_loop().run_in_executor(executor, work)
    if future is None:
        return Outcome(0, 0, _merged(batch.rejected, ()), None)
    written = await asyncio.wrap_future(future)
    refused = _merged(batch.rejected, written.rejected)
    count = written.sample_count
    return Outcome(count, batch.sample_count - count, refused, written.acknowledgement)


def with_forced(own: Sequence[Label], forced: Sequence[Label]) -> tuple[Label, ...]:
    """Labels a wire sets itself, and over them those the caller's token forces."""
    return tuple({**dict(own), **dict(forced)}.items())


def _decoded(decode: Callable[[], Batch]) -> Batch:
    try:
        return decode()
    except Exhausted as error:
        raise TooLarge(f"{error} (http_body_decompressed_bytes_max)") from error


def _merged(first: Sequence[Rejected], second: Sequence[Rejected]) -> tuple[Rejected, ...]:
    return tuple(sorted({*first, *second}))
