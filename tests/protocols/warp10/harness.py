"""Warp 10's routes over an engine of this process: what a client sends and is sent."""

import asyncio
import dataclasses
import json
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from orrery.app import open_engine
from orrery.app.engine import Engine
from orrery.clock import SystemClock
from orrery.errors import OrreryError
from orrery.ingest.front import Front
from orrery.ingest.parts import WriteParts
from orrery.protocols.warp10 import wire
from orrery.protocols.warp10.parts import Parts
from orrery.server.http import Request, Response
from orrery.settings import Settings
from orrery.telemetry import Telemetry
from orrery.tenancy.access import OpenAccess

NOW_NS = 1_700_000_000_123_456_789
NOW_US = NOW_NS // 1000


@dataclasses.dataclass
class StillClock(SystemClock):
    """The wall clock stands."""

    def now_ns(self) -> int:
        return NOW_NS


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str]
    content_type: str

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def json(self):
        return json.loads(self.body)


@dataclasses.dataclass(frozen=True)
class Client:
    parts: Parts
    engine: Engine
    tenant: str = "t"

    def send(self, path: str, body: bytes = b"", method: str = "POST", headers=None, **arguments):
        given = {"x-scope-orgid": self.tenant, **(headers or {})}
        request = Request(
            method=method,
            path=f"/api/v0/{path}",
            query=urllib.parse.urlencode(arguments),
            headers=given,
            body=body,
            peer="test",
        )
        return asyncio.run(answered(self.parts, request))

    def update(self, *lines: str, **headers: str) -> Answer:
        return self.send("update", "\n".join(lines).encode(), headers=headers)

    def meta(self, *lines: str) -> Answer:
        return self.send("meta", "\n".join(lines).encode())

    def find(self, selector: str, **arguments: object) -> Answer:
        return self.send("find", method="GET", selector=selector, **arguments)

    def fetch(self, selector: str, **arguments: object) -> Answer:
        if not arguments.keys() & {"now", "end", "stop"}:
            arguments |= {"end": 2**62 // 1000, "start": -(2**62) // 1000}
        return self.send("fetch", method="GET", selector=selector, **arguments)

    def delete(self, selector: str, **arguments: object) -> Answer:
        return self.send("delete", method="GET", selector=selector, **arguments)


async def answered(parts: Parts, request: Request) -> Answer:
    [route] = [
        one
        for one in wire.routes(parts)
        if one.path == request.path and request.method in one.methods
    ]
    try:
        response = await route.handler(request)
    except OrreryError as error:
        response = route.render_error(error)
    return Answer(
        response.status, await whole(response), dict(response.headers), response.content_type
    )


async def whole(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    return b"".join([chunk async for chunk in response.body])


@contextmanager
def opened(
    path: Path, *, unit_ns: int = 1000, settings: Settings | None = None
) -> Iterator[Client]:
    clock = StillClock()
    engine = open_engine(path / "data", settings=settings or Settings(), clock=clock)
    pool = ThreadPoolExecutor(max_workers=1)
    parts = Parts(
        writing=WriteParts(
            access=OpenAccess(telemetry=Telemetry()),
            accept=Front(accept=engine.accept, is_durable=engine.limits.is_durable),
            decode_executor=pool,
            clock=clock,
            size_bytes_max=2**20,
        ),
        queries=engine.queries,
        attributes_of=engine.store.attributes_of,
        write_attributes=engine.accept.write_attributes,
        delete=engine.receipts.delete,
        unit_ns=unit_ns,
    )
    try:
        yield Client(parts, engine)
    finally:
        pool.shutdown()
        engine.close()
