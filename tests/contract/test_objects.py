"""What every backend of objects promises."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from obstore.store import MemoryStore

from orrery.errors import Invalid
from orrery.objects.cloud import CloudObjects
from orrery.objects.local import LocalObjects
from orrery.objects.memory import MemoryObjects

BACKENDS = {
    "memory": lambda _path: MemoryObjects(),
    "local": LocalObjects,
    "cloud-memory": lambda _path: CloudObjects(store=MemoryStore()),
    "cloud-file": lambda path: CloudObjects(f"file://{path}"),
}


@pytest.fixture(params=BACKENDS)
def objects(request, tmp_path):
    return BACKENDS[request.param](tmp_path / "objects")


def test_what_is_put_is_got(objects):
    objects.put("a/b", b"one")
    objects.put("a/b", b"two")
    objects.put("empty", b"")
    assert objects.get("a/b") == b"two"
    assert objects.get("empty") == b""
    assert objects.get("a/c") is None


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, None, b"abcdef"),
        (2, None, b"cdef"),
        (2, 3, b"cde"),
        (4, 100, b"ef"),
        (0, 0, b""),
        (6, 1, b""),
        (9, 4, b""),
        (9, None, b""),
    ],
)
def test_ranges_stop_at_the_end(objects, start, length, expected):
    objects.put("x", b"abcdef")
    assert objects.get("x", start, length) == expected


def test_a_range_of_nothing_is_none(objects):
    assert objects.get("x", 1, 2) is None


def test_put_if_absent_creates_once(objects):
    assert objects.put_if_absent("v/1", b"first")
    assert not objects.put_if_absent("v/1", b"second")
    assert objects.get("v/1") == b"first"
    objects.delete("v/1")
    assert objects.put_if_absent("v/1", b"third")


def test_one_of_many_racing_creators_wins(objects):
    count = 8
    barrier = threading.Barrier(count)

    def race(number):
        barrier.wait()
        return objects.put_if_absent("race", b"%d" % number)

    with ThreadPoolExecutor(count) as pool:
        won = list(pool.map(race, range(count)))
    assert won.count(True) == 1
    assert objects.get("race") == b"%d" % won.index(True)


def test_list_is_in_byte_order_below_the_folder(objects):
    for name in ("a/2", "a/10", "a.b", "a/x/1", "ab/1", "a/Z", "b"):
        objects.put(name, b"x" * len(name))
    assert list(objects.list("a/")) == [("a/10", 4), ("a/2", 3), ("a/Z", 3), ("a/x/1", 5)]
    assert [name for name, _ in objects.list("")] == sorted(
        ["a/2", "a/10", "a.b", "a/x/1", "ab/1", "a/Z", "b"]
    )
    assert list(objects.list("none/")) == []


def test_delete_twice_is_no_error(objects):
    objects.put("x", b"1")
    objects.delete("x")
    objects.delete("x")
    assert objects.get("x") is None


@pytest.mark.parametrize(
    "name", ["", "/", "/a", "a/", "a//b", "..", "a/../b", "./a", "a b", "é", "a\0", "~1", "x" * 201]
)
def test_names_that_cannot_be_are_refused(objects, name):
    for call in (
        lambda: objects.put(name, b""),
        lambda: objects.put_if_absent(name, b""),
        lambda: objects.get(name),
        lambda: objects.delete(name),
    ):
        with pytest.raises(Invalid):
            call()


@pytest.mark.parametrize("prefix", ["a", "/", "../", "a//"])
def test_prefixes_that_cannot_be_are_refused(objects, prefix):
    with pytest.raises(Invalid):
        objects.list(prefix)


def test_negative_ranges_are_refused(objects):
    for start, length in ((-1, None), (0, -1)):
        with pytest.raises(Invalid):
            objects.get("x", start, length)
