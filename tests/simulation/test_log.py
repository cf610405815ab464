"""The log on a disk that forgets, cut off at every single call."""

import itertools
import random

import pytest

from orrery.errors import Unavailable
from orrery.log.local import LocalLog, LogLimits
from tests.simulation.disk import Killed, SimulatedDisk

LIMITS = LogLimits(segment_bytes_max=120)


def append(log, record):
    future = log.append(0, record)
    log.write_queued(0)
    return future.result(0)


def opened(disk):
    return LocalLog(disk.root / "log", limits=LIMITS, disk=disk, threaded=False)


def append_until_cut_off(disk, calls_left, kept):
    """False where the process came to an end of its own."""
    disk.calls_left = calls_left
    try:
        log = opened(disk)
        for number in range(4):
            record = b"%04d" % (len(kept) + number) * 10
            append(log, record)
            kept.append(record)
    except Killed:
        return True
    disk.calls_left = None
    return False


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_and_then_a_power_cut_keep_what_was_acknowledged(tmp_path, seed):
    for calls_left in itertools.count(1):
        root = tmp_path / str(calls_left)
        root.mkdir()
        disk, kept = SimulatedDisk(root, random.Random(seed)), []
        was_killed = append_until_cut_off(disk, calls_left, kept)
        disk.end_process()
        log = opened(disk)
        found = [record for _, record in log.read(0, 0)]
        assert found[: len(kept)] == kept
        append(log, b"behind")
        disk.cut_power()
        log = opened(disk)
        assert [record for _, record in log.read(0, 0)] == [*found, b"behind"], calls_left
        disk.end_process()
        if not was_killed:
            break


@pytest.mark.parametrize("seed", range(20))
def test_what_a_failed_sync_forgot_is_written_again(tmp_path, seed):
    disk = SimulatedDisk(tmp_path, random.Random(seed))
    log = opened(disk)
    append(log, b"good")
    disk.fails = lambda call, _path: OSError(5, "broken") if call == "sync" else None
    with pytest.raises(Unavailable, match="broken"):
        append(log, b"unknown")
    disk.fails = lambda _call, _path: None
    disk.end_process()
    log = opened(disk)
    found = [record for _, record in log.read(0, 0)]
    append(log, b"behind")
    disk.cut_power()
    assert [record for _, record in opened(disk).read(0, 0)] == [*found, b"behind"]
    disk.end_process()
