"""Every damage to a backup is named, with the files that it spoils."""

import random

import pytest

from orrery.errors import Invalid
from orrery.objects.memory import MemoryObjects
from orrery.transfer.catalog import BACKUPS, PARTS
from orrery.transfer.verify import verify
from tests.store.harness import Running
from tests.transfer.test_backup import CORE, back_up, fill


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    target = MemoryObjects()
    with Running(tmp_path_factory.mktemp("source"), CORE) as db:
        for _ in range(2):
            fill(db)
            back_up(db, target)
            db.clock.ns += 10**9
    return target


@pytest.fixture
def target(whole):
    copied = MemoryObjects()
    for name, _ in whole.list(""):
        copied.put(name, whole.get(name))
    return copied


def bad(target):
    return [row for row in verify(target) if not row["ok"]]


def names(target):
    return [name for name, _ in target.list("")]


def test_whole_backups_are_well(target):
    rows = list(verify(target))
    assert bad(target) == []
    assert len({row["file"] for row in rows}) == len(rows) == len(names(target))


@pytest.mark.parametrize("seed", range(30))
def test_any_damage_is_named(target, seed):
    chance = random.Random(seed)
    name = chance.choice(names(target))
    content = bytearray(target.get(name))
    match chance.choice(["flip", "cut", "remove", "grow"]):
        case "flip":
            # The envelope ends with a line feed, which nothing needs.
            content[chance.randrange(len(content) - 1)] ^= 1 << chance.randrange(8)
            target.put(name, bytes(content))
        case "cut":
            target.put(name, bytes(content[: chance.randrange(len(content) - 1)]))
        case "grow":
            target.put(name, bytes(content) + b"x")
        case "remove" if name.startswith(PARTS):
            target.delete(name)
        case "remove":
            return
    rows = bad(target)
    assert {row["file"] for row in rows} == {name}
    assert all(row["error"] for row in rows)
    if name.startswith(PARTS):
        assert all(row["holds"] for row in rows)


def test_what_a_damaged_part_spoils_is_told(target):
    (part,) = [name for name in names(target) if name.startswith(PARTS)][:1]
    target.delete(part)
    told = [text for row in bad(target) for text in row["holds"]]
    assert all(" from byte " in text or text.endswith(" more") for text in told)


def test_there_must_be_a_backup():
    with pytest.raises(Invalid, match="no backup"):
        list(verify(MemoryObjects()))


def test_a_removed_document_is_no_backup(target):
    (first, second) = [name for name in names(target) if name.startswith(BACKUPS)]
    target.delete(first)
    assert bad(target) == []
    target.delete(second)
    with pytest.raises(Invalid):
        list(verify(target))
