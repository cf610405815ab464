"""Damaged blocks: named, kept, out of compaction, missed by answers; released or dropped."""

import pytest

from orrery.errors import Corrupt, Invalid
from orrery.kernels.meter import Meter
from tests.store.cores import NativeCore
from tests.store.harness import NOW_NS, TENANT, Running

HOUR_NS = 3600 * 10**9
EARLY, LATE = NOW_NS - 30 * HOUR_NS, NOW_NS


@pytest.fixture
def path(tmp_path):
    """A block a day old of two tenants, a block of now."""
    with Running(tmp_path, NativeCore()) as db:
        for tenant in (TENANT, "zeta"):
            db.write(("cpu", EARLY, 1.0), ("mem", EARLY + 1, 2.0), tenant=tenant)
        db.store.flush()
        db.write(("cpu", LATE, 3.0))
        db.store.flush()
        assert len(db.store.blocks()) == 2
    return tmp_path


def early_block(path):
    with Running(path, NativeCore()) as db:
        (found,) = [block for block in db.store.blocks() if block.max_ns < LATE - HOUR_NS]
    return path / "blocks" / found.name


def flip(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def read(db, min_ns, max_ns, tenant=TENANT):
    meter = Meter(samples_max=2**40, series_max=2**30, deadline_seconds=None)
    found = db.store.snapshot(tenant).select(tenant, [], min_ns, max_ns, meter)
    return sorted(found.samples(0, len(found), min_ns, max_ns, meter)[2])


def cut(file):
    file.write_bytes(file.read_bytes()[:-7])


LOSSES = {
    "footer": lambda file: flip(file, file.stat().st_size - 30),
    "missing": lambda file: file.unlink(),
    "short": cut,
    "empty": lambda file: file.write_bytes(b""),
    "garbage": lambda file: file.write_bytes(b"?" * file.stat().st_size),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_block_that_cannot_be_opened_is_missed_where_it_was(path, loss):
    file = early_block(path)
    content = file.read_bytes()
    LOSSES[loss](file)
    with Running(path, NativeCore()) as db:
        with pytest.raises(Corrupt, match=rf"{file.name}.*it is in quarantine"):
            read(db, EARLY - HOUR_NS, LATE)
        assert read(db, LATE - 1, LATE) == [3.0]
        db.write(("cpu", LATE + 1, 4.0))
        db.delete("mem", EARLY, LATE)
        db.store.flush()
        db.store.compact()
        assert read(db, LATE - 1, LATE + 1) == [3.0, 4.0]
        assert [held.block for held in db.store.quarantine().held] == [file.name]
        assert db.store.statistics()["quarantined_count"] == 1
        assert [e for e, _ in db.events].count("block_quarantined") == 1
    with Running(path, NativeCore()) as db:
        assert "block_quarantined" not in [event for event, _ in db.events]
        assert file.name in [block.name for block in db.store.blocks()]
        with pytest.raises(Corrupt):
            db.store.release_block(file.name)
        file.write_bytes(content)
        db.store.release_block(file.name)
        assert db.store.quarantine().held == ()
        # What was deleted meanwhile does not come back with it.
        assert read(db, EARLY, LATE + 1) == [1.0, 3.0, 4.0]
        db.store.compact()
        assert read(db, EARLY, LATE + 1) == [1.0, 3.0, 4.0]


def test_a_block_that_is_dropped_is_missed_no_longer(path):
    file = early_block(path)
    file.unlink()
    with Running(path, NativeCore()) as db:
        held = db.store.drop_block(file.name)
        assert held.sample_count == 4
        assert read(db, EARLY, LATE) == [3.0]
        with pytest.raises(Invalid, match="not in quarantine"):
            db.store.drop_block(file.name)
    with Running(path, NativeCore()) as db:
        assert read(db, EARLY, LATE) == [3.0]
        (gone,) = db.store.quarantine().dropped
        assert (gone.block, gone.sample_count) == (file.name, 4)


def test_damage_inside_a_block_is_listed_place_by_place(path):
    file = early_block(path)
    flip(file, 20)
    with Running(path, NativeCore()) as db:
        with pytest.raises(Corrupt, match=rf"{file.name}.*offset \d+.*tenant \"acme\"") as caught:
            read(db, EARLY, EARLY + 1)
        db.store.suspect(caught.value)
        db.store.maintain_blocks()
        (held,) = db.store.quarantine().held
        assert held.block == file.name
        assert held.tenants == (TENANT,)
        assert all(place.min_ns >= EARLY and place.max_ns <= EARLY + 1 for place in held.damage)
        assert all("offset" in place.cause for place in held.damage)
        # Others and the rest are answered.
        assert read(db, EARLY, EARLY + 1, "zeta") == [1.0, 2.0]
        assert read(db, LATE, LATE) == [3.0]
        assert db.store.drop_block(file.name).sample_count == 4


def test_compaction_goes_on_around_a_damaged_block(path):
    file = early_block(path)
    flip(file, 20)
    with Running(path, NativeCore()) as db:
        for number in range(4):
            db.write(("cpu", EARLY + 10 + number, 1.0))
            db.write(("cpu", LATE + number, 1.0))
            db.store.flush()
        with pytest.raises(Corrupt, match=file.name):
            db.store.compact()
        count = len(db.store.blocks())
        db.store.compact()
        assert len(db.store.blocks()) < count
        assert file.name in [block.name for block in db.store.blocks()]
        flip(file, 20)
        assert len(db.store.quarantine().held) == 1
        db.store.release_block(file.name)
        db.store.compact()
        assert file.name not in [block.name for block in db.store.blocks()]
        assert 2.0 in read(db, EARLY, LATE)


def test_a_suspect_that_is_whole_stays_where_it_is(path):
    file = early_block(path)
    with Running(path, NativeCore()) as db:
        db.store.suspect(Corrupt(f"cannot read block {str(file)!r}: a passing error"))
        db.store.maintain_blocks()
        assert db.store.quarantine().held == ()


def test_a_damaged_document_is_told_and_made_anew(path):
    file = early_block(path)
    file.unlink()
    with Running(path, NativeCore()) as db:
        db.store.maintain_blocks()
    (document,) = (path / "objects" / "partitions" / "0" / "quarantine").iterdir()
    flip(document, 40)
    with Running(path, NativeCore()) as db:
        events = [event for event, _ in db.events]
        assert "quarantine_unreadable" in events
        assert [held.block for held in db.store.quarantine().held] == [file.name]
        db.store.maintain_blocks()
    with Running(path, NativeCore()) as db:
        assert len(db.store.quarantine().held) == 1
        assert "quarantine_unreadable" not in [event for event, _ in db.events]
