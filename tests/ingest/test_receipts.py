"""Receipts of deletes: what was hidden is counted, and is off the disk when they say so."""

import json
from pathlib import Path

import pytest

from orrery.errors import Exhausted, Unavailable
from orrery.ingest import receipts as module
from orrery.ingest.receipts import Receipts
from orrery.model.receipts import Held, Receipt
from orrery.model.selector import Matcher, Operator, Selector
from orrery.store.bounds import StoreBounds
from orrery.store.documents import decode_document, encode_document
from tests.store.cores import NativeCore
from tests.store.harness import NOW_NS as T
from tests.store.harness import TENANT, Running

CORE = NativeCore()
GRACE = 300
BOUNDS = StoreBounds(grace_seconds=GRACE, disk_reserve_bytes=0)
GOLDEN = Path(__file__).parents[1] / "golden" / "formats" / "receipt_v1.json"


def receipts_of(db, **options):
    return Receipts(
        store=db.store,
        delete=db.accept.delete,
        objects=db.objects,
        clock=db.clock,
        observe=lambda event, fields: db.events.append((event, dict(fields))),
        **options,
    )


@pytest.fixture
def db(tmp_path):
    with Running(tmp_path, CORE, bounds=BOUNDS) as db:
        yield db


def named(name, operator=Operator.EQUAL):
    return Selector((Matcher("__name__", operator, name),))


def fill(db):
    """Three series with ten samples each in a block, and one more each in the head."""
    for first in (0, 10):
        count = 10 if first == 0 else 1
        for name in ("cpu", "mem", "disk"):
            db.write(*[(name, T + first + at, float(at)) for at in range(count)])
        if first == 0:
            db.store.flush()


def delete(receipts, name="cpu", *, first=T, last=T + 100, operator=Operator.EQUAL):
    return receipts.delete(TENANT, named(name, operator), min_ns=first, max_ns=last)


@pytest.mark.parametrize(
    ("name", "operator", "first", "last", "series", "samples"),
    [
        ("cpu", Operator.EQUAL, T, T + 100, 1, 11),
        ("cpu|mem", Operator.REGEX, T, T + 100, 2, 22),
        ("cpu", Operator.EQUAL, T + 3, T + 5, 1, 3),
        ("cpu", Operator.EQUAL, T + 10, T + 10, 1, 1),
        ("cpu", Operator.EQUAL, T + 50, T + 60, 0, 0),
        ("none", Operator.EQUAL, T, T + 100, 0, 0),
    ],
)
def test_what_is_hidden_is_counted(db, name, operator, first, last, series, samples):
    fill(db)
    before = len(db.read())
    receipts = receipts_of(db)
    receipt = delete(receipts, name, operator=operator, first=first, last=last)
    assert (receipt.series, receipt.samples, receipt.is_exact) == (series, samples, True)
    assert before - len(db.read()) == samples
    assert receipt.accepted_ns == db.clock.now_ns()
    assert delete(receipts, name, operator=operator, first=first, last=last).samples == 0


def test_duplicates_count_once_and_what_was_deleted_not_at_all(db):
    fill(db)
    db.write(("cpu", T, 5.0), ("cpu", T + 1, 5.0))
    db.store.flush()
    db.delete("cpu", T + 2, T + 3)
    receipt = delete(receipts_of(db))
    assert (receipt.samples, receipt.is_exact) == (9, True)


def test_too_many_to_count_are_bounded_from_above(db, monkeypatch):
    fill(db)
    monkeypatch.setattr(module, "COUNTED_SAMPLES_MAX", 5)
    receipt = delete(receipts_of(db))
    assert not receipt.is_exact
    # All that the tenant has in the block, and one in the head.
    assert receipt.samples == 31


def test_it_is_gone_once_blocks_files_and_log_are(db):
    fill(db)
    receipts = receipts_of(db)
    receipt = delete(receipts)
    found, held = receipts.show(TENANT, receipt.id)
    assert found == receipt
    assert held.blocks == 1
    assert held.block_bytes > 0
    assert held.log_bytes > 0
    db.clock.ns += 10**9
    db.store.flush()
    found, held = receipts.show(TENANT, receipt.id)
    assert (found.rewritten_ns, held.blocks) == (None, 1)
    db.clock.ns += 10**9
    db.store.compact()
    rewritten_ns = db.clock.ns
    found, held = receipts.show(TENANT, receipt.id)
    assert (found.rewritten_ns, found.removed_ns, held.blocks) == (rewritten_ns, None, 0)
    assert held.files > 0
    db.store.maintain_blocks()
    db.clock.ns += (GRACE - 1) * 10**9
    db.store.maintain_blocks()
    assert receipts.show(TENANT, receipt.id)[1].files > 0
    db.clock.ns += 2 * 10**9
    db.store.maintain_blocks()
    found, held = receipts.show(TENANT, receipt.id)
    assert held == Held(blocks=0, block_bytes=0, files=0, log_bytes=0)
    assert (found.rewritten_ns, found.removed_ns) == (rewritten_ns, db.clock.ns)
    assert receipts.follow() == 0
    # None of its values is in any file any more; those of the others are.
    content = b"".join(path.read_bytes() for path in db.path.glob("log/0/*.log"))
    assert b"cpu" not in content


