"""Backups of a store that is written to meanwhile: consistent, incremental, whole or not there."""

import contextlib
import itertools
import random
import shutil
import threading
from pathlib import Path

import msgspec
import pytest

from orrery.clock import SystemChance
from orrery.errors import Corrupt, Invalid, OrreryError, Unavailable
from orrery.kernels.block import Block
from orrery.kernels.series import encode_series
from orrery.objects.local import LocalObjects
from orrery.objects.memory import MemoryObjects
from orrery.store.documents import encode_document
from orrery.store.layout import DataDirectory
from orrery.store.pins import LEASE_SECONDS, PINS_MAX
from orrery.store.verify import Verification
from orrery.transfer.backup import Backups
from orrery.transfer.catalog import (
    BACKUPS,
    FORMAT,
    PARTS,
    WRITERS,
    File,
    Piece,
    backup_ids,
    part_of,
    read_backup,
)
from orrery.transfer.restore import restore
from orrery.transfer.source import StoppedHolder
from orrery.transfer.throttle import Throttle
from tests.store.cores import NativeCore
from tests.store.harness import NOW_NS as T
from tests.store.harness import FakeClock, Running

CORE = NativeCore()
LIMITS = encode_document({"limits": {}}, format_version=1)
OTHER = encode_document(["whatever somebody stores"], format_version=1)
GOLDEN = Path(__file__).parents[1] / "golden" / "formats" / "backup_v1.json"


class StoreHolder:
    """Asks the store itself, where a command asks its server."""

    def __init__(self, db):
        self.db = db

    def pin(self):
        return self.db.store.pin()

    def renew(self, pin_id, *, log):
        self.db.store.renew_pin(pin_id, log=log)

    def release(self, pin_id):
        self.db.store.release_pin(pin_id)


def verify_block(path):
    Block.open(path).verify()


def steps(db, target, *, holder=None, **options):
    backups = Backups(target, clock=db.clock, chance=SystemChance())
    holder = holder or StoreHolder(db)
    return backups.make(db.directory, db.objects, holder, verify_block=verify_block, **options)


def back_up(db, target, **options):
    return {row["event"]: row for row in steps(db, target, **options)}["backed_up"]


def bring_back(target, path, backup_id=None):
    throttle = Throttle(FakeClock(), None)
    return list(restore(target, DataDirectory(path), backup_id=backup_id, throttle=throttle))


def read_restored(target, path, backup_id=None):
    bring_back(target, path, backup_id)
    with Running(path, CORE) as db:
        return db.read()


@pytest.fixture
def db(tmp_path):
    with Running(tmp_path / "source", CORE) as db:
        yield db


@pytest.fixture
def target():
    return MemoryObjects()


def fill(db):
    """Samples in two blocks, in the log, deleted from both; metadata and a control document."""
    db.write(("cpu", T, 1.0), ("mem", T, 2.0))
    db.accept.write_metadata("acme", [("cpu", "counter", "", "")]).result(30)
    db.store.flush()
    db.write(("cpu", T + 1, 3.0))
    db.store.flush()
    db.delete("mem", T, T)
    for number in range(50):
        db.write((f"late{number % 7}", T + number, float(number)))
    db.delete("late3", T, T + 20)
    db.objects.put("control/tenants/acme/000000000001", LIMITS)
    db.objects.put("anything/else", OTHER)
    (db.path / "audit.log").write_bytes(b'{"action":"x"}\n')


def test_what_was_backed_up_is_answered_again(db, target, tmp_path):
    fill(db)
    told = back_up(db, target)
    assert read_restored(target, tmp_path / "back") == db.read()
    restored = LocalObjects(tmp_path / "back" / "objects", owned=False)
    assert restored.get("control/tenants/acme/000000000001") == LIMITS
    assert restored.get("anything/else") == OTHER
    assert (tmp_path / "back" / "audit.log").read_bytes() == b'{"action":"x"}\n'
    rows = list(Verification(tmp_path / "back", kernels=CORE.kernels).rows())
    assert [row for row in rows if not row["ok"]] == []
    assert told["end_offset"] == db.store.statistics()["next_offset"]


def test_attributes_are_in_a_backup(db, target, tmp_path):
    kept, logged, gone = (encode_series(name, "", []) for name in ("a", "b", "c"))
    db.accept.write_attributes("acme", [(kept, (("k", "1"),)), (gone, (("k", "2"),))]).result(30)
    db.store.flush()
    db.accept.write_attributes("acme", [(logged, (("k", "3"),)), (gone, ())]).result(30)
    back_up(db, target)
    bring_back(target, tmp_path / "back")
    with Running(tmp_path / "back", CORE) as restored:
        found = restored.store.attributes_of("acme")
    assert found == {kept: (("k", "1"),), logged: (("k", "3"),)}


