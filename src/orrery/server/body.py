"""One request's body as it comes in, within its limits; and taking its encoding off.

``connection`` adds what arrives, ``application`` decompresses; ``decompress`` is the kernel of that
name, handed in.
"""

import asyncio
import threading
from concurrent.futures import Executor
from typing import Protocol

from orrery.errors import Exhausted, Invalid
from orrery.server.limits import Budget, HttpLimits

OFF_LOOP_BYTES_MIN = 64 * 1024
"""A body smaller than this is decompressed on the event loop: a thread hop costs more."""

ENCODINGS = frozenset({"gzip", "x-gzip", "deflate", "snappy", "zstd"})


class Decompress(Protocol):
    def __call__(self, encoding: str, body: bytes, *, size_bytes_max: int) -> bytes: ...


class Refused(Exception):
    """The server answers itself, before any handler: ``status`` and what is wrong."""

    def __init__(
        self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class Body:
    """What takes of the budget until ``release``: what was added, and what is held beside it."""

    size_bytes = 0
    _held_bytes = 0
    _is_released = False

    def __init__(self, *, limits: HttpLimits, budget: Budget) -> None:
        self._limits = limits
        self._budget = budget
        self._chunks: list[bytes] = []
        self._lock = threading.Lock()

    def check_declared(self, byte_count: int) -> None:
        if byte_count > self._limits.body_bytes_max:
            raise self._too_large()

    def add(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        if self.size_bytes > self._limits.body_bytes_max:
            raise self._too_large()
        self.hold(len(chunk))
        self._chunks.append(chunk)

    def whole(self) -> bytes:
        """All that was added; to be asked for once."""
        chunks, self._chunks = self._chunks, []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def late(self) -> Refused:
        return Refused(
            408,
            f"cannot read the body: not whole after {self._limits.body_seconds_max:g} seconds "
            "(http_body_seconds_max)",
        )

    def _too_large(self) -> Refused:
        return Refused(
            413,
            f"cannot read the body: larger than {self._limits.body_bytes_max} bytes "
            "(http_body_bytes_max)",
        )

    async def decompressed(
        self, body: bytes, named: str, *, decompress: Decompress, executor: Executor
    ) -> bytes:
        """The body with its Content-Encoding ``named`` taken off; of several the last first."""
        for encoding in reversed(encodings(named)):
            body = await self._decompressed_once(encoding, body, decompress, executor)
            self.hold(len(body))
        return body

    async def _decompressed_once(
        self, encoding: str, body: bytes, decompress: Decompress, executor: Executor
    ) -> bytes:
        size_bytes_max = self._limits.body_decompressed_bytes_max

        def work() -> bytes:
            return decompress(encoding, body, size_bytes_max=size_bytes_max)

        try:
            if len(body) < OFF_LOOP_BYTES_MIN:
                return work()
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        except Exhausted as error:
            raise Refused(413, f"{error} (http_body_decompressed_bytes_max)") from error
        except Invalid as error:
            raise Refused(400, str(error)) from error

    def hold(self, count: int) -> None:
        try:
            self.hold_more(count)
        except Exhausted as error:
            raise Refused(503, str(error), (("retry-after", "1"),)) from error

    def hold_more(self, count: int) -> None:
        """For what a handler makes of the body, from any thread; ``Exhausted`` where it is too
        much for the server. What comes after ``release`` is not counted."""
        with self._lock:
            if self._is_released:
                return
            self._budget.hold(count)
            self._held_bytes += count

    def forget(self) -> None:
        """Of a body that is refused, nothing is kept while the rest of it comes in."""
        self._chunks.clear()
        with self._lock:
            held_bytes, self._held_bytes = self._held_bytes, 0
            self._budget.release(held_bytes)

    def release(self) -> None:
        self._is_released = True
        self.forget()


def encodings(named: str) -> list[str]:
    """Those of Content-Encoding in the order they were put on; ``Refused`` 415 for unknown."""
    names = [part.strip().lower() for part in named.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if len(names) > 2:
        raise Refused(415, f"cannot decode a body encoded {len(names)} times: at most 2")
    for name in names:
        if name not in ENCODINGS:
            accepted = ", ".join(sorted(ENCODINGS))
            raise Refused(
                415,
                f"cannot decode content encoding {name!r}: not one of {accepted}",
                (("accept-encoding", accepted),),
            )
    return ["gzip" if name == "x-gzip" else name for name in names]