def test_the_log_is_let_go_of_also_while_others_write(db):
    fill(db)
    receipts = receipts_of(db)
    receipt = delete(receipts)
    for number in range(2):
        db.write(("mem", T + 1000 + number, 1.0))
        db.store.flush()
        db.write(("mem", T + 2000 + number, 1.0))
        db.store.maintain_blocks()
    assert receipts.show(TENANT, receipt.id)[1].log_bytes == 0


def test_a_backup_keeps_files_and_the_receipt_says_so(db):
    fill(db)
    receipts = receipts_of(db)
    receipt = delete(receipts)
    pinned = db.store.pin()
    db.store.flush()
    db.store.compact()
    db.store.maintain_blocks()
    db.clock.ns += 30 * 10**9
    db.store.renew_pin(pinned.id, log=True)
    db.store.maintain_blocks()
    found, held = receipts.show(TENANT, receipt.id)
    assert held.files > 0
    assert held.log_bytes > 0
    assert found.removed_ns is None


def test_following_notes_what_has_gone_and_outlives_a_restart(tmp_path):
    with Running(tmp_path, CORE, bounds=BOUNDS) as db:
        fill(db)
        receipt = delete(receipts_of(db))
    with Running(tmp_path, CORE, bounds=BOUNDS) as db:
        receipts = receipts_of(db)
        assert receipts.of(TENANT) == [receipt]
        assert receipts.follow() == 1
        db.store.flush()
        db.store.compact()
        assert receipts.follow() == 1
    with Running(tmp_path, CORE, bounds=BOUNDS) as db:
        receipts = receipts_of(db)
        db.store.maintain_blocks()
        db.clock.ns += (GRACE + 1) * 10**9
        db.store.maintain_blocks()
        assert receipts.follow() == 0
        (found,) = receipts.of(TENANT)
        assert found.removed_ns == db.clock.ns
        assert found.rewritten_ns < found.removed_ns


def test_a_tenant_sees_its_own_only(db):
    fill(db)
    receipts = receipts_of(db)
    receipt = delete(receipts)
    assert receipts.of("other") == []
    assert receipts.show("other", receipt.id) is None
    assert receipts.show(TENANT, receipt.id + 1) is None
    assert receipts.show(TENANT, 10**30) is None


def test_the_oldest_finished_one_makes_room(db):
    fill(db)
    receipts = receipts_of(db, receipts_max=3)
    first = [delete(receipts, name).id for name in ("cpu", "mem", "disk")]
    with pytest.raises(Exhausted, match="receipts_max"):
        delete(receipts)
    db.store.flush()
    db.store.compact()
    for _ in range(2):
        db.store.maintain_blocks()
        db.clock.ns += (GRACE + 1) * 10**9
    assert receipts.follow() == 0
    newest = delete(receipts).id
    assert [receipt.id for receipt in receipts.of(TENANT)] == [*first[1:], newest]


class Full:
    """Objects on a disk that takes no more."""

    def __init__(self, objects):
        self.objects = objects
        self.is_full = False

    def put(self, name, content):
        if self.is_full:
            raise Unavailable("cannot put object: no space left on device")
        self.objects.put(name, content)

    def __getattr__(self, name):
        return getattr(self.objects, name)


def test_a_full_disk_takes_the_delete_without_its_receipt(db):
    fill(db)
    db.objects = Full(db.objects)
    receipts = receipts_of(db)
    db.objects.is_full = True
    receipt = delete(receipts)
    assert receipt.samples == 11
    assert not [name for name, _ in db.read() if name == "cpu"]
    assert receipts.of(TENANT) == []
    assert [event for event, _ in db.events if event == "receipt_unkept"] == ["receipt_unkept"]


def test_the_golden_receipt_is_read():
    content = GOLDEN.read_bytes()
    found = decode_document(content, Receipt, name="golden", format_version=module.FORMAT)
    assert (found.id, found.tenant, found.samples) == (1234, "acme", 42)
    assert encode_document(found, format_version=module.FORMAT) == content
    assert json.loads(content)["document"]["matchers"] == [["__name__", "=~", "cpu.*"]]
