"""An engine whose store is a dictionary, under the real kernels for reading; for tests of what
stands on an engine. And the same behind real sockets, for the remote side."""

import asyncio
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from orrery.errors import Invalid, OrreryError
from orrery.kernels.line_protocol import decode_line_protocol
from orrery.kernels.memory_source import memory_source
from orrery.kernels.meter import Meter
from orrery.kernels.remote_write import decode_remote_write_1
from orrery.kernels.snapshot import Snapshot
from orrery.languages.promql.prepare import Preparations
from orrery.model.receipts import Receipt
from orrery.protocols.prometheus.parts import Parts
from orrery.protocols.prometheus.reads import routes
from orrery.query.cache import ResultCache
from orrery.query.queries import Queries
from orrery.query.schedule import Schedule
from orrery.server.http import Request, Response, Route
from orrery.server.router import Found, Router
from tests.protocols.prometheus.harness import FakeAccess, receipt_of
from tests.query.fakes import FakeAdmission, FakeChanges, FakeClock

KINDS = {1: np.float64, 2: np.int64, 3: np.uint64, 4: np.uint64}
MINUTE_NS = 60_000_000_000


@dataclass(frozen=True)
class Acknowledged:
    sample_count: int
    rejected: tuple[tuple[int, str], ...]
    acknowledgement: str = "memory"


def done(result) -> Future:
    future: Future = Future()
    future.set_result(result)
    return future


class MemoryEngine:
    """``store``, ``accept`` and ``queries`` of an engine, all in one; refuses samples that lie
    more than ten minutes ahead."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.schedule = Schedule(threads_max=2)
        self.samples: dict[bytes, dict[int, float]] = {}
        self.flushed_count = 0
        self.is_closed = False
        self.queries = Queries(
            store=self,
            schedule=self.schedule,
            admission=FakeAdmission(series_max=10**9, samples_max=10**9),
            meter_of=Meter,
            clock=self.clock,
        )

    @property
    def store(self) -> "MemoryEngine":
        return self

    @property
    def accept(self) -> "MemoryEngine":
        return self

    @property
    def receipts(self) -> "MemoryReceipts":
        return MemoryReceipts(self)

    def write(self, tenant, batch, *, defaults=(), forced=()) -> Future:
        columns = batch.columns()
        first, rejected, count = 0, [], 0
        for key, last in enumerate(columns["sample_ends"].tolist()):
            kept = self.samples.setdefault(batch.canonical(key), {})
            for at in range(first, last):
                time_ns, kind = int(columns["times_ns"][at]), int(columns["kinds"][at])
                if time_ns > self.clock.now_ns() + 10 * MINUTE_NS:
                    rejected.append((int(columns["lines"][key]), f"{time_ns} is too far ahead"))
                    continue
                count += 1
                if kind in KINDS:
                    kept[time_ns] = float(columns["values"][at : at + 1].view(KINDS[kind])[0])
            first = last
        return done(Acknowledged(count, tuple(rejected)))

    def delete(self, tenant, selector, *, min_ns, max_ns) -> Future:
        meter = Meter(samples_max=10**9, series_max=10**9, deadline_seconds=None)
        matchers = [(m.label, str(m.operator), m.value) for m in selector.matchers]
        found = self.snapshot().select(tenant, matchers, min_ns, max_ns, meter)
        for at in range(len(found)):
            kept = self.samples[found.canonical(at)]
            for time_ns in [t for t in kept if min_ns <= t <= max_ns]:
                del kept[time_ns]
        return done(0)

    def snapshot(self, tenant: str = "default") -> Snapshot:
        filled = {name: sorted(kept.items()) for name, kept in self.samples.items() if kept}
        flat = [sample for name in sorted(filled) for sample in filled[name]]
        source = memory_source(
            "default",
            sorted(filled),
            np.cumsum([0, *(len(filled[name]) for name in sorted(filled))]),
            np.array([time_ns for time_ns, _ in flat], np.int64),
            np.array([value for _, value in flat], np.float64),
        )
        return Snapshot([source], [])

    def flush(self) -> bool:
        self.flushed_count += 1
        return True

    def close(self) -> None:
        self.is_closed = True
        self.schedule.close()


class MemoryReceipts:
    """Answers deletes; counts nothing and keeps none."""

    def __init__(self, engine: MemoryEngine) -> None:
        self.engine = engine

    def delete(self, tenant, selector, *, min_ns, max_ns) -> Receipt:
        self.engine.delete(tenant, selector, min_ns=min_ns, max_ns=max_ns)
        return receipt_of(tenant, selector, min_ns, max_ns)


class MemoryServer:
    """The engine behind HTTP on a port of its own; ``seen`` are the headers of each request."""

    def __init__(self, engine: MemoryEngine) -> None:
        self.engine = engine
        self.seen: list[dict[str, str]] = []
        self.gzip = False
        access = FakeAccess(tenant="default")
        parts = Parts(
            access=access,
            queries=engine.queries,
            metadata_of=lambda tenant, name=None: [],
            receipts=engine.receipts,
            preparations=Preparations(),
            cache=ResultCache(
                changes=FakeChanges(), bytes_max=0, counted=lambda outcome, bytes_held: None
            ),
            clock=engine.clock,
            version="0",
            started_ns=0,
        )
        post = frozenset({"POST"})
        written = [
            Route(post, "/influxdb/api/v2/write", self.write_lines, refuse),
            Route(post, "/prometheus/api/v1/write", self.write_samples, refuse),
        ]
        self.router = Router([*routes(parts), *written])
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    async def write_lines(self, request: Request) -> Response:
        batch = decode_line_protocol(request.body, precision_ns=1, now_ns=0)
        return self.written(batch, "dropped={}")

    async def write_samples(self, request: Request) -> Response:
        encoding = request.headers["content-encoding"]
        batch = decode_remote_write_1(request.body, encoding=encoding, size_bytes_max=1 << 20)
        return self.written(batch, "{} samples refused")

    def written(self, batch, told: str) -> Response:
        result = self.engine.write("default", batch).result()
        headers = (("x-orrery-acknowledgement", result.acknowledgement),)
        if not result.rejected:
            return Response(204, headers=headers)
        body = {
            "message": "partial write: too old " + told.format(len(result.rejected)),
            "rejected": [{"line": line, "reason": reason} for line, reason in result.rejected],
        }
        return Response(400, dump(body))

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()
        self.engine.close()


def refuse(error: OrreryError) -> Response:
    return Response(400 if isinstance(error, Invalid) else 503, dump({"error": str(error)}))


def dump(value) -> bytes:
    import json

    return json.dumps(value).encode()


def handler_of(server: MemoryServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.serve()

        def do_POST(self) -> None:
            self.serve()

        def serve(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.seen.append(headers)
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(headers.get("content-length", 0)))
            response = self.answer(path, query, headers, body)
            content = response.body
            self.send_response(response.status)
            for name, value in response.headers:
                self.send_header(name, value)
            if server.gzip:
                import gzip

                content = gzip.compress(content)
                self.send_header("content-encoding", "gzip")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def answer(self, path, query, headers, body) -> Response:
            found = server.router.find(self.command, path)
            if not isinstance(found, Found):
                return Response(404, b"nothing is served there")
            request = Request(
                self.command, path, query, headers, body, "127.0.0.1:1", found.parameters
            )
            try:
                return asyncio.run(found.route.handler(request))
            except OrreryError as error:
                return found.route.render_error(error)

        def log_message(self, *_args) -> None:
            pass

    return Handler
