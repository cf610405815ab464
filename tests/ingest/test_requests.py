"""A write request leaves nothing behind: bodies are large, and the collector comes late."""

import asyncio
import gc
import weakref
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from orrery.errors import Exhausted
from orrery.ingest.contract import Written
from orrery.ingest.requests import ON_LOOP_BYTES_MAX, store
from tests.protocols.writing import FakeAccess, parts


class Body:
    pass


class Batch:
    sample_count = 1
    metadata = ()
    rejected = ()
    refused_count = 0


WRITTEN = Written(
    sample_count=1,
    samples_rejected_count=0,
    series_rejected_count=0,
    new_series_count=0,
    rejected=(),
    acknowledgement="fsynced",
    offset=7,
)


class Accept:
    """Takes every write, and has it durable once the loop comes round."""

    is_busy = False

    def __init__(self, fails, loop):
        self.fails = fails
        self.loop = loop

    def write(self, tenant, batch, *, defaults, forced):
        if self.fails:
            raise Exhausted("cannot write: full")
        future = Future()
        self.loop.call_soon_threadsafe(future.set_result, WRITTEN)
        return future


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as made:
        yield made


@pytest.mark.parametrize("body_bytes", [1, ON_LOOP_BYTES_MAX + 1])
@pytest.mark.parametrize("fails", [False, True])
def test_what_a_write_held_is_gone_with_it(executor, body_bytes, fails):
    async def stored():
        body = Body()
        gone = weakref.ref(body)

        def decode(_size_bytes_max, body=body):
            return Batch()

        arguments = {
            "body_bytes": body_bytes,
            "forced": (),
            "parts": parts(
                FakeAccess(),
                Accept(fails, asyncio.get_running_loop()),
                executor,
                size_bytes_max=1,
            ),
        }
        try:
            outcome = await store("a", decode, **arguments)
            assert outcome.acknowledgement == "fsynced"
        except Exhausted:
            assert fails
        return gone

    def thread_is_through():
        executor.submit(lambda: None).result()

    gc.collect()
    gc.disable()
    try:
        gone = asyncio.run(stored())
        thread_is_through()
        assert gone() is None
    finally:
        gc.enable()
