"""What a write handler needs, faked: everybody is let in, batches are kept in a list."""

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from orrery.errors import Invalid, OrreryError
from orrery.ingest.contract import Written
from orrery.ingest.parts import WriteParts
from orrery.kernels.batch import Batch
from orrery.server.http import Request, Response, Route
from tests.kernels.samples import value_of


@dataclass
class FakeClock:
    time_ns: int = 1_700_000_000_000_000_000

    def now_ns(self) -> int:
        return self.time_ns

    def monotonic_seconds(self) -> float:
        return 0.0

    def sleep_seconds(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")


@dataclass
class FakeCaller:
    tenant: str = "t1"
    forced_labels: tuple[tuple[str, str], ...] = ()


@dataclass
class FakeAccess:
    answer: FakeCaller | OrreryError = field(default_factory=FakeCaller)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def caller(self, request: Request, *, permission: str, scheme: str) -> FakeCaller:
        self.asked.append((permission, scheme))
        if isinstance(self.answer, OrreryError):
            raise self.answer
        return self.answer


@dataclass
class FakeAccept:
    """Names series as the table does; ``error`` is raised by the call, ``failure`` later."""

    error: OrreryError | None = None
    failure: OrreryError | None = None
    acknowledgement: str = "fsynced"
    stored: list[tuple] = field(default_factory=list)
    metadata: list[tuple] = field(default_factory=list)
    is_busy: bool = False

    def write(self, tenant: str, batch: Batch, *, defaults, forced) -> "Future[Written]":
        from orrery.kernels.series import parse_series

        if self.error is not None:
            raise self.error
        future: Future[Written] = Future()
        if self.failure is not None:
            future.set_exception(self.failure)
            return future
        columns, rejected, count, start = batch.columns(), [], 0, 0
        for key, end in enumerate(columns["sample_ends"].tolist()):
            samples, start = range(start, end), end
            try:
                series = parse_series(batch.canonical(key, defaults=defaults, forced=forced))
            except Invalid as error:
                rejected.append((int(columns["lines"][key]), str(error)))
                continue
            count += len(samples)
            for at in samples:
                time_ns = int(columns["times_ns"][at])
                self.stored.append((tenant, *series, time_ns, value_of(batch, columns, at)))
        self.metadata += batch.metadata
        future.set_result(
            Written(
                sample_count=count,
                samples_rejected_count=len(columns["times_ns"]) - count,
                series_rejected_count=len(rejected),
                new_series_count=0,
                rejected=tuple(rejected),
                lines_rejected_count=len({line for line, _ in rejected if line}),
                acknowledgement=self.acknowledgement,
                offset=0,
            )
        )
        return future


def answer_to(routes: list[Route], request: Request) -> Response:
    """Finds the route and renders errors, as the server does."""
    [route] = [r for r in routes if r.path == request.path and request.method in r.methods]

    async def serve() -> Response:
        try:
            return await route.handler(request)
        except OrreryError as error:
            return route.render_error(error)

    return asyncio.run(serve())


def request_for(method: str, path: str, *, query="", headers=None, body=b"") -> Request:
    return Request(
        method=method, path=path, query=query, headers=headers or {}, body=body, peer="test"
    )


def executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1)


def parts(access, accept, pool, *, size_bytes_max: int) -> WriteParts:
    return WriteParts(
        access=access,
        accept=accept,
        decode_executor=pool,
        clock=FakeClock(),
        size_bytes_max=size_bytes_max,
    )
