"""The whole server as a process of its own, and clients that carry tokens, for the attacks here."""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import urllib.parse
from pathlib import Path

from orrery.cli.reach import UnixConnection
from tests.reliability import remote_write

ORRERY = str(Path(sys.executable).with_name("orrery"))
SECONDS_MAX = 30
QUIET = ("--usage-seconds", "0")


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def data(self):
        assert self.status == 200, (self.status, self.body)
        return self.json["data"]


class Server:
    """``with Server(directory, "--auth", "token") as server``: stopped by SIGTERM at the end."""

    def __init__(self, directory, *flags, scheme="http"):
        self.directory = Path(directory)
        self.log = self.directory.parent / f"{self.directory.name}.log"
        self._flags = flags
        self._scheme = scheme

    def __enter__(self):
        command = [ORRERY, "serve", "--data-dir", str(self.directory), "--http", "127.0.0.1:0"]
        command += ["--disk-free-bytes-min", "0", *self._flags]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        greeting = self.process.stdout.readline()
        assert "listens on" in greeting, self.log.read_text()
        self.url = greeting.partition("listens on ")[2].partition(",")[0]
        self.port = urllib.parse.urlsplit(self.url).port
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(SECONDS_MAX)
        self.process.stdout.close()
        assert code == 0, self.log.read_text()

    @contextlib.contextmanager
    def connected(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS_MAX)
        try:
            yield connection
        finally:
            connection.close()

    def ask(self, method, path, body=None, **headers):
        """Names of headers are written with underscores."""
        with self.connected() as connection:
            return asked(connection, method, path, body, headers)

    def operate(self, method, path, body=None, **headers):
        """As the operator, through the Unix socket."""
        connection = UnixConnection(self.directory / "admin.sock")
        try:
            content = None if body is None else json.dumps(body)
            return asked(connection, method, path, content, headers)
        finally:
            connection.close()

    def token(self, tenant, *permissions, **more):
        body = {"tenant": tenant, "permissions": permissions or ["read", "write"], **more}
        answer = self.operate("POST", "/api/admin/v1/tokens", body)
        assert answer.status == 201, answer.body
        return answer.json

    def limit(self, tenant, **limits):
        answer = self.operate("PATCH", f"/api/admin/v1/tenants/{tenant}/limits", limits)
        assert answer.status == 200, answer.body

    def client(self, tenant=None, token=None):
        return Client(self, tenant, token)


class Client:
    """Acts for one tenant, or with one token."""

    def __init__(self, server, tenant, token):
        self._server = server
        self._headers = {}
        if tenant is not None:
            self._headers["X_Scope_OrgID"] = tenant
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def ask(self, method, path, body=None, **headers):
        return self._server.ask(method, path, body, **{**self._headers, **headers})

    def get(self, path, *pairs):
        return self.ask("GET", f"/api/v1/{path}?{urllib.parse.urlencode(pairs)}")

    def query(self, promql):
        return self.get("query", ("query", promql), ("time", "1000")).data["result"]

    def names(self, promql):
        """(name, labels beside it) of each series of an answer."""
        return sorted(json.dumps(row["metric"], sort_keys=True) for row in self.query(promql))

    def write_lines(self, text, path="/write?precision=s"):
        return self.ask("POST", path, text.encode())

    def write_remote(self, *series):
        """``series``: label sets, each given one sample, or (labels, samples)."""
        rows = [one if isinstance(one, tuple) else (one, [(1_000_000, 1.0)]) for one in series]
        return self.ask(
            "POST",
            "/api/v1/write",
            remote_write.body(rows),
            **{name.replace("-", "_"): value for name, value in remote_write.HEADERS.items()},
        )


def asked(connection, method, path, body, headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers=named)
    return Answer(connection.getresponse())
