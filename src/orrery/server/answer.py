"""What an answer's bytes are: its head, and its body gzipped where that helps and the client takes
it. ``application`` and ``exchange`` use it."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Executor
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

import msgspec
from msgspec.structs import replace

from orrery.clock import Clock
from orrery.server.body import OFF_LOOP_BYTES_MIN
from orrery.server.http import Response

BODILESS = frozenset({204, 304})
GZIP_LEVEL = 1
GZIP_WINDOW_BITS = 31
SECOND_NS = 1_000_000_000
HEADS_KEPT_MAX = 256
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


class Dates:
    """The Date header's text, made once a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._text = b""

    def now(self) -> bytes:
        second = self._clock.now_ns() // SECOND_NS
        if second != self._second:
            self._second = second
            self._text = formatdate(second, usegmt=True).encode("ascii")
        return self._text


def head_of(response: Response, *, is_kept: bool, is_chunked: bool, date: bytes) -> bytes:
    """Status line and headers, up to the empty line. ``is_chunked`` is for streams only: one that
    is not ends with the connection."""
    status = response.status
    head = _fixed_head(status, response.headers, response.content_type)
    if status in BODILESS:
        length = b""
    elif isinstance(response.body, bytes):
        length = b"content-length: %d\r\n" % len(response.body)
    else:
        length = b"transfer-encoding: chunked\r\n" if is_chunked else b""
    connection = b"" if is_kept else b"connection: close\r\n"
    return b"%bdate: %b\r\n%b%b\r\n" % (head, date, length, connection)


@lru_cache(maxsize=HEADS_KEPT_MAX)
def _fixed_head(status: int, headers: tuple[tuple[str, str], ...], content_type: str) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, phrase.encode("ascii"))]
    if status not in BODILESS:
        lines.append(b"content-type: %b\r\n" % _latin(content_type))
    lines += [b"%b: %b\r\n" % (_ascii(name.lower()), _latin(value)) for name, value in headers]
    return b"".join(lines)


def _ascii(text: str) -> bytes:
    return text.encode("ascii")


def _latin(text: str) -> bytes:
    """Header text; line breaks would start a header of their own."""
    cleaned = text.replace("\r", " ").replace("\n", " ")
    return cleaned.encode("latin-1", "replace")