def test_large_objects_are_read_piece_by_piece(db, target, tmp_path):
    fill(db)
    name, content = "partitions/0/other/large", random.Random(1).randbytes(20_000_000)
    db.objects.put(name, content)
    asked = []
    plain = db.objects.get

    def get(name, start=0, length=None):
        found = plain(name, start, length)
        asked.append(len(found))
        return found

    db.objects.get = get
    back_up(db, target)
    assert max(asked) <= 1024 * 1024
    assert max(size for _, size in target.list(PARTS)) <= 8 * 1024 * 1024
    bring_back(target, tmp_path / "back")
    assert LocalObjects(tmp_path / "back" / "objects", owned=False).get(name) == content


def test_a_stopped_directory_is_backed_up_the_same(tmp_path, target):
    with Running(tmp_path / "source", CORE) as db:
        fill(db)
        before = db.read()
    directory = DataDirectory(tmp_path / "source")
    objects = LocalObjects(directory.objects_path, owned=False)
    with directory.owned():
        backups = Backups(target, clock=FakeClock(), chance=SystemChance())
        holder = StoppedHolder(directory, objects)
        list(backups.make(directory, objects, holder, verify_block=verify_block))
    assert read_restored(target, tmp_path / "back") == before


def test_an_empty_store_is_backed_up(db, target, tmp_path):
    back_up(db, target)
    assert read_restored(target, tmp_path / "back") == {}


def test_a_backup_holds_what_was_there_when_it_began(db, target, tmp_path):
    """Flushed, compacted, trimmed, deleted and removed between every two steps of copying."""
    fill(db)
    before = db.read()
    for number, _ in enumerate(steps(db, target)):
        db.write(("cpu", T + 100 + number, 9.0))
        db.delete("late5", T, T + 100)
        db.store.flush()
        db.store.compact()
        db.store.remove_unlisted()
    assert read_restored(target, tmp_path / "back") == before
    db.store.remove_unlisted()
    assert len(list(db.directory.blocks_path.iterdir())) == len(db.store.blocks())


def test_every_write_before_the_backup_is_in_it_while_others_write(db, target, tmp_path):
    ended = threading.Event()
    acknowledged = []

    def write():
        for number in itertools.count():
            if ended.is_set():
                return
            db.write(("w", T + number, float(number)))
            acknowledged.append(number)
            if number % 10 == 9:
                db.store.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = []
        for number in range(3):
            while len(acknowledged) < 25 * (number + 1):
                ended.wait(0.001)
            least = len(acknowledged)
            found.append((least, back_up(db, target)["backup"]))
            db.clock.ns += 10**9
    finally:
        ended.set()
        writer.join()
    for at, (least, backup_id) in enumerate(found):
        there = read_restored(target, tmp_path / f"back{at}", backup_id)
        numbers = sorted(round(value) for value in there.values())
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= least


def test_what_the_target_has_is_not_copied_again(db, target):
    fill(db)
    blocks = sum(block.byte_count for block in db.store.blocks())
    first = back_up(db, target)["bytes_new"]
    names = {name for name, _ in target.list(PARTS)}
    second = back_up(db, target)["bytes_new"]
    assert blocks < first
    assert second < blocks
    assert names <= {name for name, _ in target.list(PARTS)}


