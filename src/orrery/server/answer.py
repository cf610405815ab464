"""Sends an answer: gzipped where that helps and the client takes it, whole or as a stream."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import msgspec

from orrery.server.body import OFF_LOOP_BYTES_MIN
from orrery.server.http import Response

Send = Callable[[dict[str, Any]], Awaitable[None]]

BODILESS = frozenset({204, 304})
GZIP_LEVEL = 1
GZIP_WINDOW_BITS = 31
COMPRESSED_TYPES = ("image/", "video/", "audio/", "application/gzip", "application/zstd")


def error_response(
    status: int, message: str, headers: tuple[tuple[str, str], ...] = (), **more: object
) -> Response:
    """What the server answers itself: every client can show the field ``error``."""
    body = msgspec.json.encode({"error": message, **more})
    return Response(status=status, body=body, headers=headers)


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    for part in headers.get("accept-encoding", "").split(","):
        name, _, parameters = part.partition(";")
        if name.strip().lower() in ("gzip", "x-gzip", "*"):
            return parameters.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


async def compressed(
    response: Response, *, headers: Mapping[str, str], bytes_min: int, executor: Executor
) -> Response:
    """``response`` gzipped, or as it was where that is not wanted."""
    if not _is_compressible(response, bytes_min):
        return response
    varying = replace(response, headers=(*response.headers, ("vary", "accept-encoding")))
    if not accepts_gzip(headers):
        return varying
    if isinstance(response.body, bytes):
        body: bytes | AsyncIterator[bytes] = await _gzip_whole(response.body, executor)
    else:
        body = _gzip_stream(response.body)
    return replace(varying, body=body, headers=(*varying.headers, ("content-encoding", "gzip")))


def _is_compressible(response: Response, bytes_min: int) -> bool:
    if bytes_min == 0 or response.content_type.startswith(COMPRESSED_TYPES):
        return False
    if any(name.lower() == "content-encoding" for name, _ in response.headers):
        return False
    return not isinstance(response.body, bytes) or len(response.body) >= bytes_min


async def _gzip_whole(body: bytes, executor: Executor) -> bytes:
    def work() -> bytes:
        return zlib.compress(body, GZIP_LEVEL, wbits=GZIP_WINDOW_BITS)

    if len(body) < OFF_LOOP_BYTES_MIN:
        return work()
    return await asyncio.get_running_loop().run_in_executor(executor, work)


async def _gzip_stream(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW_BITS)
    async for chunk in chunks:
        # A flush a chunk: the reader sees each part when it was made, not when a buffer fills.
        yield compressor.compress(chunk) + compressor.flush(zlib.Z_SYNC_FLUSH)
    yield compressor.flush()


async def send_response(
    response: Response, *, send: Send, has_left: Callable[[], bool], close: bool, head: bool
) -> int:
    """Sends it; the number of body bytes. A stream stops early once ``has_left`` says so."""
    await send(_start(response, close=close))
    if isinstance(response.body, bytes):
        await send({"type": "http.response.body", "body": response.body})
        return len(response.body)
    sent_bytes = 0
    stream = response.body
    try:
        async for chunk in stream:
            if has_left() or head:
                break
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            sent_bytes += len(chunk)
    finally:
        if hasattr(stream, "aclose"):
            await stream.aclose()
    await send({"type": "http.response.body", "body": b""})
    return sent_bytes


def _start(response: Response, *, close: bool) -> dict[str, Any]:
    headers = [(_ascii(name.lower()), _latin(value)) for name, value in response.headers]
    if response.status not in BODILESS:
        headers.append((b"content-type", _latin(response.content_type)))
        if isinstance(response.body, bytes):
            headers.append((b"content-length", b"%d" % len(response.body)))
    if close:
        headers.append((b"connection", b"close"))
    return {"type": "http.response.start", "status": response.status, "headers": headers}


def _ascii(text: str) -> bytes:
    return text.encode("ascii")


def _latin(text: str) -> bytes:
    """Header text; line breaks would start a header of their own."""
    cleaned = text.replace("\r", " ").replace("\n", " ")
    return cleaned.encode("latin-1", "replace")
