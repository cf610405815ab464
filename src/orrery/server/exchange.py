"""One request and its answer, with what is known of both so far.

``connection`` makes one when a request's headers are there and fills its body; ``application``
decides what becomes of it and has it answered.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol
from urllib.parse import unquote, unquote_plus

from orrery.server.answer import BODILESS, Dates, head_of
from orrery.server.body import Body
from orrery.server.http import Response
from orrery.server.router import Found
from orrery.telemetry import Event, Events

STATUS_CLIENT_LEFT = 499
SECRET_PARAMETERS = frozenset({"p", "password", "token", "access_token", "secret", "api_key"})
UNMATCHED = "unmatched"
JOINED_BYTES_MAX = 64 * 1024
"""A body up to this size is copied behind its headers: one write costs less than two."""


class Wire(Protocol):
    """The connection, as its exchanges see it. After the client has left, calls do nothing."""

    def write(self, data: bytes) -> None: ...

    async def drained(self) -> None:
        """Waits while the client leaves more unread than the socket takes."""

    def ended(self, exchange: "Exchange") -> None:
        """The answer is written, or never will be: the connection goes on as ``keeps`` says."""


class Exchange:
    """``keeps`` says whether the connection is kept for another request after the answer."""

    # Most of them keep these for good: a request costs so many stores less.
    admitted: object = None
    """What ``Route.admit`` gave; forgotten where the body comes later: who asks may have lost the
    right to by then."""
    begun_seconds = 0.0
    early: deque[bytes] | None = None
    """What of its body came while the answer to another request was awaited."""
    found: Found | None = None
    is_whole = False
    refusal: Response | None = None
    route = UNMATCHED
    sent_bytes = 0
    status = STATUS_CLIENT_LEFT
    has_left = False
    _callbacks: list[Callable[[], None]] | None = None
    _has_ended = False
    _has_started = False

    def __init__(
        self,
        wire: Wire,
        *,
        method: str,
        target: str,
        headers: dict[str, str],
        host_count: int,
        peer: str,
        body: Body,
        keeps: bool,
        is_http_1_0: bool,
        is_upgrade: bool,
        events: Events,
    ) -> None:
        self._wire = wire
        self._events = events
        self.method = method
        self.raw_path, _, self.query = target.partition("?")
        self.headers = headers
        self.host_count = host_count
        self.peer = peer
        self.body = body
        self.has_body = "content-length" in headers or "transfer-encoding" in headers
        self.expects_continue = "expect" in headers and headers["expect"].lower() == "100-continue"
        self.is_http_1_0 = is_http_1_0
        self.is_upgrade = is_upgrade
        self.keeps = keeps

    @property
    def path(self) -> str:
        return unquote(self.raw_path) if "%" in self.raw_path else self.raw_path

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """To be called on the event loop; a client that has left already is told of at once."""
        if self.has_left:
            self._call(callback)
        elif not self._has_ended:
            self._callbacks = [*(self._callbacks or ()), callback]

    def leave(self) -> None:
        """The client is gone: each callback is called once."""
        if self._has_ended or self.has_left:
            return
        self.has_left = True
        callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            self._call(callback)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as failure:
            self._events.error(Event.DISCONNECT_CALLBACK_FAILED, failure=failure, url=self.url())

    def start(self, response: Response, dates: Dates, *, is_chunked: bool = False) -> bytes:
        """The answer's head; the rest is to be written after it."""
        self._has_started = True
        if not self.has_left:
            self.status = response.status
        return head_of(response, is_kept=self.keeps, is_chunked=is_chunked, date=dates.now())

    async def send(self, response: Response, dates: Dates) -> None:
        """A stream ends early once the client has left."""
        body = response.body
        if not isinstance(body, bytes):
            await self._send_stream(response, dates)
            return
        head = self.start(response, dates)
        self.sent_bytes = len(body)
        if self.method == "HEAD" or response.status in BODILESS:
            self._wire.write(head)
        elif len(body) <= JOINED_BYTES_MAX:
            self._wire.write(head + body)
        else:
            self._wire.write(head)
            self._wire.write(body)

    async def _send_stream(self, response: Response, dates: Dates) -> None:
        stream = response.body
        assert not isinstance(stream, bytes)
        is_chunked = not self.is_http_1_0
        self._wire.write(self.start(response, dates, is_chunked=is_chunked))
        try:
            async for chunk in stream:
                if self.has_left or self.method == "HEAD":
                    break
                if chunk:
                    self._wire.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if is_chunked else chunk)
                    self.sent_bytes += len(chunk)
                    await self._wire.drained()
        except BaseException:
            # What has begun cannot be taken back: it stays cut short, for the client to see.
            self.keeps = False
            raise
        finally:
            if hasattr(stream, "aclose"):
                await stream.aclose()
        if is_chunked and self.method != "HEAD":
            self._wire.write(b"0\r\n\r\n")
        if self.has_left:
            self.status = STATUS_CLIENT_LEFT

    async def send_last(self, response: Response, dates: Dates) -> None:
        """Answers unless an answer has begun; the connection ends after it."""
        self.keeps = False
        if not self._has_started:
            await self.send(response, dates)

    def end(self) -> None:
        self._has_ended = True
        self.body.release()
        self._callbacks = None
        self._wire.ended(self)

    def url(self) -> str:
        return self.path + ("?" + scrubbed(self.query) if self.query else "")

    def described(self, seconds: float) -> dict[str, object]:
        return {
            "method": self.method,
            "url": self.url(),
            "status": self.status,
            "seconds": seconds,
            "received_bytes": self.body.size_bytes,
            "sent_bytes": self.sent_bytes,
            "peer": self.peer,
        }


def scrubbed(query: str) -> str:
    """The query without what its secret parameters hold, for logs."""
    return "&".join(_scrubbed_pair(pair) for pair in query.split("&"))


def _scrubbed_pair(pair: str) -> str:
    name, separator, _ = pair.partition("=")
    return f"{name}=..." if separator and unquote_plus(name) in SECRET_PARAMETERS else pair
