"""The head through its Python door; its insides are tested in Rust."""

import numpy as np
import pytest

from orrery.errors import Corrupt, Invalid
from orrery.kernels.columns import decode_columns
from orrery.kernels.head import Head
from orrery.kernels.record import encode_delete, encode_metadata
from orrery.kernels.series import encode_series
from orrery.kernels.series_table import ResolveBounds, Resolved, SeriesTable

BOUNDS = ResolveBounds(
    time_min_ns=0,
    time_max_ns=10**18,
    active_series_max=10**6,
    new_series_allowed=True,
    label_count_max=10,
    label_bytes_max=100,
)


def write(table: SeriesTable, *, time_ns: int, count: int = 3) -> Resolved:
    series = [encode_series("up", "", [("host", f"h{n}")]) for n in range(count)]
    times_ns = np.full(count, time_ns, dtype=np.int64)
    batch = decode_columns(series, np.arange(count + 1), times_ns, np.ones(count))
    return table.resolve("t", batch, defaults=[], forced=[], bounds=BOUNDS)


def test_samples_move_from_active_to_frozen_to_gone() -> None:
    table = SeriesTable()
    head = Head(table)
    assert head.freeze(0) is None
    assert head.time_range is None
    head.apply(write(table, time_ns=5), 0)
    head.apply(write(table, time_ns=7), 1)
    assert (head.sample_count, head.time_range) == (6, (5, 7))
    assert head.memory_bytes > 6 * 16
    frozen = head.freeze(2)
    assert frozen is not None
    assert (frozen.order, frozen.sample_count, frozen.time_range) == (1, 6, (5, 7))
    assert frozen.source().order == 1
    head.apply(write(table, time_ns=9), 2)
    assert [source.order for source in head.sources()] == [1, 2**64 - 1]
    assert [source.time_range for source in head.sources()] == [(5, 7), (9, 9)]
    head.release(frozen)
    assert (head.sample_count, len(head.sources())) == (3, 1)


def test_a_log_replays_into_another_head() -> None:
    table = SeriesTable()
    records = [write(table, time_ns=time_ns).record(1) for time_ns in (1, 2)]
    records.append(encode_delete("t", 1, [("host", "=~", "h[01]")], 2, 2))
    head = Head(SeriesTable())
    assert [head.replay(record, offset) for offset, record in enumerate(records)] == [3, 3, 0]
    assert head.sample_count == 4


def test_a_run_is_replayed_up_to_what_the_store_has_a_part_in() -> None:
    table = SeriesTable()
    records = [write(table, time_ns=time_ns).record(1) for time_ns in (1, 2, 3)]
    records.insert(2, encode_metadata("t", 1, []))
    head = Head(SeriesTable())
    assert head.replay_run(records, 7) == 2
    assert head.sample_count == 6
    assert head.replay_run(records[3:], 10) == 1
    with pytest.raises(Corrupt, match=r"cannot replay record 12: .*checksum"):
        head.replay_run([records[0], records[1][:-1] + b"~"], 11)
    assert head.freeze(20) is not None


def test_a_delete_says_how_many_it_took() -> None:
    table = SeriesTable()
    head = Head(table)
    head.apply(write(table, time_ns=5), 0)
    assert head.delete("t", [("host", "=", "h1")], 0, 4, 1) == 0
    assert head.delete("other", [("host", "=", "h1")], 0, 9, 1) == 0
    assert head.delete("t", [("host", "!=", "h1")], 0, 9, 2) == 2
    assert head.sample_count == 1


def test_what_cannot_be_replayed_is_named() -> None:
    table = SeriesTable()
    head = Head(SeriesTable())
    resolved = write(table, time_ns=1)
    record = resolved.record(1)
    with pytest.raises(Corrupt, match="is defined nowhere before it"):
        head.replay(resolved.record(1), 0)
    with pytest.raises(Corrupt, match="checksum"):
        head.replay(record[:-1] + bytes([record[-1] ^ 1]), 0)
    with pytest.raises(Invalid, match="kind metadata"):
        head.replay(encode_metadata("t", 1, []), 0)
    with pytest.raises(Invalid, match="another series table"):
        head.apply(resolved, 0)


def test_generations_close_in_order() -> None:
    table = SeriesTable()
    head = Head(table)
    head.apply(write(table, time_ns=1), 4)
    with pytest.raises(Invalid, match="offset 4 is already in it"):
        head.freeze(4)
    frozen = head.freeze(5)
    assert frozen is not None
    head.release(frozen)
    with pytest.raises(Invalid, match="cannot release"):
        head.release(frozen)
