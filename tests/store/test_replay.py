"""A crash may leave any version of the manifest with any longer prefix of the log: all of them open
and answer as the records up to there say."""

import contextlib
import shutil

import pytest

from orrery.errors import Exhausted
from orrery.log.local import LocalLog
from orrery.objects.local import LocalObjects
from orrery.store.bounds import StoreBounds
from orrery.store.manifest import ManifestStore
from orrery.store.state import Checkpoint
from tests.store.cores import NativeCore
from tests.store.harness import NOW_NS, Running

BOUNDS = StoreBounds(grace_seconds=2.0**40, disk_reserve_bytes=0, checkpoints_max=2)
VERSIONS = "objects/partitions/0/manifest"


class Kept:
    """Passes calls on, but removes nothing: what a crash may have left is all there."""

    def __init__(self, inner):
        self._inner = inner
        self.is_full = False

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def trim(self, partition, offset):
        pass

    def delete(self, name):
        pass

    def append(self, partition, record, *, durable=True):
        if self.is_full:
            raise Exhausted("cannot append: it is full on purpose")
        return self._inner.append(partition, record, durable=durable)


class History:
    """Operations on a database, and what it must hold after each offset."""

    def __init__(self, path):
        self.path = path
        self.model = {}
        self.after = [{}]
        self.open()

    def open(self):
        self.db = Running(self.path, NativeCore(), bounds=BOUNDS, wrap_log=Kept, wrap_objects=Kept)

    def write(self, *rows):
        assert self.db.write(*rows).offset == len(self.after) - 1
        self.model = self.model | {(name, time): value for name, time, value in rows}
        self.after.append(self.model)

    def write_refused(self, *rows):
        self.db.log.is_full = True
        with pytest.raises(Exhausted):
            self.db.write(*rows)
        self.db.log.is_full = False

    def delete(self, name, low, high):
        assert self.db.delete(name, low, high) == len(self.after) - 1
        gone = {key for key in self.model if key[0] == name and low <= key[1] <= high}
        self.model = {key: value for key, value in self.model.items() if key not in gone}
        self.after.append(self.model)

    def reopen(self):
        self.db.close()
        self.open()

    def sweep(self):
        self.db.store.table.sweep(2**63 - 1)
        self.db.store._state.checkpoint = Checkpoint()


def happened(path):
    """Definitions forgotten, swept, checkpointed in part and whole, in three epochs."""
    history = History(path)
    flush = lambda: history.db.store.flush()  # noqa: E731
    t = NOW_NS
    history.write(("a", t, 1.0), ("b", t, 1.0))
    history.write(("a", t, 2.0), ("b", t + 1, 2.0))
    history.write_refused(("c", t, 0.0))
    history.write(("c", t, 3.0))
    flush()
    history.write(("a", t, 4.0), ("c", t + 1, 4.0))
    history.delete("a", t, t)
    history.write(("a", t, 5.0), ("d", t, 5.0))
    flush()
    history.sweep()
    history.write(("b", t, 6.0))
    history.write(("d", t + 2, 7.0))
    history.write_refused(("e", t, 0.0), ("d", t, 0.0))
    history.reopen()
    history.write(("e", t, 8.0), ("b", t + 2, 8.0))
    history.delete("b", t, t + 1)
    flush()
    history.db.store.compact()
    history.sweep()
    history.write(("b", t, 9.0), ("e", t + 1, 9.0))
    flush()
    history.write(("f", t, 10.0))
    history.delete("f", t, t)
    flush()
    history.reopen()
    history.write(("f", t, 11.0), ("a", t + 5, 11.0))
    history.delete("e", -(2**63), 2**63 - 1)
    history.db.store.compact()
    history.write(("e", t, 12.0))
    history.db.close()
    return history


def cut(source, target, *, version, count):
    """The directory as a crash left it: manifests up to ``version``, ``count`` records."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("log", "lock"))
    for path in (target / VERSIONS).iterdir():
        if int(path.stem) > version:
            path.unlink()
    with contextlib.closing(LocalLog(source / "log")) as log:
        records = [record for offset, record in log.read(0, 0) if offset < count]
    with contextlib.closing(LocalLog(target / "log")) as log:
        for record in records:
            log.append(0, record).result(10)


def test_every_prefix_that_a_manifest_allows_is_replayed(tmp_path):
    history = happened(tmp_path / "whole")
    manifests = ManifestStore(LocalObjects(tmp_path / "whole" / "objects"), partition=0)
    opened = 0
    for version in manifests.versions():
        manifest = manifests.read(version)
        # A delete is in the log, durable, before a compaction applies it.
        applied = max([block.deletes_through + 1 for block in manifest.blocks], default=0)
        first = max(manifest.next_offset, applied)
        for count in range(first, len(history.after)):
            target = tmp_path / f"{version}-{count}"
            cut(tmp_path / "whole", target, version=version, count=count)
            with Running(target, NativeCore()) as db:
                assert db.read() == history.after[count], (version, count)
                db.write(("a", NOW_NS, -1.0), ("new", NOW_NS, -1.0))
                db.store.flush()
                db.store.compact()
                expected = history.after[count] | {("a", NOW_NS): -1.0, ("new", NOW_NS): -1.0}
                assert db.read() == expected
            shutil.rmtree(target)
            opened += 1
    assert opened > 50
