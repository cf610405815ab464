"""Heads and blocks become one block: order, deletes, retention and windows are honoured."""

from pathlib import Path

import numpy as np
import pytest

from orrery import _core
from orrery.errors import Invalid, Unavailable
from orrery.kernels.block import Block, Source
from orrery.kernels.columns import decode_columns
from orrery.kernels.compaction import BlockSummary, Cancellation, Delete, write_block
from orrery.kernels.series import encode_series

WHOLE = {"min_ns": -(2**63), "max_ns": 2**63 - 1}


def head_source(samples: dict[tuple[str, str], list[tuple[int, float]]], *, offset: int) -> Source:
    """A frozen head with samples by (tenant, host), all appended at ``offset``."""
    table = _core.SeriesTable()
    head = _core.Head(table)
    bounds = _core.ResolveBounds(
        time_min_ns=WHOLE["min_ns"],
        time_max_ns=WHOLE["max_ns"],
        active_series_max=1000,
        new_series_allowed=True,
        label_count_max=30,
        label_bytes_max=1000,
    )
    for (tenant, host), pairs in samples.items():
        series = encode_series("cpu", "", [("host", host)])
        times = np.array([time for time, _ in pairs], dtype=np.int64)
        values = np.array([value for _, value in pairs])
        batch = decode_columns([series], np.array([0, len(pairs)]), times, values)
        resolved = table.resolve(tenant, batch, defaults=[], forced=[], bounds=bounds)
        head.apply(resolved, offset)
    generation = head.freeze(offset + 1)
    assert generation is not None
    return generation.source()


def compact(path: Path, *sources: Source, **changes: object) -> BlockSummary | None:
    arguments = WHOLE | {"keep": {}, "effort": "small"} | changes
    deletes = arguments.pop("deletes", [])
    return write_block(list(sources), deletes, path, **arguments)


def counts(summary: BlockSummary | None) -> dict[str, tuple[int, int]]:
    assert summary is not None
    rows = summary.tenants.items()
    return {tenant: (row.series_count, row.sample_count) for tenant, row in rows}


def test_a_head_is_flushed_and_verifies(tmp_path: Path) -> None:
    source = head_source({("a", "x"): [(1, 1.0), (2, 2.0)], ("b", "y"): [(5, 5.0)]}, offset=3)
    summary = compact(tmp_path / "one", source, offset_first=1, offset_last=3)
    assert counts(summary) == {"a": (1, 2), "b": (1, 1)}
    assert summary is not None
    assert (summary.min_ns, summary.max_ns) == (1, 5)
    assert summary.file_bytes == (tmp_path / "one").stat().st_size
    block = Block.open(tmp_path / "one")
    block.verify()
    found = block.summary()
    assert (found["offset_first"], found["offset_last"]) == (1, 3)
    assert block.tenant_rows()["a"]["sample_count"] == 2


def test_head_and_block_merge_and_equal_times_are_one(tmp_path: Path) -> None:
    old = head_source({("a", "x"): [(1, 1.0), (2, 2.0)]}, offset=3)
    compact(tmp_path / "old", old)
    new = head_source({("a", "x"): [(2, 9.0), (3, 3.0)]}, offset=7)
    block = Block.open(tmp_path / "old").source(3, 3)
    assert counts(compact(tmp_path / "both", new, block)) == {"a": (1, 3)}


@pytest.mark.parametrize(
    ("case", "changes", "expected"),
    [
        ("window", {"min_ns": 2, "max_ns": 3}, {"a": (1, 2)}),
        ("retention", {"keep": {"a": [([], 4, [])], "b": [([], 9, [])]}}, {"a": (1, 1)}),
        ("delete", {"deletes": [Delete(9, "a", [("host", "=", "x")], 2, 3)]}, {"a": (1, 2)}),
        ("older delete", {"deletes": [Delete(5, "a", [("host", "=", "x")], 2, 3)]}, {"a": (1, 4)}),
        ("other series", {"deletes": [Delete(9, "a", [("host", "=", "z")], 2, 3)]}, {"a": (1, 4)}),
        ("other tenant", {"deletes": [Delete(9, "b", [], 0, 9)]}, {"a": (1, 4)}),
    ],
)
def test_what_is_left_out(
    case: str, changes: dict[str, object], expected: dict[str, object], tmp_path: Path
) -> None:
    source = head_source({("a", "x"): [(time, 1.0) for time in (1, 2, 3, 4)]}, offset=3)
    compact(tmp_path / "first", source)
    block = Block.open(tmp_path / "first").source(3, 5)
    assert counts(compact(tmp_path / "second", block, **changes)) == expected, case


def test_nothing_left_is_no_file(tmp_path: Path) -> None:
    source = head_source({("a", "x"): [(1, 1.0)]}, offset=3)
    assert compact(tmp_path / "none", source, min_ns=5) is None
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_write_leaves_nothing(tmp_path: Path) -> None:
    source = head_source({("a", "x"): [(1, 1.0)]}, offset=3)
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Unavailable, match="cancelled"):
        compact(tmp_path / "none", source, cancellation=cancellation)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    source = head_source({("a", "x"): [(1, 1.0)]}, offset=3)
    (tmp_path / "taken").write_bytes(b"kept")
    with pytest.raises(Unavailable, match="cannot write block"):
        compact(tmp_path / "taken", source)
    assert (tmp_path / "taken").read_bytes() == b"kept"


def test_an_unknown_effort_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="effort"):
        compact(tmp_path / "none", effort="great")
