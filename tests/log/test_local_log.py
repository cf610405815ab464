"""The local log's files: torn tails are cut, damage is named, a failed sync is final."""

import contextlib
import os
import resource
import threading
from concurrent.futures import Future

import pytest

from orrery.durable import Disk
from orrery.errors import Corrupt, Exhausted, Unavailable
from orrery.log.local import LocalLog, LogLimits
from orrery.log.segment import HEADER_BYTES, segments


class SyncedBy(Disk):
    """Syncs the log as it is told."""

    def __init__(self, synchronise):
        self.synchronise = synchronise

    def sync_data(self, descriptor):
        self.synchronise(descriptor)


def fill(path, records, **options):
    """Each record acknowledged before the next, so that each stands on a sync of its own."""
    log = LocalLog(path, **options)
    for record in records:
        log.append(0, record).result(10)
    return log


def crashed(log):
    """The files as a killed process leaves them: no seal, no close."""
    (_, path) = segments(log._partitions[0]._directory)[-1]
    content = path.read_bytes()
    log.close()
    path.write_bytes(content)
    return path, content


def read_all(path):
    log = LocalLog(path)
    try:
        return [record for _, record in log.read(0, 0)], log.cuts
    finally:
        log.close()


RECORDS = [b"first record", b"second", b"the third of them"]
FRAMES = [20 + len(record) for record in RECORDS]


def test_a_tail_cut_at_any_byte_keeps_the_whole_frames(tmp_path):
    path, content = crashed(fill(tmp_path, RECORDS))
    ends = [HEADER_BYTES + sum(FRAMES[:count]) for count in range(4)]
    for length in range(HEADER_BYTES, len(content) + 1):
        path.write_bytes(content[:length])
        whole = sum(end <= length for end in ends[1:])
        records, cuts = read_all(tmp_path)
        assert records == RECORDS[:whole]
        torn = length - ends[whole]
        assert [(cut.position, cut.byte_count) for cut in cuts] == (
            [(ends[whole], torn)] if torn else []
        )


def test_appends_go_on_behind_a_cut(tmp_path):
    path, content = crashed(fill(tmp_path, RECORDS))
    path.write_bytes(content[:-1] + b"zzz")
    log = LocalLog(tmp_path)
    assert log.append(0, b"again").result(10) == 2
    log.close()
    assert read_all(tmp_path) == ([*RECORDS[:2], b"again"], ())


def test_a_bit_flipped_before_the_last_sync_is_named(tmp_path):
    path, content = crashed(fill(tmp_path, RECORDS))
    last_frame = len(content) - FRAMES[-1]
    for bit in range(HEADER_BYTES * 8, last_frame * 8, 3):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(Corrupt, match=rf"{path}.*bad frame at byte"):
            LocalLog(tmp_path)
    flipped = bytearray(content)
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    assert read_all(tmp_path)[0] == RECORDS[:2]


def test_a_bit_flipped_anywhere_after_a_clean_close_is_named(tmp_path):
    fill(tmp_path, RECORDS).close()
    (_, path) = segments(tmp_path / "0")[-1]
    content = path.read_bytes()
    for bit in range(0, (len(content) - 20) * 8, 5):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(Corrupt, match=str(path)):
            LocalLog(tmp_path)


def test_damage_to_an_earlier_segment_is_named_when_it_is_read(tmp_path):
    log = fill(
        tmp_path, [b"%d" % n * 50 for n in range(12)], limits=LogLimits(segment_bytes_max=200)
    )
    log.close()
    found = segments(tmp_path / "0")
    assert len(found) > 3
    (_, path) = found[1]
    path.write_bytes(path.read_bytes()[:-1])
    log = LocalLog(tmp_path)
    with pytest.raises(Corrupt, match=rf"{path}.*records .* are missing"):
        list(log.read(0, 0))
    log.close()


def test_a_hole_in_one_unsynced_write_is_a_torn_tail(tmp_path):
    disk = SyncedBy(os.fdatasync)
    log = LocalLog(tmp_path, disk=disk)
    log.append(0, b"kept").result(10)
    gate, entered = threading.Event(), threading.Event()

    def wait(descriptor):
        entered.set()
        gate.wait(10)
        os.fdatasync(descriptor)

    disk.synchronise = wait
    first = log.append(0, b"a")
    entered.wait(10)
    rest = [log.append(0, record) for record in (b"b", b"c", b"d")]
    gate.set()
    assert [f.result(10) for f in (first, *rest)] == [1, 2, 3, 4]
    path, content = crashed(log)
    hole = content.index(b"b", HEADER_BYTES + 24 + 21)
    path.write_bytes(content[:hole] + b"\0" + content[hole + 1 :])
    records, cuts = read_all(tmp_path)
    assert records == [b"kept", b"a"]
    assert cuts[0].byte_count == 3 * 21


def test_after_a_failed_sync_nothing_is_taken_until_reopened(tmp_path):
    failing = threading.Event()

    def synchronise(descriptor):
        if failing.is_set():
            raise OSError(5, "Input/output error")
        os.fdatasync(descriptor)

    log = fill(tmp_path, [b"good"], disk=SyncedBy(synchronise))
    failing.set()
    with pytest.raises(Unavailable, match="Input/output error"):
        log.append(0, b"unknown").result(10)
    failing.clear()
    with pytest.raises(Unavailable, match="Input/output error"):
        log.append(0, b"refused")
    with pytest.raises(Unavailable, match="Input/output error"):
        log.recover(0)
    assert list(log.read(0, 0)) == [(0, b"good")]
    log.close()
    log = LocalLog(tmp_path)
    assert [record for _, record in log.read(0, 0)] in ([b"good"], [b"good", b"unknown"])
    log.close()


