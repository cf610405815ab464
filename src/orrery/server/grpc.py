"""gRPC listeners: unary methods on raw bytes, served by grpcio on the running event loop.

``app`` makes one :class:`GrpcServer` where a setting asks for it. The caller is looked at before
its message is read, and the message is left compressed: grpcio bounds what comes over the wire, not
what it becomes, so a handler takes the encoding off itself, within its bound
(docs/decisions/0086-otlp-over-grpc.md).
"""

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

from orrery.clock import Chance
from orrery.errors import Invalid, OrreryError, Unavailable
from orrery.server.http import Request
from orrery.server.limits import Budget, GrpcLimits
from orrery.server.listen import TcpListener
from orrery.telemetry import Event, Events, Telemetry

INTERNAL = 13
METADATA_KEY_DETAILS = "grpc-status-details-bin"
STREAMS_MAX = 128
"""Calls at once on one connection; further ones wait at the client."""
CALLS_MAX = 1024
"""Calls at once; further ones are refused by grpcio, as RESOURCE_EXHAUSTED."""
READS_MAX = 8
"""Messages being read at once: so many may be in memory before they count in the budget."""
IDLE_SECONDS_MAX = 300
ENCODINGS_BITS = 0b101
"""Of grpcio: identity and gzip."""


@dataclass(frozen=True, slots=True)
class GrpcAnswer:
    """``code`` 0 is success; ``details`` is a serialized ``google.rpc.Status``."""

    body: bytes = b""
    code: int = 0
    message: str = ""
    details: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcWire:
    """One method on one listener; as ``Route`` is for HTTP."""

    listener: TcpListener
    method: str
    handler: Callable[[Request], Awaitable[GrpcAnswer]]
    render_error: Callable[[OrreryError], GrpcAnswer]
    admit: Callable[[Request], object]


