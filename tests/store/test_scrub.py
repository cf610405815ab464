"""The scrub reads every block once a round, and tells of damage that nobody asked for."""

import pytest

from orrery.store.scrub import DAY_SECONDS, TICK_SECONDS, Scrub
from tests.store.cores import NativeCore
from tests.store.harness import NOW_NS as T
from tests.store.harness import Running

CORE = NativeCore()
DAYS = 7


@pytest.fixture
def db(tmp_path):
    with Running(tmp_path, CORE) as db:
        for number in range(3):
            db.write(*[(f"cpu{at}", T + number, 1.0) for at in range(10 * (number + 1))])
            db.store.flush()
        yield db


@pytest.fixture
def scrub(db):
    return Scrub(
        blocks=db.store.blocks,
        path_of=lambda name: str(db.directory.blocks_path / name),
        kernels=CORE.kernels,
        clock=db.clock,
        observe=lambda event, fields: db.events.append((event, dict(fields))),
        suspect=db.store.suspect,
        days=DAYS,
    )


def ticks(db, scrub, days):
    read = []
    for _ in range(int(days * DAY_SECONDS / 600)):
        db.clock.ns += 600 * 10**9
        name = scrub.step()
        if name is not None:
            read.append(name)
    return read


def test_every_block_is_read_once_a_round(db, scrub):
    names = sorted(block.name for block in db.store.blocks())
    assert scrub.step() is None
    assert ticks(db, scrub, DAYS * 3.01) == names * 3
    assert [event for event, _ in db.events[-9:]] == ["block_scrubbed"] * 9


def test_damage_is_told_of(db, scrub):
    victim = sorted(block.name for block in db.store.blocks())[1]
    path = db.directory.blocks_path / victim
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    ticks(db, scrub, DAYS * 1.01)
    told = [fields for event, fields in db.events if event == "damage_found"]
    assert [fields["file"] for fields in told] == [str(path)]
    assert "offset" in told[0]["error"]
    db.store.maintain_blocks()
    assert [held.block for held in db.store.quarantine().held] == [victim]


def test_what_was_merged_away_meanwhile_is_no_damage(db, scrub):
    entries = db.store.blocks()
    (db.directory.blocks_path / entries[0].name).unlink()
    found = iter([entries])
    scrub._blocks = lambda: next(found, entries[1:])
    scrub._due_bytes = 1e9
    assert scrub.step() == entries[0].name
    assert [event for event, _ in db.events if "found" in event] == []


def test_time_asleep_is_not_made_up_for_at_once(db, scrub):
    db.clock.ns += 100 * DAY_SECONDS * 10**9
    assert scrub.step() is not None
    assert [scrub.step() for _ in range(5)].count(None) >= 3
    assert TICK_SECONDS < 60
