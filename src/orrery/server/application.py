"""What happens between a request's headers and its answer.

``connection`` hands in each exchange, first with its headers and then with its body. Host and
Origin are checked, the route is found and says whether it admits the caller; then the handler is
called, errors are rendered, and what happened is counted and logged.
"""

import asyncio
from concurrent.futures import Executor

from prometheus_client import Counter, Histogram

from orrery.clock import Chance, Clock
from orrery.errors import Invalid, OrreryError
from orrery.server.answer import Dates, compressed, error_response
from orrery.server.body import Body, Decompress, Refused
from orrery.server.exchange import Exchange
from orrery.server.hosts import Policy
from orrery.server.http import Request, Response, Route
from orrery.server.limits import Budget, HttpLimits
from orrery.server.router import Found, Router
from orrery.telemetry import Event, Events, Telemetry


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
        self._dates = Dates(clock)
        self._active_count = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        # Counted by hand and looked at when asked for: setting a gauge costs microseconds.
        telemetry.requests_active.set_function(lambda: budget.requests_active)
        telemetry.bodies_bytes_active.set_function(lambda: budget.bytes_held)

    def body(self) -> Body:
        """For one more request."""
        return Body(limits=self._limits, budget=self._budget)

    def begin(self, exchange: Exchange) -> None:
        """Its headers are there. Where ``exchange.refusal`` is set now, its body is not wanted;
        else the body is to be added until it is whole. ``serve`` or ``abandon`` is to follow."""
        exchange.begun_seconds = self._clock.monotonic_seconds()
        self._active_count += 1
        self._budget.requests_active += 1
        try:
            self._check_welcome(exchange)
            found = self._find(exchange)
            exchange.found, exchange.route = found, found.route.path
            if exchange.has_body:
                exchange.body.check_declared(int(exchange.headers.get("content-length", "0")))
        except Refused as refused:
            self.refuse(exchange, refused)
        else:
            exchange.refusal = self._refusal(found, exchange)

    def refuse(self, exchange: Exchange, refused: Refused) -> None:
        """Before a handler was called."""
        exchange.refusal = error_response(refused.status, str(refused), refused.headers)

    def serve(self, exchange: Exchange) -> None:
        """Its body is whole, or it is refused: answers, and ends the exchange."""
        task = asyncio.get_running_loop().create_task(self._serve_and_end(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def abandon(self, exchange: Exchange) -> None:
        """The client left, or cannot be understood any more, before the body was whole."""
        exchange.leave()
        self._end(exchange)

    def cancel(self) -> None:
        """For a stop whose grace is over: what is being served is answered with 503."""
        for task in list(self._tasks):
            task.cancel()

    async def finished(self) -> None:
        """Returns once nothing is being served, also for clients that left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve_and_end(self, exchange: Exchange) -> None:
        try:
            await self._serve(exchange)
        except asyncio.CancelledError:
            exchange.leave()
            last = error_response(503, "cannot finish: the server stops")
            await exchange.send_last(last, self._dates)
        finally:
            self._end(exchange)

    def _end(self, exchange: Exchange) -> None:
        self._active_count -= 1
        self._budget.requests_active -= 1
        self._account(exchange, self._clock.monotonic_seconds() - exchange.begun_seconds)
        exchange.end()

    async def _serve(self, exchange: Exchange) -> None:
        response = exchange.refusal
        if response is None:
            try:
                response = await self._answer(exchange)
            except Refused as refused:
                response = error_response(refused.status, str(refused), refused.headers)
        try:
            if response.body:
                response = await compressed(
                    response,
                    headers=exchange.headers,
                    bytes_min=self._limits.gzip_bytes_min,
                    executor=self._executor,
                )
            await exchange.send(response, self._dates)
        except Exception as failure:
            self._failed(exchange, failure)
            await exchange.send_last(error_response(500, "cannot send the answer"), self._dates)

    async def _answer(self, exchange: Exchange) -> Response:
        found, body = exchange.found, exchange.body.whole()
        assert found is not None, "an exchange that nothing was found for is refused"
        if not found.route.compressed_whole and "content-encoding" in exchange.headers:
            body = await exchange.body.decompressed(
                body,
                exchange.headers["content-encoding"],
                decompress=self._decompress,
                executor=self._executor,
            )
        return await self._handled(found, exchange, _request(exchange, body, found))

    def _refusal(self, found: Found, exchange: Exchange) -> Response | None:
        """The answer to a caller whom the route does not admit."""
        if found.route.admit is None:
            return None
        try:
            exchange.admitted = found.route.admit(_request(exchange, b"", found))
        except OrreryError as error:
            return self._rendered(found.route, exchange, error)
        except Exception as failure:
            return self._failed(exchange, failure)
        return None

    def _check_welcome(self, exchange: Exchange) -> None:
        if exchange.host_count > 1:
            raise Refused(400, "cannot serve a request with several Host headers")
        if exchange.is_upgrade and exchange.has_body:
            # The parser takes what follows for the other protocol's, whatever its length says.
            raise Refused(400, "cannot serve a request that has a body and asks for an upgrade")
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

    def _find(self, exchange: Exchange) -> Found:
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

    async def _handled(self, found: Found, exchange: Exchange, request: Request) -> Response:
        try:
            return await found.route.handler(request)
        except OrreryError as error:
            return self._rendered(found.route, exchange, error)
        except Exception as failure:
            return self._failed(exchange, failure)

    def _rendered(self, route: Route, exchange: Exchange, error: OrreryError) -> Response:
        try:
            return route.render_error(error)
        except Exception as failure:
            return self._failed(exchange, failure)

    def _failed(self, exchange: Exchange, failure: Exception) -> Response:
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

    def _account(self, exchange: Exchange, seconds: float) -> None:
        telemetry = self._telemetry
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

    def _counter(self, exchange: Exchange) -> Counter:
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


def _request(exchange: Exchange, body: bytes, found: Found) -> Request:
    return Request(
        exchange.method,
        exchange.path,
        exchange.query,
        exchange.headers,
        body,
        exchange.peer,
        found.parameters,
        exchange.on_disconnect,
        exchange.body.hold_more,
        exchange.admitted,
    )
