"""gRPC listeners: who is let in, what is bounded, how errors are told; with grpcio's own client."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
import pytest

from orrery.clock import SystemChance
from orrery.errors import Denied, Exhausted, Invalid, OrreryError, Unavailable
from orrery.server import grpc as served
from orrery.server.grpc import GrpcAnswer, GrpcServer, GrpcWire
from orrery.server.http import Request
from orrery.server.limits import Budget, GrpcLimits
from orrery.server.listen import TcpListener
from orrery.telemetry import Events, Telemetry

METHOD = "/a.package.Service/Call"
BODY_BYTES_MAX = 100_000


@dataclass
class Echo:
    """Answers with what it was sent; ``error`` is raised by the handler, ``denied`` before it."""

    error: BaseException | None = None
    denied: OrreryError | None = None
    requests: list[Request] = field(default_factory=list)
    gate: asyncio.Event | None = None
    reached: asyncio.Event | None = None

    def admit(self, request: Request) -> None:
        assert request.body == b""
        if self.denied is not None:
            raise self.denied

    async def handler(self, request: Request) -> GrpcAnswer:
        self.requests.append(request)
        if self.gate is not None and self.reached is not None:
            self.reached.set()
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return GrpcAnswer(request.body)

    def render_error(self, error: OrreryError) -> GrpcAnswer:
        code = {Denied: 7, Invalid: 3, Exhausted: 8, Unavailable: 14}[type(error)]
        return GrpcAnswer(code=code, message=str(error), details=b"\x08\x07")

    def wire(self, port: int = 0) -> GrpcWire:
        return GrpcWire(
            listener=TcpListener("127.0.0.1", port),
            method=METHOD,
            handler=self.handler,
            render_error=self.render_error,
            admit=self.admit,
        )


def server_of(wire: GrpcWire, budget: Budget, *, seconds: float = 5.0) -> GrpcServer:
    return GrpcServer(
        wire=wire,
        limits=GrpcLimits(
            body_bytes_max=BODY_BYTES_MAX,
            body_seconds_max=seconds,
            header_bytes_max=8192,
            grace_seconds=5.0,
        ),
        budget=budget,
        chance=SystemChance(),
        telemetry=Telemetry(),
        events=Events(logging.getLogger("orrery")),
    )


@asynccontextmanager
async def calling(echo: Echo, budget: Budget, *, seconds: float = 5.0) -> AsyncIterator[object]:
    server = server_of(echo.wire(), budget, seconds=seconds)
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
    try:
        yield channel
    finally:
        await channel.close()
        await server.stop()


def call(echo: Echo, use: Callable, *, bytes_max: int = 1_000_000, seconds: float = 5.0):
    """Runs ``use(channel)`` beside a server; nothing is held of its budget afterwards."""
    budget = Budget(bytes_max)

    async def run() -> object:
        async with calling(echo, budget, seconds=seconds) as channel:
            return await use(channel)

    result = asyncio.run(run())
    assert budget.bytes_held == 0
    return result


def unary(body: bytes, **more: object) -> Callable:
    async def use(channel) -> bytes:
        return await channel.unary_unary(METHOD)(body, timeout=20, **more)

    return use


def refused(echo: Echo, use: Callable, **more: object):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        call(echo, use, **more)
    return caught.value


def test_a_call_is_answered() -> None:
    echo = Echo()
    metadata = (("authorization", "Bearer x"), ("some-bin", b"\xff"))
    assert call(echo, unary(b"hello", metadata=metadata)) == b"hello"
    (request,) = echo.requests
    assert (request.method, request.path, request.query) == ("POST", METHOD, "")
    assert request.headers["authorization"] == "Bearer x"
    assert "some-bin" not in request.headers
    assert request.peer.startswith("ipv4:127.0.0.1:")


def test_what_is_compressed_arrives_so() -> None:
    """It would not be bounded otherwise."""
    echo = Echo()
    call(echo, unary(b"\n" + b"\0" * 90_000, compression=grpc.Compression.Gzip))
    (request,) = echo.requests
    assert len(request.body) < 1000
    assert gzip.decompress(request.body) == b"\n" + b"\0" * 90_000


def test_a_stranger_is_refused_before_the_message_is_read() -> None:
    echo = Echo(denied=Denied("who are you"))

    async def never_ending() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def use(channel) -> bytes:
        return await channel.stream_unary(METHOD)(never_ending(), timeout=20)

    error = refused(echo, use)
    assert (error.code(), error.details()) == (grpc.StatusCode.PERMISSION_DENIED, "who are you")
    assert dict(error.trailing_metadata())["grpc-status-details-bin"] == b"\x08\x07"
    assert echo.requests == []


def test_errors_are_rendered_by_the_wire() -> None:
    error = refused(Echo(error=Invalid("no such thing")), unary(b"x"))
    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "no such thing")


def test_an_error_nobody_foresaw_tells_nothing() -> None:
    error = refused(Echo(error=RuntimeError("a secret")), unary(b"x"))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "its log has the id" in error.details()
    assert "secret" not in error.details()


def test_a_large_message_is_refused() -> None:
    error = refused(Echo(), unary(b"x" * (BODY_BYTES_MAX + 1)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(BODY_BYTES_MAX) in error.details()


def test_messages_count_in_the_budget() -> None:
    error = refused(Echo(), unary(b"x" * 2000), bytes_max=1000)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "http_bodies_bytes_max" in error.details()


def test_a_slow_sender_is_cut_off() -> None:
    async def slow() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async def use(channel) -> bytes:
        return await channel.stream_unary(METHOD)(slow(), timeout=20)

    error = refused(Echo(), use, seconds=0.1)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "http_body_seconds_max" in error.details()


@pytest.mark.parametrize(("count", "cause"), [(0, "no message"), (2, "more than one message")])
def test_a_call_has_one_message(count: int, cause: str) -> None:
    async def messages() -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"x"

    async def use(channel) -> bytes:
        return await channel.stream_unary(METHOD)(messages(), timeout=20)

    error = refused(Echo(), use)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert cause in error.details()


def test_other_methods_are_unimplemented() -> None:
    async def use(channel) -> bytes:
        return await channel.unary_unary("/a.package.Service/Other")(b"", timeout=20)

    assert refused(Echo(), use).code() is grpc.StatusCode.UNIMPLEMENTED


def test_what_a_client_left_behind_is_finished() -> None:
    """A write that may be in the log already is not cancelled, and lets go of its memory."""

    async def use(channel) -> bool:
        echo.gate, echo.reached = asyncio.Event(), asyncio.Event()
        sent = channel.unary_unary(METHOD)(b"x")
        await echo.reached.wait()
        sent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sent
        echo.gate.set()
        return True

    echo = Echo()
    assert call(echo, use)


def test_a_port_that_is_taken_is_named() -> None:
    async def run() -> None:
        first = server_of(Echo().wire(), Budget(1000))
        await first.start()
        try:
            with pytest.raises(Unavailable, match=str(first.port)):
                await server_of(Echo().wire(first.port), Budget(1000)).start()
        finally:
            await first.stop()

    asyncio.run(run())


def test_without_grpcio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(served.importlib, "import_module", absent)
    with pytest.raises(Invalid, match=r"pip install 'orrery-db\[grpc\]'"):
        asyncio.run(server_of(Echo().wire(), Budget(1000)).start())
