"""Writes of wires that cannot answer: over TCP they wait under pressure, over UDP they are lost.

The write sides of such wires call :class:`Unanswered`. Whatever is not stored is counted by reason
and told in the log, at most once in a while a reason, as nobody else could tell the sender.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from orrery.errors import Exhausted, Invalid, OrreryError, Unavailable
from orrery.ingest.contract import Label
from orrery.ingest.parts import WriteParts
from orrery.ingest.requests import Decode, Outcome, TooLarge, store
from orrery.kernels.batch import Batch
from orrery.telemetry import Event, Events, Telemetry

TOLD_SECONDS_MIN = 10.0
"""A reason is logged no more often."""
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.05, 5.0
UNAVAILABLE_SECONDS = 0.25
"""Between two tries under pressure."""
RATE_SECONDS_MAX = 30.0
"""A tenant that could write again only later than this is refused; its connections are not held."""
MESSAGE_CHARACTERS_MAX = 300

T = TypeVar("T")
Pause = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a decoder is to make a batch of: its size, who sent it, and how to count its lines
    should none of them be stored."""

    decode: Decode
    byte_count: int
    count_lines: Callable[[], int]
    peer: str


class Refusals:
    """Counts what one wire does not store, and tells of it."""

    def __init__(
        self, *, wire: str, telemetry: Telemetry, events: Events, seconds: Callable[[], float]
    ) -> None:
        self._wire = wire
        self._telemetry = telemetry
        self._events = events
        self._seconds = seconds
        self._told_seconds: dict[str, float] = {}
        self._untold: dict[str, int] = {}

    def add(self, reason: str, count: int, message: object, **pairs: object) -> None:
        """``reason`` is a fixed word; ``message`` and ``pairs`` hold no secret."""
        self.count(reason, count)
        untold = self._untold.get(reason, 0) + count
        now = self._seconds()
        if now - self._told_seconds.get(reason, -TOLD_SECONDS_MIN) < TOLD_SECONDS_MIN:
            self._untold[reason] = untold
            return
        self._told_seconds[reason], self._untold[reason] = now, 0
        self._events.warning(
            Event.LINES_REFUSED,
            wire=self._wire,
            reason=reason,
            lines=untold,
            message=str(message)[:MESSAGE_CHARACTERS_MAX],
            **pairs,
        )

    def count(self, reason: str, count: int) -> None:
        """Without telling: what is left out as the protocol means it."""
        self._telemetry.lines_refused.labels(self._wire, reason).inc(count)


class Unanswered:
    """One wire's way in. ``refusals`` is also for what the wire refuses by itself."""

    def __init__(
        self, *, parts: WriteParts, refusals: Refusals, pause: Pause = asyncio.sleep
    ) -> None:
        self._parts = parts
        self._pause = pause
        self.refusals = refusals

    async def store(
        self, tenant: str, body: Body, *, forced: Sequence[Label]
    ) -> Outcome | OrreryError:
        """Returns once the body is durable, or refused for good, which is told for wires that
        have words for it; under pressure that takes as long as the pressure lasts. Where it is
        cancelled, what was not stored is counted."""
        once = _Once(body.decode)
        try:
            while True:
                try:
                    return await self._store(tenant, body, once, forced)
                except OrreryError as error:
                    seconds = _pause_seconds(error)
                    if seconds is None:
                        self._refused(tenant, body, error)
                        return error
                await self._pause(seconds)
        except asyncio.CancelledError:
            self._add("stopping", body.count_lines(), "the server stops", tenant, body)
            raise

    async def store_now(self, tenant: str, body: Body, *, forced: Sequence[Label]) -> None:
        """The same for senders that nothing can hold back: under pressure the body is lost."""
        try:
            await self._store(tenant, body, _Once(body.decode), forced)
        except OrreryError as error:
            self._refused(tenant, body, error)
        except asyncio.CancelledError:
            self._add("stopping", body.count_lines(), "the server stops", tenant, body)
            raise

    async def on_thread(self, work: Callable[[], T]) -> T:
        """Runs what is too long for the event loop, once there is room."""
        while True:
            try:
                running = self._parts.decode_executor.submit(work)
            except Exhausted:
                await self._pause(PAUSE_SECONDS_MIN)
            else:
                return await asyncio.wrap_future(running)

    async def _store(
        self, tenant: str, body: Body, once: "_Once", forced: Sequence[Label]
    ) -> Outcome:
        outcome = await store(
            tenant,
            once,
            body_bytes=body.byte_count,
            forced=forced,
            parts=self._parts,
        )
        count = once.rejected_count + outcome.refused_sample_count
        if count:
            line, reason = outcome.refused[0] if outcome.refused else (None, "not told")
            self._add("rejected", count, reason, tenant, body, line=line)
        return outcome

    def _refused(self, tenant: str, body: Body, error: OrreryError) -> None:
        reason = "failed"
        if isinstance(error, Invalid):
            reason = "malformed"
        elif isinstance(error, Exhausted):
            reason = "pressure" if error.is_of_the_server else "rate"
        elif isinstance(error, Unavailable):
            reason = "pressure"
        self._add(reason, body.count_lines(), error, tenant, body)

    def _add(
        self,
        reason: str,
        count: int,
        message: object,
        tenant: str,
        body: Body,
        line: int | None = None,
    ) -> None:
        self.refusals.add(reason, count, message, tenant=tenant, peer=body.peer, line=line)


class _Once:
    """Decodes once, so that a further try has the batch already."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._batch: Batch | None = None

    def __call__(self, size_bytes_max: int) -> Batch:
        if self._batch is None:
            self._batch = self._decode(size_bytes_max)
        return self._batch

    @property
    def rejected_count(self) -> int:
        """Lines the decoder refused."""
        return len(self._batch.rejected) if self._batch is not None else 0


def _pause_seconds(error: OrreryError) -> float | None:
    """How long to wait for what may pass; None where waiting is of no use."""
    if isinstance(error, Unavailable):
        return UNAVAILABLE_SECONDS
    if not isinstance(error, Exhausted) or isinstance(error, TooLarge) or error.excess is None:
        return None
    seconds = error.excess.retry_after_seconds
    if not error.is_of_the_server and (seconds is None or seconds > RATE_SECONDS_MAX):
        return None
    return min(max(seconds or 0.0, PAUSE_SECONDS_MIN), PAUSE_SECONDS_MAX)
