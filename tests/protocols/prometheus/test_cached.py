"""With the result cache every answer is, byte for byte, what it is without."""

import asyncio
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orrery.errors import OrreryError
from orrery.kernels.meter import Meter
from orrery.languages.promql.prepare import Preparations
from orrery.protocols.prometheus.parts import Parts
from orrery.protocols.prometheus.query import ranged
from orrery.query.cache import ResultCache
from orrery.query.queries import Queries
from orrery.query.schedule import Schedule
from orrery.server.http import Request
from tests.query.fakes import FakeAdmission, FakeClock
from tests.store.cores import NativeCore
from tests.store.harness import NOW_NS, Running

SECOND = 1_000_000_000
DAY_SECONDS = 86_400
BASE = NOW_NS // SECOND - 1000
QUERIES = [
    "a",
    "avg_over_time(a[35s])",
    'avg(sum_over_time({__name__=~"a|b|c"}[40s]))',
    "a or b offset 20s",
    "a offset -30s",
    "max_over_time(a[1m:20s] offset -10s) + b",
    "count_over_time(a[15s]) > 1",
    "absent(c)",
    # Never kept: ties, ends of the query, computed durations, notes.
    'topk(1, {__name__=~"a|b"})',
    "a - a @ start()",
    "a offset step()",
    "rate(a[1m])",
]


class Server:
    """One store, asked through wires with a cache and without."""

    def __init__(self, path) -> None:
        self.loop = asyncio.new_event_loop()
        self.schedule = Schedule(threads_max=1)
        self.days: dict[str, float] = {}
        self.running = Running(path, NativeCore(), retention_days=self.days.get)
        self.outcomes: list[str] = []
        self.with_cache, self.without = self.parts(1 << 20), self.parts(0)

    def parts(self, bytes_max: int) -> Parts:
        queries = Queries(
            store=self.running.store,
            schedule=self.schedule,
            admission=FakeAdmission(series_max=100, samples_max=100_000),
            meter_of=Meter,
            clock=FakeClock(),
        )
        return Parts(
            access=self,
            queries=queries,
            metadata_of=lambda tenant, name=None: [],
            receipts=None,
            preparations=Preparations(),
            cache=ResultCache(
                changes=self.running.store,
                bytes_max=bytes_max,
                counted=lambda outcome, bytes_held: self.outcomes.append(outcome),
            ),
            clock=FakeClock(),
            version="0",
            started_ns=0,
        )

    def caller(self, request, *, permission, scheme):
        return SimpleNamespace(tenant=request.headers["tenant"], forced_matchers=())

    def ask(self, parts, tenant, text, start, count, step, **more):
        end = BASE + start + count * step
        given = {"query": text, "start": BASE + start, "end": end, "step": step, **more}
        request = Request(
            "GET", "/api/v1/query_range", urlencode(given), {"tenant": tenant}, b"", "p"
        )
        try:
            return self.loop.run_until_complete(ranged(parts, request)).body
        except OrreryError as error:
            return str(error)

    def write(self, tenant, writes) -> None:
        rows = [(name, (BASE + second) * SECOND, float(value)) for _, name, second, value in writes]
        self.running.write(*rows, tenant=tenant, durable=False)

    def close(self) -> None:
        self.schedule.close()
        self.running.close()
        self.loop.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("cached"))
    yield server
    server.close()


numbers = st.integers(0, 60).map(lambda number: number * 10)
writes = st.tuples(st.just("write"), st.sampled_from("abc"), numbers, st.integers(0, 5))
deletes = st.tuples(st.just("delete"), st.sampled_from("abc"), numbers, numbers)
flushes = st.tuples(st.sampled_from(["flush", "compact"]))
retentions = st.tuples(st.just("keep"), st.none() | numbers)
asked = st.tuples(
    st.just("ask"),
    st.sampled_from(QUERIES),
    numbers,
    st.integers(0, 12),
    st.sampled_from([10, 10, 30]),
)
tenants = iter(f"tenant-{number}" for number in range(10_000))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(writes, asked, asked, deletes, flushes, retentions), max_size=12))
def test_a_cache_changes_no_answer(server, operations):
    """What was asked last is asked again after all that happens."""
    tenant, last = next(tenants), ("a", 0, 60, 10)
    every = [("write", name, step * 10, step % 7) for step in range(60) for name in "ab"]
    server.write(tenant, every)
    for operation, *values in [("ask", *last), *operations]:
        if operation == "write":
            server.write(tenant, [(operation, *values)])
        elif operation == "delete":
            name, *bounds = values
            first, until = sorted((BASE + bound) * SECOND for bound in bounds)
            server.running.delete(name, first, until, tenant=tenant)
        elif operation == "keep":
            server.days.pop(tenant, None)
            if values[0] is not None:
                server.days[tenant] = (1000 - values[0]) / DAY_SECONDS
        elif operation == "ask":
            last = tuple(values)
        else:
            getattr(server.running.store, operation)()
        expected = server.ask(server.without, tenant, *last)
        assert server.ask(server.with_cache, tenant, *last) == expected, operation


def ask_twice(server, text="a", **more):
    tenant = next(tenants)
    server.write(tenant, [("write", "a", step * 10, 1) for step in range(30)])
    del server.outcomes[:]
    for start in (0, 0, 50):
        server.ask(server.with_cache, tenant, text, start, 10, 10, **more)
    return tenant, server.outcomes


def test_what_was_asked_is_held_and_a_longer_question_adds_to_it(server):
    tenant, outcomes = ask_twice(server)
    assert outcomes == ["miss", "hit", "part"]
    server.write(tenant, [("write", "a", 125, 2)])
    for start, expected in ((0, "hit"), (60, "part"), (60, "hit"), (300, "miss")):
        server.ask(server.with_cache, tenant, "a", start, 7, 10)
        assert outcomes[-1] == expected, start


@pytest.mark.parametrize(
    ("text", "more"),
    [
        ("a", {"nocache": 1}),
        ("a", {"stats": "all"}),
        ("a @ end()", {}),
        ("1", {}),
    ],
)
def test_what_is_not_to_be_held_is_not_looked_up(server, text, more):
    assert ask_twice(server, text, **more)[1] == []


def test_nocache_may_be_said_no_to(server):
    assert ask_twice(server, nocache="0")[1] == ["miss", "hit", "part"]
