"""The series table through its Python door; its insides are tested in Rust."""

import numpy as np
import pytest

from orrery.errors import Corrupt, Exhausted, Invalid
from orrery.kernels.batch import Batch
from orrery.kernels.columns import decode_columns
from orrery.kernels.line_protocol import decode_line_protocol
from orrery.kernels.record import describe_record
from orrery.kernels.series import encode_series, parse_series, series_id, shard
from orrery.kernels.series_table import ResolveBounds, Resolved, SeriesTable


def bounds(**changed: int) -> ResolveBounds:
    limits = {
        "time_min_ns": 0,
        "time_max_ns": 1_000,
        "active_series_max": 100,
        "new_series_allowed": True,
        "label_count_max": 10,
        "label_bytes_max": 100,
    }
    return ResolveBounds(**(limits | changed))


def resolve(table: SeriesTable, batch: Batch, **changed: int) -> Resolved:
    return table.resolve("acme", batch, defaults=[], forced=[], bounds=bounds(**changed))


def columns(count: int, *, time_ns: int = 1) -> Batch:
    series = [encode_series("cpu", "", [("host", f"h{n}")]) for n in range(count)]
    times_ns = np.full(count, time_ns, dtype=np.int64)
    return decode_columns(series, np.arange(count + 1), times_ns, np.ones(count))


def test_a_line_becomes_a_series_a_field() -> None:
    table = SeriesTable()
    body = b"cpu,host=a user=1,ok=true 5\ncpu,host=a user=2 6\n"
    batch = decode_line_protocol(body, precision_ns=1, now_ns=5)
    resolved = resolve(table, batch)
    assert (resolved.sample_count, resolved.new_series_count) == (3, 2)
    assert table.active_series("acme") == 2
    described = describe_record(resolved.record(1))
    assert described["series_count"] == 2
    assert described["definition_count"] == 2
    assert (described["time_min_ns"], described["time_max_ns"]) == (5, 6)


def test_forced_labels_name_another_series() -> None:
    table = SeriesTable()
    batch = columns(1)
    for team in ("a", "b"):
        table.resolve("acme", batch, defaults=[], forced=[("team", team)], bounds=bounds())
    table.resolve("acme", batch, defaults=[("team", "a")], forced=[], bounds=bounds())
    assert table.active_series("acme") == 2


def test_a_new_series_refuses_the_batch_where_none_is_allowed() -> None:
    table = SeriesTable()
    resolve(table, columns(2))
    with pytest.raises(Exhausted, match="new series"):
        resolve(table, columns(3), new_series_allowed=False)
    assert resolve(table, columns(2), new_series_allowed=False).sample_count == 2


@pytest.mark.parametrize(
    ("changed", "reason", "series_rejected"),
    [
        ({"active_series_max": 2}, "active series limit of 2 reached", 1),
        ({"label_bytes_max": 1}, "more than 1", 3),
        ({"label_count_max": 0}, "1 labels are more than 0", 3),
        ({"time_min_ns": 2}, "too old", 0),
        ({"time_max_ns": 0}, "too far in the future", 0),
    ],
)
def test_refusals_name_line_and_reason(
    changed: dict[str, int], reason: str, series_rejected: int
) -> None:
    resolved = resolve(SeriesTable(), columns(3), **changed)
    line, said = resolved.rejected[-1]
    assert line == 3
    assert reason in said
    assert resolved.series_rejected_count == series_rejected
    assert resolved.samples_rejected_count == 3 - resolved.sample_count == len(resolved.rejected)
    assert resolved.lines_rejected_count == len(resolved.rejected)


def test_idle_series_leave() -> None:
    table = SeriesTable()
    resolve(table, columns(10, time_ns=5))
    resolve(table, columns(2, time_ns=50))
    assert table.sweep(50) == 8
    assert (table.active_series("acme"), table.series_count) == (2, 2)


def test_a_checkpoint_is_read_again() -> None:
    table = SeriesTable()
    resolve(table, columns(5))
    definitions = table.definitions(0)
    (content,) = definitions
    assert definitions.count == 5
    assert list(table.definitions(definitions.until)) == []
    again = SeriesTable()
    assert again.load_definitions(content) == 5
    assert again.active_series("acme") == 5
    with pytest.raises(Corrupt, match="checksum"):
        again.load_definitions(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_tenant_needs_a_name() -> None:
    with pytest.raises(Invalid, match="cannot name a tenant"):
        SeriesTable().resolve("", columns(1), defaults=[], forced=[], bounds=bounds())


def test_shards_are_those_of_the_series() -> None:
    first, last = resolve(SeriesTable(), columns(20)).shards
    series = [encode_series("cpu", "", [("host", f"h{n}")]) for n in range(20)]
    assert parse_series(series[0])[0] == "cpu"
    shards = [shard("acme", series_id(one)) for one in series]
    assert (first, last) == (min(shards), max(shards))
