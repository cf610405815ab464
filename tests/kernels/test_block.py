"""Block files: version 1 opens, and damage is named with file and place."""

from pathlib import Path

import pytest

from orrery.errors import Corrupt, Unavailable
from orrery.kernels.block import Block
from orrery.kernels.meter import Meter
from orrery.kernels.snapshot import Snapshot

GOLDEN = Path(__file__).parents[1] / "golden" / "formats" / "block-1.block"


def test_version_1_opens_and_verifies() -> None:
    block = Block.open(GOLDEN)
    block.verify()
    summary = block.summary()
    assert (summary["version"], summary["resolution_ns"]) == (1, 0)
    assert {name: row["series_count"] for name, row in block.tenant_rows().items()} == {
        "a": 3,
        "b": 1,
    }
    assert summary["file_bytes"] == GOLDEN.stat().st_size
    assert summary["sample_count"] == sum(
        row["sample_count"] for row in block.tenant_rows().values()
    )


def test_version_1_with_side_columns_gives_them_back() -> None:
    block = Block.open(GOLDEN.with_name("block-1-sides.block"))
    block.verify()
    assert block.summary()["sample_count"] == 5002
    snapshot = Snapshot([block.source(order=1, deletes_through=0)], [])
    meter = Meter(samples_max=6000, series_max=3, deadline_seconds=None)
    found = snapshot.select("a", [], 0, 10**6, meter)
    _, text = found.columns(0, len(found), 0, 10**6, meter)
    kind, _, times, (_, heap), starts, positions, elevations = text
    assert (kind, times.tolist(), heap) == ("string", [7], b"here")
    sides = [None if side is None else side.tolist() for side in (starts, positions, elevations)]
    assert sides == [[2**63 - 1], [2**64 - 1], [8_848_860]]


def test_version_1_with_rows_opens_and_verifies() -> None:
    block = Block.open(GOLDEN.with_name("block-1-rows.block"))
    block.verify()
    summary = block.summary()
    hour_ns = 3600 * 10**9
    assert (summary["resolution_ns"], summary["sample_count"]) == (hour_ns, 48)
    last_ns = summary["max_ns"]
    source = block.source(order=1, deletes_through=0)
    snapshot = Snapshot([source], [], tenant="acme", levels=[(hour_ns, [(1, last_ns)])])
    meter = Meter(samples_max=0, series_max=0, deadline_seconds=None)
    found = snapshot.select("acme", [], last_ns - hour_ns, last_ns, meter, hour_ns)
    values, present = found.window(
        0,
        1,
        function="sum_over_time",
        start_ns=last_ns,
        step_ns=0,
        step_count=1,
        range_ns=hour_ns,
        offset_ns=0,
        parameters=[],
        meter=meter,
    )
    # Six samples, of 19 to 24.
    assert (values.tolist(), present.tolist()) == ([[129.0]], [[True]])
    assert meter.rows_read > 0


def test_tenants_are_found_in_the_file() -> None:
    tenants = Block.open(GOLDEN).tenants()
    assert (len(tenants), list(tenants)) == (2, ["a", "b"])
    assert [name in tenants for name in ("", "a", "aa", "b", "c")] == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_a_source_carries_its_order() -> None:
    source = Block.open(GOLDEN).source(order=7, deletes_through=5)
    assert source.order == 7
    summary = Block.open(GOLDEN).summary()
    assert source.time_range == (summary["min_ns"], summary["max_ns"])


@pytest.mark.parametrize("at", [0, 20, 600, -300, -100, -10, -1])
def test_a_flipped_bit_is_named(at: int, tmp_path: Path) -> None:
    content = bytearray(GOLDEN.read_bytes())
    content[at] ^= 0x10
    path = tmp_path / "damaged.block"
    path.write_bytes(content)
    with pytest.raises(Corrupt, match=r"cannot (open|verify) block .*damaged\.block.*"):
        Block.open(path).verify()


@pytest.mark.parametrize("length", [0, 10, 31, 1000])
def test_a_cut_file_is_corrupt(length: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.block"
    path.write_bytes(GOLDEN.read_bytes()[:length])
    with pytest.raises(Corrupt, match="cannot open block"):
        Block.open(path)


def test_a_missing_file_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot open block"):
        Block.open(tmp_path / "nothing")
