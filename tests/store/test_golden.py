"""Files that an earlier release wrote still read; ORRERY_WRITE_GOLDEN=1 writes them anew."""

import os
from pathlib import Path

from orrery.durable import Disk
from orrery.log.local import LocalLog
from orrery.log.segment import read_segment
from orrery.objects.memory import MemoryObjects
from orrery.store.manifest import BlockEntry, DeleteEntry, Manifest, ManifestStore
from orrery.store.quarantine import Book, BookStore, Damage, Dropped, Held

GOLDEN = Path(__file__).parents[1] / "golden" / "formats"
SEGMENT = GOLDEN / "log_segment_v1.log"
MANIFEST = GOLDEN / "manifest_v1.json"
QUARANTINE = GOLDEN / "quarantine_v1.json"
RECORDS = [b"first", b"second record", bytes(range(256))]
NAME = "partitions/0/manifest/00000000000000000001.json"
BLOCK = BlockEntry("0000000001-0000000001.block", -5, 2**62, 0, 9, 9, 1, 3, 512, 0, 2)
DELETE = DeleteEntry(11, "acme", (("host", "=~", "a|b"), ("__name__", "!=", "ü")), -(2**63), 7, 8)
CONTENT = Manifest(
    epoch=1,
    next_offset=12,
    made_at_ns=5,
    blocks=(BLOCK,),
    deletes=(DELETE,),
    checkpoints=("partitions/0/checkpoints/0000000001-0000000001.series",),
    metadata="partitions/0/metadata/0000000001-0000000002.json",
)


BOOK = Book(
    held=(
        Held(
            "0000000001-0000000001.block",
            -5,
            9,
            3,
            512,
            7,
            "pages at offset 16: cut",
            ("acme",),
            (Damage("acme", -5, 2, "pages at offset 16: cut"), Damage(None, -5, 9, "section ids")),
        ),
        Held("0000000001-0000000002.block", 0, 1, 2, 99, 8, "it is missing", None, ()),
    ),
    dropped=(Dropped("0000000001-0000000003.block", 0, 1, 2, "it is missing", 9),),
)


def written_segment(path):
    log = LocalLog(path)
    for record in RECORDS:
        log.append(0, record).result(10)
    log.close()
    return (path / "0" / "00000000000000000000.log").read_bytes()


def test_a_segment_of_version_1(tmp_path):
    content = written_segment(tmp_path)
    if "ORRERY_WRITE_GOLDEN" in os.environ:
        SEGMENT.write_bytes(content)
    assert SEGMENT.read_bytes() == content
    scan = read_segment(Disk(), SEGMENT, partition=0, first_offset=0)
    assert [scan.content[start:end] for start, end in scan.spans] == RECORDS
    assert (scan.next_offset, scan.torn_bytes) == (3, 0)


def test_a_manifest_of_format_1():
    objects = MemoryObjects()
    manifests = ManifestStore(objects, partition=0)
    if "ORRERY_WRITE_GOLDEN" in os.environ:
        manifests.take_epoch(0)
        manifests.commit(CONTENT)
        MANIFEST.write_bytes(objects.get(NAME.replace("1.json", "2.json")))
        objects.delete(NAME.replace("1.json", "2.json"))
    objects.put(NAME, MANIFEST.read_bytes())
    assert manifests.latest() == (1, CONTENT)


def test_a_quarantine_of_format_1():
    objects = MemoryObjects()
    name = "partitions/0/quarantine/00000000000000000001.json"
    if "ORRERY_WRITE_GOLDEN" in os.environ:
        BookStore(objects, partition=0).save(BOOK)
        QUARANTINE.write_bytes(objects.get(name))
    objects.put(name, QUARANTINE.read_bytes())
    assert BookStore(objects, partition=0).load() == BOOK
