"""The simulated disk itself: what may be forgotten is, what may not is not."""

import os
import random

import pytest

from tests.simulation.disk import SECTOR_BYTES, Killed, SimulatedDisk

OLD, NEW = b"o" * SECTOR_BYTES * 4, b"n" * SECTOR_BYTES * 4


def disks(tmp_path, count=60):
    for seed in range(count):
        root = tmp_path / str(seed)
        root.mkdir()
        yield SimulatedDisk(root, random.Random(seed)), root / "file"


def appended(disk, path, content):
    descriptor = disk.open(path, os.O_RDWR | os.O_APPEND)
    disk.write(descriptor, content)
    return descriptor


def test_what_was_synced_stays(tmp_path):
    for disk, path in disks(tmp_path):
        disk.write_file(path, OLD)
        disk.sync_directory(path.parent)
        disk.cut_power()
        assert path.read_bytes() == OLD


def test_a_name_that_was_not_synced_may_be_lost(tmp_path):
    found = set()
    for disk, path in disks(tmp_path):
        disk.write_file(path, OLD)
        disk.cut_power()
        found.add(path.read_bytes() if path.exists() else None)
    assert found == {OLD, None}


def test_a_rename_happens_whole_or_not_at_all(tmp_path):
    found = set()
    for disk, path in disks(tmp_path):
        disk.write_file(path, OLD)
        disk.sync_directory(path.parent)
        disk.write_file(path.with_name("new"), NEW)
        disk.rename(path.with_name("new"), path)
        disk.cut_power()
        found.add(path.read_bytes())
    assert found == {OLD, NEW}


def test_bytes_that_were_not_synced_are_torn_anywhere(tmp_path):
    found = set()
    for disk, path in disks(tmp_path):
        disk.write_file(path, OLD)
        disk.sync_directory(path.parent)
        appended(disk, path, NEW)
        disk.cut_power()
        content = path.read_bytes()
        assert content.startswith(OLD)
        found.add(content[len(OLD) :: SECTOR_BYTES])
    assert {b"", b"nnnn", b"n\0nn"} <= found


def test_a_kill_keeps_what_was_written_and_in_danger(tmp_path):
    found = set()
    for disk, path in disks(tmp_path):
        disk.write_file(path, OLD)
        disk.sync_directory(path.parent)
        appended(disk, path, NEW)
        disk.end_process()
        assert path.read_bytes() == OLD + NEW
        disk.cut_power()
        found.add(path.read_bytes() == OLD + NEW)
    assert found == {True, False}


def test_a_sync_after_a_failed_one_writes_nothing(tmp_path):
    lost = 0
    for disk, path in disks(tmp_path):
        disk.write_file(path, OLD)
        disk.sync_directory(path.parent)
        descriptor = appended(disk, path, NEW)
        disk.fails = lambda call, _path: OSError(5, "broken") if call == "sync" else None
        with pytest.raises(OSError, match="broken"):
            disk.sync(descriptor)
        disk.fails = lambda _call, _path: None
        disk.sync(descriptor)
        disk.cut_power()
        lost += path.read_bytes() != OLD + NEW
    assert lost > 40


def test_after_a_kill_nothing_changes_the_disk(tmp_path):
    for disk, path in disks(tmp_path, 1):
        disk.write_file(path, OLD)
        disk.calls_left = 1
        with pytest.raises(Killed):
            disk.unlink(path)
        for call in (disk.unlink, disk.sync_directory):
            with pytest.raises(Killed):
                call(path)
        assert path.exists()


def test_a_full_disk_takes_a_part(tmp_path):
    for disk, path in disks(tmp_path, 1):
        disk.space_left = 100
        with pytest.raises(OSError, match="No space left"):
            disk.write_file(path, OLD)
        assert path.stat().st_size <= 100
