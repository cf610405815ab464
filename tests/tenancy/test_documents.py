import threading

import pytest

from orrery.errors import Invalid, Unavailable
from orrery.tenancy.documents import ATTEMPTS_MAX, CONTENT_BYTES_MAX, NOTHING, Documents
from tests.tenancy.parts import FakeClock, FakeObjects


def documents(objects, **more):
    return Documents(objects=objects, clock=more.pop("clock", FakeClock()), **more)


def increment(content):
    return b"%d" % (int(content or b"0") + 1)


def test_absent_document_is_version_nothing():
    assert documents(FakeObjects()).read("a/b") == NOTHING


def test_change_writes_the_next_version():
    held = documents(FakeObjects())
    assert held.change("a/b", increment).version == 1
    assert held.change("a/b", increment).version == 2
    assert held.read("a/b").content == b"2"


def test_another_holder_sees_a_change_at_once():
    objects = FakeObjects()
    one, other = documents(objects), documents(objects)
    one.change("a/b", increment)
    assert other.read("a/b").content == b"1"
    one.change("a/b", increment)
    assert other.read("a/b").content == b"2"


def test_another_holder_sees_a_change_after_the_recheck():
    objects, clock = FakeObjects(), FakeClock()
    one, other = documents(objects), documents(objects, clock=clock, recheck_seconds=5.0)
    one.change("a/b", increment)
    assert other.read("a/b").version == 1
    one.change("a/b", increment)
    assert other.read("a/b").version == 1
    clock.advance(5)
    assert other.read("a/b").version == 2


def test_racing_changes_all_count():
    objects = FakeObjects()
    holders = [documents(objects) for _ in range(4)]

    def work(held):
        for _ in range(25):
            while True:
                try:
                    held.change("a/b", increment)
                except Unavailable:
                    continue
                break

    threads = [threading.Thread(target=work, args=(held,)) for held in holders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert documents(objects).read("a/b").content == b"100"
    assert len(objects.contents) == 100


def test_one_of_two_writers_of_a_version_reads_again():
    objects = FakeObjects()
    one, other = documents(objects), documents(objects)
    seen = []

    def slow(content):
        seen.append(content)
        if content is None:
            other.change("a/b", lambda _: b"first")
        return b"second"

    assert one.change("a/b", slow).version == 2
    assert seen == [None, b"first"]


def test_writer_that_always_loses_gives_up():
    objects = FakeObjects()
    other = documents(objects)
    calls = []

    def losing(_content):
        calls.append(1)
        other.change("a/b", increment)
        return b"x"

    with pytest.raises(Unavailable, match="other writers were faster"):
        documents(objects).change("a/b", losing)
    assert len(calls) == ATTEMPTS_MAX


def test_document_too_large_is_refused():
    with pytest.raises(Invalid, match="at most"):
        documents(FakeObjects()).change("a/b", lambda _: b"x" * (CONTENT_BYTES_MAX + 1))


def test_names_below():
    held = documents(FakeObjects())
    for name in ("tokens/b", "tokens/a", "tenants/c"):
        held.change(name, increment)
    held.change("tokens/a", increment)
    assert held.names("tokens") == ["tokens/a", "tokens/b"]
