"""Reaches the operations of the admin API: through a running server's socket or URL, or, where no
server runs, on the data directory itself under its lock."""

import asyncio
import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import click

from orrery.cli.application import Application, application
from orrery.errors import Corrupt, Denied, Exhausted, Invalid, OrreryError, Unavailable
from orrery.server.unix import short_path

SOCKET_NAME = "admin.sock"
SECONDS_MAX = 300.0
TENANT_HEADER = "x-scope-orgid"

KINDS: dict[int, type[OrreryError]] = {
    401: Denied,
    403: Denied,
    429: Exhausted,
    500: Corrupt,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


class Reach(Protocol):
    def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """The answer's JSON; an ``OrreryError`` of the kind that its status says."""

    def lines(self, method: str, path: str) -> Iterator[dict[str, object]]:
        """The answer's JSON lines as they come."""


@dataclass(frozen=True, slots=True)
class Target:
    """Which Orrery a command is for."""

    data_dir: Path
    url: str | None
    token: str | None


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS_MAX)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS_MAX)
        try:
            with short_path(self._path) as short:
                self.sock.connect(short)
        except BaseException:
            self.sock.close()
            raise


class Remote:
    """A running server."""

    def __init__(self, connection: http.client.HTTPConnection, token: str | None) -> None:
        self._connection = connection
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}

    def for_tenant(self, tenant: str) -> "Remote":
        """The same server, asked on behalf of a tenant."""
        self._headers[TENANT_HEADER] = tenant
        return self

    def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        with self._answered(method, path, body) as response:
            return _json(response.read())

    def lines(self, method: str, path: str) -> Iterator[dict[str, object]]:
        # A step of long work may take longer than any answer.
        self._connection.timeout = None
        if self._connection.sock is not None:
            self._connection.sock.settimeout(None)
        with self._answered(method, path, None) as response:
            for line in response:
                yield _json(line)

    @contextlib.contextmanager
    def _answered(self, method: str, path: str, body: object) -> Iterator[http.client.HTTPResponse]:
        content = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(method, path, body=content, headers=self._headers)
            response = self._connection.getresponse()
            if response.status >= 400:
                raise _refused(response.status, response.read())
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"cannot reach the server: {error}") from error
        finally:
            self._connection.close()


class Local:
    """No server runs: the same operations on the data directory, which is locked meanwhile."""

    def __init__(self, application: Application, data_dir: Path) -> None:
        self._application = application
        self._data_dir = data_dir

    def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        from orrery.cli.local import run_operation

        content = b"" if body is None else json.dumps(body).encode()
        with self._application.administration(self._data_dir) as administration:
            status, answered = asyncio.run(run_operation(administration, method, path, content))
        if status >= 400:
            raise _refused(status, answered)
        return _json(answered)

    def lines(self, method: str, path: str) -> Iterator[dict[str, object]]:
        """The one operation that streams is compaction."""
        return self._application.compact(self._data_dir)


def reach(context: click.Context, target: Target) -> Reach:
    """A server's where one is named or runs on the data directory, else the directory's own."""
    remote = running(target)
    return remote if remote is not None else Local(application(context), target.data_dir)


def running(target: Target) -> Remote | None:
    """The server that is named or runs on the data directory; None where none does."""
    if target.url is not None:
        return Remote(_url_connection(target.url), target.token)
    path = target.data_dir / SOCKET_NAME
    try:
        probe = UnixConnection(path)
        probe.connect()
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise Denied(f"cannot open socket {str(path)!r}: {error.strerror}") from error
    return Remote(probe, None)


def _url_connection(url: str) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.hostname is None or parts.path.rstrip("/"):
        raise Invalid(f"cannot use url {url!r}: not http(s)://host:port")
    match parts.scheme:
        case "http":
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=SECONDS_MAX)
        case "https":
            return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=SECONDS_MAX)
    raise Invalid(f"cannot use url {url!r}: not http(s)://host:port")


def _refused(status: int, body: bytes) -> OrreryError:
    kind = KINDS.get(status, Invalid)
    try:
        problem = json.loads(body)
        message = problem["error"]
    except (ValueError, KeyError, TypeError):
        return Unavailable(f"cannot do it: the server answers {status}")
    if "id" in problem:
        # An error that nobody foresaw says nothing of the stored data.
        return Unavailable(f"cannot do it: {message}: {problem['id']}")
    return kind(message)


def _json(content: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(content)
    except ValueError as error:
        raise Unavailable("cannot read the server's answer: not JSON") from error