def test_a_part_that_was_cut_short_is_copied_again(db, target, tmp_path):
    fill(db)
    back_up(db, target)
    for name, size in list(target.list(PARTS)):
        target.put(name, target.get(name)[: size // 2])
    back_up(db, target)
    assert read_restored(target, tmp_path / "back") == db.read()


def test_old_backups_are_removed_and_what_only_they_needed(db, target, tmp_path):
    fill(db)
    ids = []
    for number in range(4):
        db.clock.ns += 10**9
        db.write(("cpu", T + 1000 + number, 1.0))
        ids.append(back_up(db, target, keep=2)["backup"])
        db.store.flush()
        db.store.compact()
    assert backup_ids(target) == ids[-2:]
    wanted = {part.sha256 for one in ids[-2:] for part in read_backup(target, one).parts()}
    assert {name.rpartition("/")[2] for name, _ in target.list(PARTS)} == wanted
    for at, one in enumerate(ids[-2:]):
        assert read_restored(target, tmp_path / str(at), one)


def test_backups_are_in_order_when_the_clock_is_set_back(db, target):
    first = back_up(db, target)["backup"]
    db.clock.ns -= 3600 * 10**9
    second = back_up(db, target)["backup"]
    assert backup_ids(target) == [first, second]


def test_rows_tell_of_each_backup_and_of_what_cannot_be_read(db, target):
    made = back_up(db, target)
    db.clock.ns += 10**9
    bad = back_up(db, target)["backup"]
    target.put(f"{BACKUPS}{bad}.json", target.get(f"{BACKUPS}{bad}.json").replace(b"e", b"f", 3))
    good, damaged = Backups(target, clock=db.clock, chance=SystemChance()).rows()
    assert (good["backup"], good["bytes"]) == (made["backup"], made["bytes"])
    assert damaged["backup"] == bad
    assert "cannot read" in damaged["error"]


class Dying(Exception):
    """Comes through everything, as a kill does."""


class DyingObjects(MemoryObjects):
    """Fails for good at the call of that number; what is there stays."""

    def __init__(self, calls):
        super().__init__()
        self.left = calls

    def _step(self):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Dying

    def put(self, name, content):
        self._step()
        super().put(name, content)

    def put_if_absent(self, name, content):
        self._step()
        return super().put_if_absent(name, content)

    def delete(self, name):
        self._step()
        super().delete(name)


@pytest.mark.parametrize("calls", range(0, 12, 2))
def test_a_killed_backup_is_none_and_the_next_one_is_whole(db, tmp_path, calls):
    fill(db)
    target = DyingObjects(calls)
    with contextlib.suppress(Dying):
        back_up(db, target)
    for at, backup_id in enumerate(backup_ids(target)):
        # A document that is there is one of a backup that can be brought back.
        assert read_restored(target, tmp_path / f"before{at}", backup_id) == db.read()
    target.left = None
    back_up(db, target)
    assert read_restored(target, tmp_path / "back") == db.read()
    assert list(target.list(WRITERS)) == []


def test_another_directory_does_not_write_between(db, target, tmp_path):
    target.put(f"{WRITERS}20260101T000000Z-00000000", b"elsewhere:/data")
    with pytest.raises(Unavailable, match="another data directory"):
        back_up(db, target)
    assert backup_ids(target) == []
    assert [name for name, _ in target.list(WRITERS)] == [f"{WRITERS}20260101T000000Z-00000000"]


def test_one_backup_of_a_directory_at_a_time(db, target):
    under_way = steps(db, target)
    next(under_way)
    with pytest.raises(Unavailable, match="another backup of it is under way"):
        back_up(db, target)
    under_way.close()
    back_up(db, target)


def test_damage_is_not_copied(db, target):
    fill(db)
    path = db.directory.blocks_path / db.store.blocks()[0].name
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    with pytest.raises(Corrupt, match=path.name):
        back_up(db, target)
    assert backup_ids(target) == []


def test_what_is_in_quarantine_is_backed_up_as_it_is(tmp_path, target):
    with Running(tmp_path / "source", CORE) as db:
        fill(db)
        bad, gone = (db.directory.blocks_path / block.name for block in db.store.blocks())
    content = bytearray(bad.read_bytes())
    content[-20] ^= 1
    bad.write_bytes(content)
    gone.unlink()
    with Running(tmp_path / "source", CORE) as db:
        # A round of upkeep, which writes down what was found.
        db.store.maintain_blocks()
        rows = list(steps(db, target))
        held = [one.block for one in db.store.quarantine().held]
    assert [row["file"] for row in rows if row["event"] == "quarantined"] == [f"blocks/{bad.name}"]
    bring_back(target, tmp_path / "back")
    assert (tmp_path / "back" / "blocks" / bad.name).read_bytes() == content
    with Running(tmp_path / "back", CORE) as db:
        assert [one.block for one in db.store.quarantine().held] == held


def test_a_pin_that_is_not_renewed_is_gone(db, target):
    fill(db)
    db.clock.ns += 10**9
    under_way = steps(db, target)
    next(under_way)
    db.clock.ns += int((LEASE_SECONDS + 1) * 1e9)
    with pytest.raises(Invalid, match="not renewed in time"):
        list(under_way)
    assert backup_ids(target) == []


def test_pins_are_bounded(db):
    pins = [db.store.pin() for _ in range(PINS_MAX)]
    with pytest.raises(OrreryError, match=f"{PINS_MAX} of {PINS_MAX} pins"):
        db.store.pin()
    db.store.release_pin(pins[0].id)
    db.store.pin()


def test_a_log_that_is_let_go_of_is_trimmed(db):
    fill(db)
    pinned = db.store.pin()
    db.store.flush()
    kept = db.plain_log.bounds(0)[0]
    db.store.renew_pin(pinned.id, log=False)
    db.write(("cpu", T, 5.0))
    db.store.flush()
    assert kept <= pinned.manifest.next_offset < db.plain_log.bounds(0)[0]


# --- restoring


def test_a_directory_that_holds_something_is_refused(db, target, tmp_path):
    back_up(db, target)
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "mine").write_text("x")
    with pytest.raises(Invalid, match="not empty, it has 'mine'"):
        bring_back(target, tmp_path / "back")
    assert (tmp_path / "back" / "mine").read_text() == "x"
    bring_back(target, tmp_path / "other")
    with pytest.raises(Invalid, match="not empty"):
        bring_back(target, tmp_path / "other")


@pytest.mark.parametrize("seed", range(6))
def test_damage_at_the_target_is_named_and_nothing_looks_whole(db, target, tmp_path, seed):
    fill(db)
    back_up(db, target)
    chance = random.Random(seed)
    name, size = chance.choice(list(target.list(PARTS)))
    content = bytearray(target.get(name))
    content[chance.randrange(size)] ^= 1 << chance.randrange(8)
    target.put(name, bytes(content))
    with pytest.raises(Corrupt, match=name):
        bring_back(target, tmp_path / "back")
    with pytest.raises(Corrupt, match="not finished: run it again"):
        Running(tmp_path / "back", CORE)
    target.delete(name)
    with pytest.raises(Corrupt, match="missing"):
        bring_back(target, tmp_path / "back")


def test_a_killed_restore_may_be_run_again(db, target, tmp_path):
    fill(db)
    back_up(db, target)
    throttle = Throttle(FakeClock(), None)
    under_way = restore(target, DataDirectory(tmp_path / "back"), backup_id=None, throttle=throttle)
    next(under_way)
    under_way.close()
    with pytest.raises(Corrupt, match="not finished: run it again"):
        Running(tmp_path / "back", CORE)
    assert read_restored(target, tmp_path / "back") == db.read()


def test_a_path_out_of_the_directory_is_refused(db, target, tmp_path):
    backup_id = back_up(db, target)["backup"]
    name = f"{BACKUPS}{backup_id}.json"

    backup = read_backup(target, backup_id)
    content = b"x"
    piece = Piece((File("../outside", 1),), (part_of(content),))
    wrong = msgspec.structs.replace(backup, pieces=(piece,))
    target.put(name, encode_document(wrong, format_version=FORMAT))
    with pytest.raises(Corrupt, match="leaves the data directory"):
        bring_back(target, tmp_path / "back")
    assert not (tmp_path / "outside").exists()


def test_there_must_be_a_backup(target, tmp_path):
    with pytest.raises(Invalid, match="no backup"):
        bring_back(target, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_copying_is_held_to_a_rate():
    clock = FakeClock()
    throttle = Throttle(clock, 1000)
    began = clock.monotonic_seconds()
    for _ in range(10):
        throttle.take(500)
    assert clock.monotonic_seconds() - began == pytest.approx(4.5)


def test_a_local_target_keeps_parts_that_a_shutil_copy_brings_back(db, tmp_path):
    """A target is plain files: it may be moved."""
    fill(db)
    back_up(db, LocalObjects(tmp_path / "target"))
    shutil.copytree(tmp_path / "target", tmp_path / "moved")
    moved = LocalObjects(tmp_path / "moved", owned=False)
    assert read_restored(moved, tmp_path / "back") == db.read()


def test_the_golden_backup_is_read(target):
    """docs/formats/backup.md: what release 0.1 wrote."""
    content = GOLDEN.read_bytes()
    target.put(f"{BACKUPS}20260301T031500Z-5f0c9a1e.json", content)
    found = read_backup(target, "20260301T031500Z-5f0c9a1e")
    assert (found.source, found.end_offset, found.file_count) == ("host:/data", 9, 3)
    assert [file.path for piece in found.pieces for file in piece.files] == [
        "log/0/00000000000000000004.log",
        "format",
        "blocks/0000000001-0000000001.block",
    ]
    assert encode_document(found, format_version=FORMAT) == content
