"""A server on a free loopback port, on a thread of its own, and plain clients for it."""

import asyncio
import contextlib
import gzip
import http.client
import logging
import socket
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import uvloop

from orrery.clock import SystemChance, SystemClock
from orrery.errors import Denied, Exhausted, Invalid
from orrery.server.answer import error_response
from orrery.server.application import Application
from orrery.server.hosts import HostPolicy
from orrery.server.http import Response, Route
from orrery.server.limits import Budget, HttpLimits
from orrery.server.listen import HttpServer, TcpListener
from orrery.server.router import Router
from orrery.server.tls import Certificate
from orrery.telemetry import Events, Telemetry

LIMITS = HttpLimits(
    header_bytes_max=4096,
    header_seconds_max=5.0,
    body_bytes_max=200_000,
    body_decompressed_bytes_max=1_000_000,
    body_seconds_max=5.0,
    bodies_bytes_max=400_000,
    connections_max=50,
    requests_max=8,
    keep_alive_seconds=5.0,
    stall_seconds_max=5.0,
    gzip_bytes_min=1000,
    grace_seconds=5.0,
    slow_seconds=100.0,
)


def decompress(encoding, body, *, size_bytes_max):
    """The kernel's promise for the encodings that the standard library has."""
    if encoding not in ("gzip", "deflate"):
        raise Invalid(f"cannot decompress a body: no {encoding} here")
    reader = zlib.decompressobj(31 if encoding == "gzip" else 15)
    try:
        result = reader.decompress(body, size_bytes_max + 1)
    except zlib.error as error:
        raise Invalid(f"cannot decompress a gzip body: {error}") from error
    if len(result) > size_bytes_max:
        raise Exhausted(f"cannot decompress a gzip body: larger than {size_bytes_max} bytes")
    return result


def render_error(error):
    status = {Invalid: 422, Denied: 403, Exhausted: 429}.get(type(error), 599)
    return error_response(status, str(error))


def route(methods, path, handler, **more):
    return Route(frozenset(methods.split()), path, handler, render_error, **more)


async def echo(request):
    return Response(200, request.body, (("x-peer", request.peer),), "text/plain")


class Running:
    """``with Running(routes) as server``: ``server.port`` answers until the block ends."""

    def __init__(self, routes, *, hosts=None, listeners=None, log=None, **limits):
        self.limits = replace(LIMITS, **limits)
        self.telemetry = Telemetry()
        self._executor = ThreadPoolExecutor(2)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        logger = logging.Logger("orrery")
        if log is not None:
            logger.addHandler(log)
        events = Events(logger)
        shared = {
            "router": Router([*routes, route("GET POST PUT", "/echo", echo)]),
            "limits": self.limits,
            "budget": Budget(self.limits.bodies_bytes_max),
            "hosts": hosts,
            "decompress": decompress,
            "executor": self._executor,
            "clock": SystemClock(),
            "chance": SystemChance(),
            "telemetry": self.telemetry,
            "events": events,
        }
        self.server = HttpServer(
            listeners=listeners or [TcpListener("127.0.0.1", 0)],
            application_for=lambda listener: Application(
                is_local=not isinstance(listener, TcpListener), **shared
            ),
            limits=self.limits,
            telemetry=self.telemetry,
            events=events,
        )

    def __enter__(self):
        self._thread.start()
        try:
            self.call(self.server.start())
        except BaseException:
            self._end()
            raise
        self.port = int(self.server.urls[0].rpartition(":")[2])
        return self

    def __exit__(self, *_):
        try:
            self.call(self.server.stop())
        finally:
            self._end()

    def _end(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._executor.shutdown()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def start_call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def metric(self, name, **labels):
        return self.telemetry.registry.get_sample_value(name, labels)

    @contextlib.contextmanager
    def connected(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            yield connection
        finally:
            connection.close()

    def ask(self, method, path, body=None, headers=None):
        with self.connected() as connection:
            connection.request(method, path, body=body, headers=headers or {})
            return read(connection.getresponse())

    @contextlib.contextmanager
    def raw(self, *sent):
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            for part in sent:
                connection.sendall(part)
            yield connection


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


def read(response):
    body = response.read()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, body)


def until_closed(connection):
    """Everything the server sends until it closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


async def until(is_true):
    async with asyncio.timeout(10):
        while not is_true():  # noqa: ASYNC110 - nothing tells of a gauge
            await asyncio.sleep(0.01)


def zipped(content):
    return gzip.compress(content)


def certificate(directory, name):
    return Certificate(
        certificate_file=directory / f"{name}.crt", key_file=directory / f"{name}.key"
    )


LOOPBACK_ONLY = HostPolicy()