@contextlib.contextmanager
def file_bytes_at_most(byte_count):
    """A file of this process cannot grow longer: writing gives up in the middle, as on a full
    disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (byte_count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limits", [LogLimits(), LogLimits(segment_bytes_max=60)])
def test_after_a_failed_write_it_goes_on_without_what_failed(tmp_path, limits):
    log = fill(tmp_path, RECORDS[:2], limits=limits)
    (_, path) = segments(tmp_path / "0")[-1]
    with file_bytes_at_most(path.stat().st_size + 5):
        futures = [log.append(0, b"lost" * 100), log.append(0, b"lost, too")]
        for future in futures:
            with pytest.raises(Unavailable, match="File too large"):
                future.result(10)
        with pytest.raises(Unavailable, match="File too large"):
            log.append(0, b"refused")
    log.recover(0)
    log.recover(0)
    assert log.append(0, RECORDS[2]).result(10) == 2
    assert [record for _, record in log.read(0, 0)] == RECORDS
    log.close()
    with pytest.raises(Unavailable, match="closed"):
        log.recover(0)
    assert read_all(tmp_path) == (RECORDS, ())


def test_memory_class_appends_do_not_sync(tmp_path):
    def synchronise(_descriptor):
        raise OSError(5, "must not be asked")

    log = LocalLog(tmp_path, disk=SyncedBy(synchronise))
    assert log.append(0, b"x", durable=False).result(10) == 0
    log.close()
    assert read_all(tmp_path)[0] == [b"x"]


def test_a_full_queue_is_exhausted(tmp_path):
    gate = threading.Event()

    def synchronise(_descriptor):
        gate.wait(10)

    log = LocalLog(tmp_path, limits=LogLimits(queue_bytes_max=100), disk=SyncedBy(synchronise))
    futures: list[Future[int]] = []

    def fill_queue():
        for _ in range(10):
            futures.append(log.append(0, b"x" * 30))

    with pytest.raises(Exhausted, match="of 100 bytes wait"):
        fill_queue()
    gate.set()
    assert [future.result(10) for future in futures] == list(range(len(futures)))
    log.close()


def test_a_skip_survives_reopening(tmp_path):
    log = fill(tmp_path, [b"a"])
    log.trim(0, 7)
    log.close()
    log = LocalLog(tmp_path)
    assert log.bounds(0) == (7, 7)
    log.close()


def test_a_segment_of_a_newer_version_is_refused(tmp_path):
    path, content = crashed(fill(tmp_path, [b"a"]))
    path.write_bytes(content[:8] + b"\x02" + content[9:])
    with pytest.raises(Corrupt, match="version 2 is not 1"):
        LocalLog(tmp_path)


def kept(directory):
    return sorted(path.name for path in (directory / "0").iterdir())


def test_a_trim_to_the_end_leaves_no_record_on_the_disk(tmp_path):
    log = fill(tmp_path, [b"secret", b"more"])
    log.trim(0, 2)
    assert log.bounds(0) == (2, 2)
    assert log.size_bytes(0, 0) == HEADER_BYTES
    (name,) = kept(tmp_path)
    assert b"secret" not in (tmp_path / "0" / name).read_bytes()
    assert log.append(0, b"next").result(10) == 2
    log.trim(0, 2)
    assert list(log.read(0, 2)) == [(2, b"next")]
    log.close()
    log = LocalLog(tmp_path)
    assert list(log.read(0, 0)) == [(2, b"next")]
    log.close()


def test_a_trim_short_of_the_end_ends_the_segment_with_the_next_write(tmp_path):
    log = fill(tmp_path, [b"a", b"b"])
    log.trim(0, 1)
    assert list(log.read(0, 1)) == [(1, b"b")]
    assert len(kept(tmp_path)) == 1
    log.append(0, b"c").result(10)
    assert len(kept(tmp_path)) == 2
    log.append(0, b"d").result(10)
    assert len(kept(tmp_path)) == 2
    log.trim(0, 2)
    assert log.bounds(0) == (2, 4)
    assert len(kept(tmp_path)) == 1
    log.close()
    log = LocalLog(tmp_path)
    assert list(log.read(0, 0)) == [(2, b"c"), (3, b"d")]
    log.close()


def test_a_segment_that_cannot_be_ended_is_recovered_from(tmp_path):
    log = fill(tmp_path, [b"a"])
    (tmp_path / "0" / "~new").mkdir()
    with pytest.raises(Unavailable, match="cannot trim"):
        log.trim(0, 1)
    with pytest.raises(Unavailable, match="ending"):
        log.append(0, b"b")
    (tmp_path / "0" / "~new").rmdir()
    log.recover(0)
    assert log.append(0, b"b").result(10) == 1
    log.trim(0, 1)
    assert list(log.read(0, 1)) == [(1, b"b")]
    log.close()
    assert read_all(tmp_path)[0][-1] == b"b"


def test_a_sync_that_fails_when_a_segment_ends_is_final(tmp_path):
    broken = []

    def synchronise(descriptor):
        if broken:
            raise OSError(5, "Input/output error")

    log = fill(tmp_path, [b"a"], disk=SyncedBy(synchronise))
    broken.append(True)
    with pytest.raises(Unavailable, match="cannot trim"):
        log.trim(0, 1)
    broken.clear()
    with pytest.raises(Unavailable):
        log.recover(0)
    log.close()
