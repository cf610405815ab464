"""Answers in chunks: a turn each, one count of the query, an end wherever it comes."""

import asyncio

import pytest

from orrery.errors import Invalid
from orrery.query.queries import Asked, Queries
from orrery.query.schedule import Schedule
from orrery.query.streaming import stream

from .fakes import FakeAdmission, FakeClock, FakeMeter, FakeStore


@pytest.fixture
def queries():
    schedule = Schedule(threads_max=1)
    yield Queries(
        store=FakeStore(),
        schedule=schedule,
        admission=FakeAdmission(),
        meter_of=FakeMeter,
        clock=FakeClock(),
    )
    schedule.close()


def taken(queries, chunks, *, first_only=False):
    async def take():
        found = []
        body = await stream(queries, Asked(tenant="t", text=""), chunks)
        async for chunk in body:
            found.append(chunk)
            if first_only:
                await body.aclose()
                break
        return found

    return asyncio.run(take())


def test_chunks_come_in_order(queries):
    assert taken(queries, lambda query: iter([b"a", b"", b"b"])) == [b"a", b"", b"b"]
    assert taken(queries, lambda query: iter([])) == []
    assert queries.admission.counted == [("t", "answered", 0)] * 2


def test_an_error_at_once_is_raised_before_the_answer(queries):
    def chunks(query):
        raise Invalid("no")

    with pytest.raises(Invalid, match="no"):
        taken(queries, chunks)
    assert queries.admission.counted == [("t", "failed", 0)]


def test_an_error_later_ends_the_answer(queries):
    def chunks(query):
        yield b"a"
        raise Invalid("no")

    with pytest.raises(Invalid, match="no"):
        taken(queries, chunks)
    assert queries.admission.counted == [("t", "failed", 0)]


def test_whoever_leaves_is_counted(queries):
    assert taken(queries, lambda query: iter([b"a", b"b"]), first_only=True) == [b"a"]
    assert queries.admission.counted == [("t", "cancelled", 0)]
