"""What came over a listener that cannot answer: whose it is, and into the store with it.

``sockets`` makes an :class:`Inlet` a listener; connections and datagrams hand it what they read. A
connection may have shown a token, and each name may carry one of its own, ``TOKEN@.name``.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

from orrery.errors import Denied
from orrery.ingest.parts import SocketParts
from orrery.ingest.requests import ON_LOOP_BYTES_MAX, Decode
from orrery.ingest.unanswered import Body, Refusals, Unanswered
from orrery.kernels.batch import Batch
from orrery.tenancy.tokens import Permission

TOKENS_MAX = 64
"""So many tokens may come with one read."""
TOKEN_MARK = b"@"

Decoded = tuple[Batch, list[tuple[bytes, Batch]], int]


class DecodeTokened(Protocol):
    def __call__(self, data: bytes, /, *, now_ns: int, tokens_max: int) -> Decoded:
        """(what has no token, what has, how many values were NaN)"""


class Inlet:
    """``waits`` tells whether senders can be held back; ``count_lines`` about how many there are
    in what is refused undecoded."""

    def __init__(
        self,
        *,
        wire: str,
        parts: SocketParts,
        tenant: str,
        decode: DecodeTokened,
        count_lines: Callable[[bytes], int],
        waits: bool,
    ) -> None:
        clock = parts.writing.clock
        self.refusals = Refusals(
            wire=wire,
            telemetry=parts.telemetry,
            events=parts.events,
            seconds=clock.monotonic_seconds,
        )
        self._clock = clock
        self._bearers = parts.bearers
        self._tenant = tenant
        self._decode = decode
        self._count_lines = count_lines
        self._unanswered = Unanswered(parts=parts.writing, refusals=self.refusals)
        self._store = self._unanswered.store if waits else self._unanswered.store_now

    async def take(self, data: bytes, *, secret: str | None, peer: str) -> Denied | None:
        """Stores what it may; the denial, already counted, where what came without a token of its
        own was not permitted."""
        if TOKEN_MARK not in data:
            body = Body(
                decode=self._untokened(data),
                byte_count=len(data),
                count_lines=partial(self._count_lines, data),
                peer=peer,
            )
            return await self._admit(secret, body)
        batch, of_tokens, nan_count = await self._decoded(data)
        self._count_nan(nan_count)
        of_names = [(token.decode("utf-8", "replace"), one) for token, one in of_tokens]
        stores = [self._admit(own, _decoded_body(one, peer)) for own, one in of_names]
        if batch.sample_count or batch.rejected:
            stores.append(self._admit(secret, _decoded_body(batch, peer)))
            return (await asyncio.gather(*stores))[-1]
        await asyncio.gather(*stores)
        return None

    def check(self, secret: str, peer: str) -> Denied | None:
        """Of a token that was shown before there is anything to store."""
        try:
            self._bearers.bearer(secret, permission=Permission.WRITE, tenant=self._tenant)
        except Denied as denied:
            self.refusals.add("denied", 1, denied, peer=peer)
            return denied
        return None

    async def _admit(self, secret: str | None, body: Body) -> Denied | None:
        try:
            caller = self._bearers.bearer(secret, permission=Permission.WRITE, tenant=self._tenant)
        except Denied as denied:
            self.refusals.add("denied", body.count_lines(), denied, peer=body.peer)
            return denied
        await self._store(caller.tenant, body, forced=caller.forced_labels)
        return None

    async def _decoded(self, data: bytes) -> Decoded:
        def work() -> Decoded:
            return self._decode(data, now_ns=self._clock.now_ns(), tokens_max=TOKENS_MAX)

        if len(data) <= ON_LOOP_BYTES_MAX:
            return work()
        return await self._unanswered.on_thread(work)

    def _untokened(self, data: bytes) -> Decode:
        def decode(_size_bytes_max: int) -> Batch:
            batch, _, nan_count = self._decode(data, now_ns=self._clock.now_ns(), tokens_max=0)
            self._count_nan(nan_count)
            return batch

        return decode

    def _count_nan(self, count: int) -> None:
        if count:
            self.refusals.count("nan", count)


def _decoded_body(batch: Batch, peer: str) -> Body:
    return Body(
        decode=lambda _size_bytes_max: batch,
        byte_count=batch.memory_bytes,
        count_lines=lambda: batch.sample_count + len(batch.rejected),
        peer=peer,
    )
