"""kill -9 in every phase of a backup and of a restore: what is there is whole, or is not there."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orrery.clock import SystemChance, SystemClock
from orrery.errors import Corrupt
from orrery.objects.local import LocalObjects
from orrery.store.layout import DataDirectory
from orrery.transfer.backup import Backups
from orrery.transfer.catalog import backup_ids
from orrery.transfer.restore import restore
from orrery.transfer.source import StoppedHolder
from orrery.transfer.throttle import Throttle
from orrery.transfer.verify import verify
from tests.reliability.crash_writer import Killer
from tests.store.cores import NativeCore
from tests.store.harness import NOW_NS as T
from tests.store.harness import Running

CORE = NativeCore()
BACKUP_PHASES = {
    "mark put": ("os.link", "/writers/"),
    "part put": ("os.rename", "/parts/"),
    "document put": ("os.link", "/backups/"),
    "document just put": ("os.remove", "/backups/~"),
    "old document removed": ("os.remove", "/backups/2"),
    "old part removed": ("os.remove", "/parts/"),
    "mark removed": ("os.remove", "/writers/2"),
}
RESTORE_PHASES = {
    "marked": ("open", "~restoring"),
    "file begun": ("open", "/log/"),
    "object begun": ("open", "/objects/"),
    "block begun": ("open", "/blocks/"),
    "format written": ("open", "~format"),
    "format named": ("os.rename", "~format"),
    "mark removed": ("os.remove", "~restoring"),
}


def back_up(data: Path, target: Path, keep: int | None = None) -> None:
    directory = DataDirectory(data)
    objects = LocalObjects(directory.objects_path, owned=False)
    backups = Backups(LocalObjects(target), clock=SystemClock(), chance=SystemChance())
    with directory.owned():
        holder = StoppedHolder(directory, objects)
        for _ in backups.make(directory, objects, holder, verify_block=lambda _: None, keep=keep):
            pass


def bring_back(target: Path, data: Path) -> None:
    objects = LocalObjects(target, owned=False)
    throttle = Throttle(SystemClock(), None)
    for _ in restore(objects, DataDirectory(data), backup_id=None, throttle=throttle):
        pass


def killed(phase: tuple[str, str], count: int, work: Callable[[], None]) -> bool:
    """Whether the phase was met for the ``count``th time: then the process died right before it.

    A fork: what is done so needs no other thread of this process.
    """
    child = os.fork()
    if child == 0:
        try:
            sys.addaudithook(Killer(phase, count))
            work()
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def read(data: Path) -> dict:
    with Running(data, CORE) as db:
        return db.read()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with Running(tmp_path / "data", CORE) as db:
        fill(db, 0)
    return tmp_path / "data"


def fill(db: Running, first: int) -> None:
    for number in range(first, first + 3):
        db.write(*[(f"cpu{at}", T + number, float(at)) for at in range(20)])
        db.store.flush()
    db.write(("late", T + first, 1.0))


@pytest.mark.parametrize("phase", BACKUP_PHASES)
def test_a_killed_backup_leaves_whole_ones_only(tmp_path: Path, data: Path, phase: str) -> None:
    target = tmp_path / "target"
    before = read(data)
    back_up(data, target)
    with Running(data, CORE) as db:
        fill(db, 10)
        db.store.compact()
        after = db.read()
    count = 2 if phase == "part put" else 1
    assert killed(BACKUP_PHASES[phase], count, lambda: back_up(data, target, keep=1))
    assert all(row["ok"] for row in verify(LocalObjects(target, owned=False)))
    bring_back(target, tmp_path / "killed")
    assert read(tmp_path / "killed") in (before, after)
    back_up(data, target, keep=1)
    objects = LocalObjects(target, owned=False)
    assert len(backup_ids(objects)) == 1
    wanted = {row["file"] for row in verify(objects)}
    # Nothing that a killed one left stays for ever.
    assert {name for name, _ in objects.list("")} == wanted
    bring_back(target, tmp_path / "back")
    assert read(tmp_path / "back") == after


@pytest.mark.parametrize("phase", RESTORE_PHASES)
def test_a_killed_restore_is_refused_or_whole(tmp_path: Path, data: Path, phase: str) -> None:
    target, back = tmp_path / "target", tmp_path / "back"
    before = read(data)
    back_up(data, target)
    assert killed(RESTORE_PHASES[phase], 1, lambda: bring_back(target, back))
    if (back / "format").exists():
        assert phase == "mark removed"
        assert read(back) == before
        return
    if phase != "marked":
        with pytest.raises(Corrupt, match="not finished: run it again"):
            Running(back, CORE)
    bring_back(target, back)
    assert read(back) == before
