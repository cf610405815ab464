"""The read side over a real snapshot of samples in memory: requests in, responses out."""

import asyncio
import json
from dataclasses import dataclass, field
from urllib.parse import urlencode

import numpy as np

from orrery.errors import OrreryError
from orrery.kernels.memory_source import memory_source
from orrery.kernels.meter import Meter
from orrery.kernels.series import encode_series
from orrery.kernels.snapshot import Snapshot
from orrery.languages.promql.prepare import Preparations
from orrery.model.receipts import Held, Receipt
from orrery.protocols.prometheus.parts import Parts
from orrery.protocols.prometheus.reads import routes
from orrery.query.cache import ResultCache
from orrery.query.queries import Queries
from orrery.query.schedule import Schedule
from orrery.server.http import Request, Response
from orrery.server.router import Found, Router
from orrery.tenancy.access import Caller
from orrery.tenancy.tokens import Permission
from tests.query.fakes import FakeAdmission, FakeChanges, FakeClock

SECOND = 1_000_000_000
EVERYTHING = frozenset(Permission)


class MemoryStore:
    """Series of one tenant, ``{(name, field, labels): {time_seconds: value}}``."""

    def __init__(self, series: dict) -> None:
        self._series = series

    def snapshot(self, tenant: str) -> Snapshot:
        names = sorted(self._series)
        times, values, offsets = [], [], [0]
        for name in names:
            samples = sorted(self._series[name].items())
            times += [round(time * SECOND) for time, _ in samples]
            values += [value for _, value in samples]
            offsets.append(len(times))
        canonical = [
            encode_series(name, field_name, list(labels)) for name, field_name, labels in names
        ]
        source = memory_source(
            "acme",
            canonical,
            np.array(offsets, np.int64),
            np.array(times, np.int64),
            np.array(values, np.float64),
        )
        return Snapshot([source], [])


@dataclass
class FakeAccess:
    forced: tuple = ()
    refusal: OrreryError | None = None
    tenant: str = "acme"
    asked: list = field(default_factory=list)

    def caller(self, request: Request, *, permission: Permission, scheme: str) -> Caller:
        self.asked.append((permission, scheme))
        if self.refusal is not None:
            raise self.refusal
        return Caller(self.tenant, EVERYTHING, forced_matchers=self.forced)


def receipt_of(tenant, selector, min_ns, max_ns, offset=7) -> Receipt:
    return Receipt(
        id=offset,
        tenant=tenant,
        matchers=tuple((m.label, str(m.operator), m.value) for m in selector.matchers),
        min_ns=min_ns,
        max_ns=max_ns,
        accepted_ns=1,
        series=2,
        samples=3,
        is_exact=True,
    )


class Harness:
    def __init__(self, series: dict, *, access: FakeAccess | None = None, **limits) -> None:
        self.clock = FakeClock()
        self.clock.time_ns = 1_000 * SECOND
        self.access = access or FakeAccess()
        self.schedule = Schedule(threads_max=2)
        self.deleted: list[tuple] = []
        self.receipts: list[Receipt] = []
        self.metadata = [("up", "gauge", "is it up", ""), ("http_total", "counter", "requests", "")]
        self.left: list = []
        parts = Parts(
            access=self.access,
            queries=Queries(
                store=MemoryStore(series),
                schedule=self.schedule,
                admission=FakeAdmission(**limits),
                meter_of=Meter,
                clock=self.clock,
            ),
            metadata_of=self.metadata_of,
            receipts=self,
            preparations=Preparations(),
            cache=ResultCache(
                changes=FakeChanges(), bytes_max=1 << 20, counted=lambda outcome, bytes_held: None
            ),
            clock=self.clock,
            version="0.1.0",
            started_ns=900 * SECOND,
        )
        self.router = Router(routes(parts))

    def metadata_of(self, tenant: str, name: str | None = None) -> list:
        return [row for row in self.metadata if name in (None, row[0])]

    def delete(self, tenant, selector, *, min_ns, max_ns) -> Receipt:
        self.deleted.append((tenant, selector.matchers, min_ns, max_ns))
        kept = receipt_of(tenant, selector, min_ns, max_ns, offset=len(self.deleted))
        self.receipts.append(kept)
        return kept

    def of(self, tenant) -> list[Receipt]:
        return [receipt for receipt in self.receipts if receipt.tenant == tenant]

    def show(self, tenant, receipt_id) -> tuple[Receipt, Held] | None:
        held = Held(blocks=1, block_bytes=2, files=3, log_bytes=4)
        return next(((one, held) for one in self.of(tenant) if one.id == receipt_id), None)

    def respond(self, method: str, path: str, arguments=(), *, form: bool = False) -> Response:
        found = self.router.find(method, path)
        assert isinstance(found, Found), f"{method} {path} is not served"
        encoded = urlencode(arguments)
        request = Request(
            method=method,
            path=path,
            query="" if form else encoded,
            headers={"content-type": "application/x-www-form-urlencoded"} if form else {},
            body=encoded.encode() if form else b"",
            peer="127.0.0.1:1",
            parameters=found.parameters,
            on_disconnect=self.left.append,
        )
        try:
            return asyncio.run(found.route.handler(request))
        except OrreryError as error:
            return found.route.render_error(error)

    def get(self, path: str, *arguments: tuple[str, str]) -> tuple[int, dict]:
        response = self.respond("GET", "/api/v1" + path, arguments)
        return response.status, json.loads(response.body)

    def data(self, path: str, *arguments: tuple[str, str]):
        status, body = self.get(path, *arguments)
        assert (status, body["status"]) == (200, "success"), body
        return body["data"]

    def close(self) -> None:
        self.schedule.close()
