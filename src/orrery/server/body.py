"""Reads a request's body within its limits and takes its encoding off.

The application calls it; ``decompress`` is the kernel of that name, handed in.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import Executor
from typing import Any, Protocol

from orrery.errors import Exhausted, Invalid
from orrery.server.limits import Budget, HttpLimits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

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


class Disconnected(Exception):
    """The client left before its body was whole."""


class Body:
    """One request's body. ``held_bytes`` is what it takes of the budget until ``release``."""

    def __init__(
        self, *, receive: Receive, headers: Mapping[str, str], limits: HttpLimits, budget: Budget
    ) -> None:
        self._receive = receive
        self._headers = headers
        self._limits = limits
        self._budget = budget
        self.is_read = not ("content-length" in headers or "transfer-encoding" in headers)
        self.size_bytes = 0
        self.held_bytes = 0
        self._is_released = False
        self._lock = threading.Lock()

    async def read(self) -> bytes:
        if self.is_read:
            return b""
        self._check_declared()
        try:
            async with asyncio.timeout(self._limits.body_seconds_max):
                return await self._collect()
        except TimeoutError as error:
            raise Refused(
                408,
                f"cannot read the body: not whole after {self._limits.body_seconds_max:g} seconds "
                "(http_body_seconds_max)",
            ) from error

    def _check_declared(self) -> None:
        declared = self._headers.get("content-length", "0")
        if int(declared) > self._limits.body_bytes_max:
            raise self._too_large()

    async def _collect(self) -> bytes:
        chunks: list[bytes] = []
        while not self.is_read:
            chunk = await self._next()
            self.size_bytes += len(chunk)
            if self.size_bytes > self._limits.body_bytes_max:
                raise self._too_large()
            self.hold(len(chunk))
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        self.is_read = not message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk

    def _too_large(self) -> Refused:
        return Refused(
            413,
            f"cannot read the body: larger than {self._limits.body_bytes_max} bytes "
            "(http_body_bytes_max)",
        )

    async def decompressed(
        self, body: bytes, *, decompress: Decompress, executor: Executor
    ) -> bytes:
        """The body with its Content-Encoding taken off; several are taken off last first."""
        for encoding in reversed(encodings(self._headers)):
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

    async def drain(self, *, bytes_max: int, seconds_max: float) -> None:
        """Reads on without keeping anything, so that a client still sending sees the answer.

        Closing with unread bytes resets the connection, and the answer with it.
        """
        if self.is_read or self._headers.get("expect", "").lower() == "100-continue":
            return
        drained_bytes = 0
        try:
            async with asyncio.timeout(seconds_max):
                while not self.is_read and drained_bytes < bytes_max:
                    drained_bytes += len(await self._next())
        except TimeoutError:
            return

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
            self.held_bytes += count

    def release(self) -> None:
        with self._lock:
            self._is_released = True
            self._budget.release(self.held_bytes)
            self.held_bytes = 0


def encodings(headers: Mapping[str, str]) -> list[str]:
    """Those of Content-Encoding in the order they were put on; ``Refused`` 415 for unknown."""
    named = [part.strip().lower() for part in headers.get("content-encoding", "").split(",")]
    named = [name for name in named if name not in ("", "identity")]
    if len(named) > 2:
        raise Refused(415, f"cannot decode a body encoded {len(named)} times: at most 2")
    for name in named:
        if name not in ENCODINGS:
            accepted = ", ".join(sorted(ENCODINGS))
            raise Refused(
                415,
                f"cannot decode content encoding {name!r}: not one of {accepted}",
                (("accept-encoding", accepted),),
            )
    return ["gzip" if name == "x-gzip" else name for name in named]
