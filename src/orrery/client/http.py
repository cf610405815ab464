"""HTTP for ``client.remote``: pooled connections of the standard library, bounded answers, and
statuses turned back into ``orrery.errors``.

Why no library: docs/decisions/0021-http-client.md.
"""

import http.client
import json
import ssl
import threading
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from orrery.errors import Denied, Excess, Exhausted, Invalid, OrreryError, Unavailable

ANSWER_BYTES_MAX = 1 << 30
CONNECTIONS_IDLE_MAX = 8
ERROR_TEXT_MAX = 500
GZIP_WINDOW_BITS = 31
FORM = "application/x-www-form-urlencoded"

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    retry_after_seconds: float | None = None
    acknowledgement: str = ""


class Http:
    """Calls may come from any thread; each takes a connection of its own."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        tenant: str | None = None,
        timeout_seconds: float = 150.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(f"cannot connect to {url!r}: it is no http:// or https:// address")
        if parts.query or parts.fragment or parts.username:
            raise Invalid(f"cannot connect to {url!r}: give scheme, host, port and path only")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._tls = (tls or ssl.create_default_context()) if self._secure else None
        self._headers = {"accept-encoding": "gzip", "user-agent": "orrery-python"}
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        if tenant is not None:
            self._headers["x-scope-orgid"] = tenant
        self._idle: deque[http.client.HTTPConnection] = deque(maxlen=CONNECTIONS_IDLE_MAX)
        self._lock = threading.Lock()

    def get(self, path: str, query: Pairs = ()) -> bytes:
        target = f"{path}?{urlencode(query)}" if query else path
        return checked(self.send("GET", target))

    def post_form(self, path: str, form: Pairs) -> bytes:
        body = urlencode(form).encode()
        return checked(self.send("POST", path, body, {"content-type": FORM}))

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """The answer whatever its status: writes tell details in their errors."""
        return self.send("POST", path, body, headers)

    def close(self) -> None:
        with self._lock:
            idle = list(self._idle)
            self._idle.clear()
        for connection in idle:
            connection.close()

    def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        """Tries again where a connection kept from earlier turns out to be closed."""
        connection = self._take() or self._connection()
        is_kept = connection.sock is not None
        try:
            sent = {**self._headers, **(headers or {})}
            return self._exchange(connection, method, self._path + path, body, sent)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if is_kept and isinstance(error, ConnectionError | http.client.HTTPException):
                return self.send(method, path, body, headers)
            cause = str(error) or type(error).__name__
            raise Unavailable(f"cannot reach {self._host!r}: {cause}") from error

    def _take(self) -> http.client.HTTPConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_seconds)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_seconds, context=self._tls
        )

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: bytes,
        headers: dict[str, str],
    ) -> Answer:
        connection.request(method, target, body=body or None, headers=headers)
        response = connection.getresponse()
        content = response.read(ANSWER_BYTES_MAX + 1)
        if len(content) > ANSWER_BYTES_MAX:
            connection.close()
            raise too_large()
        if response.headers.get("content-encoding") == "gzip":
            content = gunzip(content)
        answer = Answer(
            response.status,
            content,
            retry_after(response.headers),
            response.headers.get("x-orrery-acknowledgement", ""),
        )
        self._keep(connection, response)
        return answer

    def _keep(
        self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        with self._lock:
            if not response.will_close and len(self._idle) < CONNECTIONS_IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()


def gunzip(content: bytes) -> bytes:
    decoder = zlib.decompressobj(GZIP_WINDOW_BITS)
    try:
        plain = decoder.decompress(content, ANSWER_BYTES_MAX)
    except zlib.error as error:
        raise Unavailable(f"cannot read answer: {error}") from error
    if decoder.unconsumed_tail:
        raise too_large()
    if not decoder.eof:
        raise Unavailable("cannot read answer: it ends early")
    return plain


def too_large() -> Exhausted:
    excess = Excess("answer_bytes_max", "client", ANSWER_BYTES_MAX, ANSWER_BYTES_MAX + 1)
    return Exhausted(f"cannot read answer: more than {ANSWER_BYTES_MAX} bytes", excess)


def retry_after(headers: http.client.HTTPMessage) -> float | None:
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def checked(answer: Answer) -> bytes:
    if 200 <= answer.status < 300:
        return answer.body
    raise error_of(answer)


def error_of(answer: Answer) -> OrreryError:
    """The kind by status, the message and the limit by what the body tells."""
    details = told(answer.body)
    found = details.get("error") or details.get("message")
    text = str(found) if found else answer.body[:ERROR_TEXT_MAX].decode("utf-8", "replace")
    message = text or f"the server answered with status {answer.status}"
    if answer.status in (401, 403):
        return Denied(message)
    excess = excess_of(details, answer.retry_after_seconds)
    if answer.status == 429 or excess is not None or details.get("errorType") == "timeout":
        return Exhausted(message, excess)
    return Invalid(message) if answer.status < 500 else Unavailable(message)


def told(body: bytes) -> dict[str, object]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def excess_of(details: dict[str, object], retry_after_seconds: float | None) -> Excess | None:
    limit = details.get("limit")
    if not isinstance(limit, dict):
        return None
    try:
        return Excess(
            str(limit["name"]),
            str(limit["scope"]),
            float(limit["value"]),
            float(limit["current"]),
            retry_after_seconds,
        )
    except (KeyError, TypeError, ValueError):
        return None