class GrpcServer:
    """Serves one wire until stopped."""

    def __init__(
        self,
        *,
        wire: GrpcWire,
        limits: GrpcLimits,
        budget: Budget,
        chance: Chance,
        telemetry: Telemetry,
        events: Events,
    ) -> None:
        self._wire = wire
        self._limits = limits
        self._budget = budget
        self._chance = chance
        self._telemetry = telemetry
        self._events = events
        self._reads = asyncio.Semaphore(READS_MAX)
        self._tasks: set[asyncio.Task[GrpcAnswer]] = set()
        self._server: _Server | None = None
        self.port = 0

    async def start(self) -> None:
        """``Invalid`` where grpcio is not installed, ``Unavailable`` where the port is not free."""
        grpc = _grpcio()
        server: _Server = grpc.aio.server(
            handlers=[self._handlers(grpc)],
            options=self._options(),
            maximum_concurrent_rpcs=CALLS_MAX,
        )
        listener = self._wire.listener
        host = f"[{listener.host}]" if ":" in listener.host else listener.host
        address = f"{host}:{listener.port}"
        try:
            if listener.certificate is None:
                self.port = server.add_insecure_port(address)
            else:
                credentials = _credentials(grpc, listener)
                self.port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise Unavailable(f"cannot listen on {address!r} for gRPC: {error}") from error
        await server.start()
        self._server = server
        self._events.info(Event.LISTENING, url=f"grpc://{host}:{self.port}")

    async def stop(self) -> None:
        """Takes no more calls and lets those at work finish within the grace."""
        if self._server is not None:
            await self._server.stop(self._limits.grace_seconds)
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _options(self) -> list[tuple[str, int]]:
        return [
            ("grpc.max_receive_message_length", self._limits.body_bytes_max),
            ("grpc.per_message_decompression", 0),
            ("grpc.compression_enabled_algorithms_bitset", ENCODINGS_BITS),
            ("grpc.max_metadata_size", self._limits.header_bytes_max),
            ("grpc.max_concurrent_streams", STREAMS_MAX),
            ("grpc.max_connection_idle_ms", IDLE_SECONDS_MAX * 1000),
            # Else a second server would share the port, and take half of what is sent.
            ("grpc.so_reuseport", 0),
        ]

    def _handlers(self, grpc: ModuleType) -> object:
        async def serve(_messages: object, call: _Call) -> bytes:
            answer = await self._answer(call, grpc)
            self._telemetry.requests.labels(self._wire.method, "gRPC", str(answer.code)).inc()
            if not answer.code:
                return answer.body
            if answer.details:
                call.set_trailing_metadata(((METADATA_KEY_DETAILS, answer.details),))
            codes = {code.value[0]: code for code in grpc.StatusCode}
            await call.abort(codes[answer.code], answer.message)
            raise AssertionError("abort raises")

        service, _, method = self._wire.method.lstrip("/").partition("/")
        # On the wire a call with one message is the same; here it is read when it is wanted.
        handler = grpc.stream_unary_rpc_method_handler(serve)
        return grpc.method_handlers_generic_handler(service, {method: handler})

    async def _answer(self, call: "_Call", grpc: ModuleType) -> GrpcAnswer:
        headers = {
            name: value for name, value in call.invocation_metadata() if isinstance(value, str)
        }
        held = _Held(self._budget)
        try:
            self._wire.admit(self._request(call, headers, b"", held))
            async with self._reads:
                body = await self._read(call, grpc)
                held.hold(len(body))
            self._telemetry.body_bytes.inc(len(body))
            return await self._handled(self._request(call, headers, body, held), held)
        except OrreryError as error:
            held.release()
            return self._wire.render_error(error)

    async def _handled(self, request: Request, held: "_Held") -> GrpcAnswer:
        """A client that leaves does not take the write with it, nor the memory it holds."""
        task = asyncio.get_running_loop().create_task(self._finished(request, held))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _finished(self, request: Request, held: "_Held") -> GrpcAnswer:
        try:
            return await self._wire.handler(request)
        except OrreryError as error:
            return self._wire.render_error(error)
        except Exception as failure:
            failure_id = self._chance.token_bytes(8).hex()
            self._telemetry.request_failures.inc()
            self._events.error(
                Event.REQUEST_FAILED,
                failure=failure,
                id=failure_id,
                method="gRPC",
                url=request.path,
                peer=request.peer,
            )
            message = f"an error inside the server; its log has the id {failure_id}"
            return GrpcAnswer(code=INTERNAL, message=message)
        finally:
            held.release()

    async def _read(self, call: "_Call", grpc: ModuleType) -> bytes:
        """The one message of the call."""
        try:
            async with asyncio.timeout(self._limits.body_seconds_max):
                body = await call.read()
                if body is grpc.aio.EOF:
                    raise Invalid("cannot serve the call: it carries no message")
                if await call.read() is not grpc.aio.EOF:
                    raise Invalid("cannot serve the call: it carries more than one message")
        except TimeoutError as error:
            seconds = self._limits.body_seconds_max
            raise Unavailable(
                f"cannot serve the call: its message took more than {seconds} s "
                "(http_body_seconds_max)"
            ) from error
        assert isinstance(body, bytes), "a message that is not the end is bytes"
        return body

    def _request(
        self, call: "_Call", headers: dict[str, str], body: bytes, held: "_Held"
    ) -> Request:
        return Request(
            method="POST",
            path=self._wire.method,
            query="",
            headers=headers,
            body=body,
            peer=call.peer(),
            hold=held.hold,
        )


class _Server(Protocol):
    """What is used of ``grpc.aio.Server``."""

    def add_insecure_port(self, address: str) -> int: ...

    def add_secure_port(self, address: str, credentials: object) -> int: ...

    async def start(self) -> None: ...

    async def stop(self, grace: float) -> None: ...


class _Call(Protocol):
    """What is used of ``grpc.aio.ServicerContext``."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]: ...

    def peer(self) -> str: ...

    async def read(self) -> object: ...

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, bytes]]) -> None: ...

    async def abort(self, code: object, details: str) -> None: ...


class _Held:
    """What one call holds of the budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._count = 0

    def hold(self, count: int) -> None:
        self._budget.hold(count)
        self._count += count

    def release(self) -> None:
        self._budget.release(self._count)
        self._count = 0


def _grpcio() -> ModuleType:
    try:
        importlib.import_module("grpc.aio")
        return importlib.import_module("grpc")
    except ImportError as error:
        raise Invalid(f"cannot serve gRPC: {error} (pip install 'orrery-db[grpc]')") from error


def _credentials(grpc: ModuleType, listener: TcpListener) -> object:
    """Asked for with each new connection, so that a certificate that was read again is served."""
    certificate = listener.certificate
    assert certificate is not None, "a listener without a certificate is served in the clear"
    served = [certificate.pem]

    def configuration() -> object:
        key, chain = served[0]
        return grpc.ssl_server_certificate_configuration([(key, chain)])

    def changed() -> object:
        if certificate.pem == served[0]:
            return None
        served[0] = certificate.pem
        return configuration()

    return grpc.dynamic_ssl_server_credentials(configuration(), changed)
