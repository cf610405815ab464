"""What every backend of the log promises."""

import threading

import pytest

from orrery.errors import Exhausted, Invalid, Unavailable
from orrery.log.contract import RECORD_BYTES_MAX
from orrery.log.local import LocalLog, LogLimits
from orrery.log.memory import MemoryLog

SMALL = LogLimits(segment_bytes_max=300, group_bytes_max=200, group_records_max=8)
BACKENDS = {
    "memory": lambda _path: MemoryLog(partition_count=2),
    "local": lambda path: LocalLog(path, partition_count=2),
    "local-small-segments": lambda path: LocalLog(path, partition_count=2, limits=SMALL),
}


@pytest.fixture(params=BACKENDS)
def log(request, tmp_path):
    log = BACKENDS[request.param](tmp_path / "log")
    yield log
    log.close()


def append(log, *records, partition=0, durable=True):
    futures = [log.append(partition, record, durable=durable) for record in records]
    return [future.result(10) for future in futures]


def test_offsets_count_records_of_each_partition(log):
    assert append(log, b"a", b"b") == [0, 1]
    assert append(log, b"c", partition=1) == [0]
    assert append(log, b"d") == [2]
    assert list(log.read(0, 0)) == [(0, b"a"), (1, b"b"), (2, b"d")]
    assert list(log.read(0, 2)) == [(2, b"d")]
    assert list(log.read(0, 3)) == []
    assert list(log.read(1, 0)) == [(0, b"c")]
    assert (log.bounds(0), log.bounds(1)) == ((0, 3), (0, 1))


def test_many_threads_append_and_nothing_is_lost(log):
    written = {}

    def work(number):
        for count in range(40):
            record = b"%d-%d" % (number, count) * 5
            written[log.append(0, record, durable=count % 3 > 0).result(10)] = record

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert dict(log.read(0, 0)) == written
    assert sorted(written) == list(range(160))


def test_futures_complete_in_offset_order(log):
    seen = []
    futures = [log.append(0, b"x%d" % n, durable=n % 2 > 0) for n in range(50)]
    for future in futures:
        future.add_done_callback(lambda done: seen.append(done.result()))
    assert [future.result(10) for future in futures] == list(range(50))
    log.append(0, b"last").result(10)
    assert sorted(seen) == list(range(50))


def test_trim_lets_go_of_the_front_only(log):
    append(log, *[b"%03d" % n * 20 for n in range(40)])
    log.trim(0, 25)
    first, following = log.bounds(0)
    assert first <= 25
    assert following == 40
    assert [offset for offset, _ in log.read(0, 25)] == list(range(25, 40))
    assert 0 < log.size_bytes(0, 25) <= 40 * 80 + 1000
    assert append(log, b"next") == [40]


def test_size_bytes_falls_with_the_offset(log):
    append(log, b"x" * 100_000, b"y" * 100_000)
    assert log.size_bytes(0, 0) >= 200_000
    assert 100_000 <= log.size_bytes(0, 1) < 150_000
    assert log.size_bytes(0, 2) <= 20_000


def test_trim_behind_the_end_skips_offsets(log):
    append(log, b"a", b"b")
    log.trim(0, 10)
    assert log.bounds(0) == (10, 10)
    assert append(log, b"c") == [10]
    assert list(log.read(0, 0)) == [(10, b"c")]


@pytest.mark.parametrize("record", [b"", b"x" * (RECORD_BYTES_MAX + 1)], ids=["empty", "long"])
def test_records_that_cannot_be_are_refused(log, record):
    with pytest.raises(Invalid, match="cannot append to partition 0: a record of"):
        log.append(0, record)


def test_a_partition_that_is_not_there_is_refused(log):
    for call in (lambda: log.append(2, b"x"), lambda: log.read(2, 0), lambda: log.bounds(-1)):
        with pytest.raises(Invalid, match="no such partition"):
            call()


def test_a_closed_log_refuses_appends(log):
    append(log, b"a")
    log.close()
    log.close()
    with pytest.raises(Unavailable, match="closed"):
        log.append(0, b"b")


def test_a_full_memory_log_is_exhausted():
    log = MemoryLog(bytes_max=10)
    log.append(0, b"12345678")
    with pytest.raises(Exhausted, match="8 of 10 bytes"):
        log.append(0, b"123")
    log.trim(0, 1)
    assert log.append(0, b"123").result() == 1
