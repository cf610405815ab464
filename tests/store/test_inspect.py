"""Looking into a data directory, running or not: what is there, and which byte is wrong."""

import pytest

from orrery.errors import Invalid
from orrery.store.inspect import Inspection
from tests.store.harness import NOW_NS as T
from tests.store.harness import Running


@pytest.fixture
def filled(tmp_path, core):
    """Two blocks, metadata, a delete, and two records that no block has."""
    with Running(tmp_path, core) as db:
        db.write(("cpu", T, 1.0), ("mem", T, 2.0))
        db.accept.write_metadata("acme", [("cpu", "counter", "", "")]).result(30)
        db.store.flush()
        db.delete("cpu", T, T)
        db.store.flush()
        db.write(("cpu", T + 1, 1.0))
        db.write(("cpu", T + 2, 1.0))
        yield tmp_path


def test_all_parts_are_described_beside_a_running_owner(filled, core):
    rows = list(Inspection(filled, kernels=core.kernels).describe())
    by_part = {}
    for row in rows:
        by_part.setdefault(row["part"], []).append(row)
    assert by_part["manifest"][0]["next_offset"] == 3
    assert by_part["delete"][0]["tenant"] == "acme"
    assert len(by_part["object"]) == 2
    assert by_part["block"][0]["tenants"] == ["acme"]
    assert by_part["segment"][0]["next_offset"] == 5


def test_records_are_described(tmp_path, core):
    with Running(tmp_path, core) as db:
        db.write(("cpu", T, 1.0))
        db.accept.write_metadata("acme", [("cpu", "counter", "", "")]).result(30)
        db.delete("cpu", T, T)
        rows = Inspection(tmp_path, kernels=core.kernels).describe("log")
        kinds = [row["kind"] for row in rows if row["part"] == "record"]
    assert kinds == ["samples", "metadata", "delete"]


def test_what_is_no_data_directory_is_refused(tmp_path, core):
    with pytest.raises(Invalid, match="no readable file 'format'"):
        Inspection(tmp_path, kernels=core.kernels)
