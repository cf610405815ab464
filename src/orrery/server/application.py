"""What happens between a request's headers and its answer; an ASGI application.

``listen`` gives one to each listener. It checks Host and Origin, finds the route, reads the body
within its limits, calls the handler, renders errors, and counts and logs what happened.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from typing import Any
from urllib.parse import unquote_plus

from prometheus_client import Counter, Histogram

from orrery.clock import Chance, Clock
from orrery.errors import Invalid, OrreryError
from orrery.server.answer import Send, compressed, error_response, send_response
from orrery.server.body import Body, Decompress, Disconnected, Receive, Refused
from orrery.server.hosts import Policy
from orrery.server.http import UNIX_PEER, Request, Response, Route
from orrery.server.limits import Budget, HttpLimits
from orrery.server.router import Found, Router
from orrery.telemetry import Event, Events, Telemetry

DRAIN_SECONDS_MAX = 2.0
STATUS_CLIENT_LEFT = 499
SECRET_PARAMETERS = frozenset({"p", "password", "token", "access_token", "secret", "api_key"})
UNMATCHED = "unmatched"


class Application:
    """One for each listener; ``hosts`` is None where names need no check.

    ``budget`` is shared between listeners. ``is_local`` is set for the Unix socket: its requests
    are not counted against ``requests_max``, so that an overloaded server can be looked at.
    """

    def __init__(
        self,
        *,
        router: Router,
        limits: HttpLimits,
        budget: Budget,
        hosts: Policy | None,
        is_local: bool,
        decompress: Decompress,
        executor: Executor,
        clock: Clock,
        chance: Chance,
        telemetry: Telemetry,
        events: Events,
    ) -> None:
        self._router = router
        self._limits = limits
        self._budget = budget
        self._hosts = hosts
        self._is_local = is_local
        self._decompress = decompress
        self._executor = executor
        self._clock = clock
        self._chance = chance
        self._telemetry = telemetry
        self._events = events
        self._active_count = 0
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        # Counted by hand and looked at when asked for: setting a gauge costs microseconds.
        telemetry.requests_active.set_function(lambda: budget.requests_active)
        telemetry.bodies_bytes_active.set_function(lambda: budget.bytes_held)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise AssertionError(f"uvicorn was told to hand in HTTP only, not {scope['type']}")
        exchange = Exchange(scope, receive, send, self._limits, self._budget, self._events)
        begun = self._clock.monotonic_seconds()
        self._active_count += 1
        self._budget.requests_active += 1
        try:
            await self._serve(exchange)
        except asyncio.CancelledError:
            # Only a stop whose grace is over cancels a request.
            exchange.leave()
            await exchange.send_last(error_response(503, "cannot finish: the server stops"))
        finally:
            self._active_count -= 1
            exchange.end()
            self._account(exchange, self._clock.monotonic_seconds() - begun)

    async def _serve(self, exchange: "Exchange") -> None:
        try:
            response = await self._answer(exchange)
        except Refused as refused:
            response = error_response(refused.status, str(refused), refused.headers)
            await self._drain(exchange)
        except Disconnected:
            exchange.leave()
            return
        try:
            if response.body:
                response = await compressed(
                    response,
                    headers=exchange.headers,
                    bytes_min=self._limits.gzip_bytes_min,
                    executor=self._executor,
                )
            await exchange.send(response)
        except Exception as failure:
            self._failed(exchange, failure)
            await exchange.send_last(error_response(500, "cannot send the answer"))

    async def _drain(self, exchange: "Exchange") -> None:
        try:
            await exchange.body.drain(
                bytes_max=self._limits.body_bytes_max, seconds_max=DRAIN_SECONDS_MAX
            )
        except Disconnected:
            exchange.leave()

    async def _answer(self, exchange: "Exchange") -> Response:
        self._check_welcome(exchange)
        found = self._find(exchange)
        exchange.route = found.route.path
        refusal = self._refusal(found, exchange)
        if refusal is not None:
            await self._drain(exchange)
            return refusal
        body = await exchange.body.read()
        if not found.route.compressed_whole:
            body = await exchange.body.decompressed(
                body, decompress=self._decompress, executor=self._executor
            )
        return await self._handled(found, exchange, exchange.request(body, found))

    def _refusal(self, found: Found, exchange: "Exchange") -> Response | None:
        """The answer to a caller whom the route does not admit."""
        if found.route.admit is None:
            return None
        try:
            found.route.admit(exchange.request(b"", found))
        except OrreryError as error:
            return self._rendered(found.route, exchange, error)
        except Exception as failure:
            return self._failed(exchange, failure)
        return None

    def _check_welcome(self, exchange: "Exchange") -> None:
        if exchange.host_count > 1:
            raise Refused(400, "cannot serve a request with several Host headers")
        refusal = None
        if self._hosts is not None:
            refusal = self._hosts.refusal(exchange.method, exchange.headers)
        if refusal is not None:
            self._telemetry.denied.labels("host").inc()
            raise Refused(403, refusal)
        if not self._is_local and self._active_count > self._limits.requests_max:
            raise Refused(
                503,
                f"cannot serve the request: {self._limits.requests_max} are being served "
                "(http_requests_max)",
                (("retry-after", "1"),),
            )

    def _find(self, exchange: "Exchange") -> Found:
        try:
            found = self._router.find(exchange.method, exchange.raw_path)
        except Invalid as error:
            raise Refused(400, str(error)) from error
        if isinstance(found, Found):
            return found
        if found.allowed:
            allowed = ", ".join(found.allowed)
            raise Refused(
                405,
                f"cannot {exchange.method} {exchange.path!r}: it serves {allowed}",
                (("allow", allowed),),
            )
        raise Refused(404, f"cannot find {exchange.path!r}: nothing is served there")

    async def _handled(self, found: Found, exchange: "Exchange", request: Request) -> Response:
        try:
            return await found.route.handler(request)
        except OrreryError as error:
            return self._rendered(found.route, exchange, error)
        except Exception as failure:
            return self._failed(exchange, failure)

    def _rendered(self, route: Route, exchange: "Exchange", error: OrreryError) -> Response:
        try:
            return route.render_error(error)
        except Exception as failure:
            return self._failed(exchange, failure)

    def _failed(self, exchange: "Exchange", failure: Exception) -> Response:
        """No details for the client: it gets the id under which the log has them."""
        failure_id = self._chance.token_bytes(8).hex()
        self._telemetry.request_failures.inc()
        self._events.error(
            Event.REQUEST_FAILED,
            failure=failure,
            id=failure_id,
            method=exchange.method,
            url=exchange.url(),
            peer=exchange.peer,
        )
        return error_response(500, "an error inside the server; its log has the id", id=failure_id)

    def _account(self, exchange: "Exchange", seconds: float) -> None:
        telemetry = self._telemetry
        self._budget.requests_active -= 1
        if exchange.body.size_bytes:
            telemetry.body_bytes.inc(exchange.body.size_bytes)
        if exchange.sent_bytes:
            telemetry.response_bytes.inc(exchange.sent_bytes)
        self._counter(exchange).inc()
        self._histogram(exchange.route).observe(seconds)
        if seconds >= self._limits.slow_seconds:
            self._events.warning(Event.REQUEST_SLOW, **exchange.described(seconds))
        elif self._limits.log_requests:
            self._events.info(Event.REQUEST, **exchange.described(seconds))

    def _counter(self, exchange: "Exchange") -> Counter:
        # Looking a metric's child up by its labels costs more than counting does.
        key = (exchange.route, exchange.method, exchange.status)
        counter = self._counters.get(key)
        if counter is None:
            route, method, status = key
            counter = self._telemetry.requests.labels(route, method, str(status))
            self._counters[key] = counter
        return counter

    def _histogram(self, route: str) -> Histogram:
        histogram = self._histograms.get(route)
        if histogram is None:
            histogram = self._histograms[route] = self._telemetry.request_seconds.labels(route)
        return histogram


class Exchange:
    """One request and its answer, with what is known of both so far."""

    def __init__(
        self,
        scope: dict[str, Any],
        receive: Receive,
        send: Send,
        limits: HttpLimits,
        budget: Budget,
        events: Events,
    ) -> None:
        self._receive = receive
        self._send = send
        self._events = events
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.raw_path: str = scope["raw_path"].decode("latin-1")
        self.query: str = scope["query_string"].decode("latin-1")
        self.headers, self.host_count = _headers(scope["headers"])
        client = scope["client"]
        self.peer = UNIX_PEER if client is None else f"{client[0]}:{client[1]}"
        self.body = Body(receive=receive, headers=self.headers, limits=limits, budget=budget)
        self.route = UNMATCHED
        self.status = STATUS_CLIENT_LEFT
        self.sent_bytes = 0
        self._started = False
        self._ended = False
        self._left = False
        self._callbacks: list[Callable[[], None]] = []
        self._watcher: asyncio.Task[None] | None = None

    def request(self, body: bytes, found: Found) -> Request:
        return Request(
            method=self.method,
            path=self.path,
            query=self.query,
            headers=self.headers,
            body=body,
            peer=self.peer,
            parameters=found.parameters,
            on_disconnect=self.on_disconnect,
            hold=self.body.hold_more,
        )

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """To be called on the event loop; a client that has left already is told of at once."""
        if self._left:
            self._call(callback)
            return
        self._callbacks.append(callback)
        self._watch()

    def _watch(self) -> None:
        # Only a request that asks is watched: a task a request would cost each write 20 us.
        if self._watcher is None and not self._ended:
            self._watcher = asyncio.get_running_loop().create_task(self._wait_for_leave())

    async def _wait_for_leave(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.leave()

    def leave(self) -> None:
        """The client is gone: each callback is called once."""
        if self._ended or self._left:
            return
        self._left = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._call(callback)

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as failure:
            self._events.error(Event.DISCONNECT_CALLBACK_FAILED, failure=failure, url=self.url())

    async def send(self, response: Response) -> None:
        if not isinstance(response.body, bytes):
            self._watch()
        self._started = True
        self.status = response.status
        self.sent_bytes = await send_response(
            response,
            send=self._send,
            has_left=lambda: self._left,
            close=not self.body.is_read,
            head=self.method == "HEAD",
        )
        if self._left:
            self.status = STATUS_CLIENT_LEFT

    async def send_last(self, response: Response) -> None:
        """Answers unless an answer has begun: then it stays cut short, for the client to see."""
        if self._started:
            return
        self.body.is_read = False
        await self.send(response)

    def end(self) -> None:
        self._ended = True
        self.body.release()
        self._callbacks.clear()
        if self._watcher is not None:
            self._watcher.cancel()

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


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> tuple[dict[str, str], int]:
    headers: dict[str, str] = {}
    host_count = 0
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        host_count += name == "host"
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers, host_count
