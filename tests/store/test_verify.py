"""Whatever is destroyed is named: every kind of file, flipped, cut and removed at random places."""

import json
import random
import shutil

import pytest

from orrery.errors import OrreryError
from orrery.store.documents import encode_document
from orrery.store.verify import Verification
from tests.store.cores import NativeCore
from tests.store.harness import NOW_NS as T
from tests.store.harness import Running

CORE = NativeCore()
KINDS = {
    "segment": "log/0/*.log",
    "manifest": "objects/partitions/0/manifest/*.json",
    "checkpoint": "objects/partitions/0/checkpoints/*",
    "metadata": "objects/partitions/0/metadata/*",
    "control": "objects/control/*/*/*",
    "usage": "objects/usage/*",
    "block": "blocks/*.block",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Blocks, a compacted one, deletes, metadata, documents, and a log of several segments."""
    path = tmp_path_factory.mktemp("whole") / "data"
    with Running(path, CORE) as db:
        for number in range(4):
            rows = [(f"cpu{at}", T + number * 1000 + at, at + 0.25) for at in range(40)]
            db.write(*rows)
            db.accept.write_metadata("acme", [(f"cpu{number}", "counter", "", "")]).result(30)
            db.store.flush()
        db.store.compact()
        db.delete("cpu3", T, T + 5000)
        for number in range(80):
            db.write((f"late{number % 5}", T + number, float(number)))
            if number == 40:
                db.write(*rows, tenant="other")
        db.objects.put("usage/day", encode_document({"day": 1}, format_version=1))
        for version in range(1, 4):
            name = f"control/tenants/acme/{version:012d}"
            db.objects.put(name, encode_document({"name": "acme"}, format_version=1))
    (path / "audit.log").write_text('{"action":"x"}\n{"action":"y"}\n')
    return path


@pytest.fixture
def data(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "data")
    return tmp_path / "data"


def bad(path):
    return [row for row in Verification(path, kernels=CORE.kernels).rows() if not row["ok"]]


def live(path, kind):
    """Files of the kind that are in use: others may go without harm."""
    listed = {row["file"] for row in Verification(path, kernels=CORE.kernels).rows()}
    found = sorted(path.glob(KINDS[kind]))
    return [file for file in found if file.relative_to(path).as_posix() in listed]


def test_a_good_directory_verifies(whole):
    rows = list(Verification(whole, kernels=CORE.kernels).rows())
    assert bad(whole) == []
    parts = {row["part"] for row in rows}
    assert parts == {"manifest", "object", "document", "segment", "block", "audit"}
    assert all((whole / row["file"]).is_file() for row in rows)
    assert len({row["file"] for row in rows}) == len(rows)


def test_a_directory_with_a_running_owner_verifies(tmp_path):
    with Running(tmp_path / "data", CORE) as db:
        db.write(("cpu", T, 1.0))
        db.store.flush()
        db.write(("cpu", T + 1, 1.0))
        assert bad(tmp_path / "data") == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_named(data, kind, seed):
    chance = random.Random(f"{kind}{seed}")
    path = chance.choice(live(data, kind))
    for _ in range(4):
        content = bytearray(path.read_bytes())
        # The seal at the log's end holds nothing, and nothing behind it vouches for it.
        end = len(content) - 20 if kind == "segment" else len(content)
        at = chance.randrange(end)
        content[at] ^= 1 << chance.randrange(8)
        before = path.read_bytes()
        path.write_bytes(content)
        rows = bad(data)
        path.write_bytes(before)
        assert path.name in json.dumps(rows), (path, at)
        assert all(row["error"] for row in rows)
    assert bad(data) == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_short_is_named(data, kind, seed):
    chance = random.Random(f"{kind}{seed}")
    paths = live(data, kind)
    if kind == "segment":
        # The last one looks like one that a crash tore.
        paths = paths[:-1]
    path = chance.choice(paths)
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])
    assert path.name in json.dumps(bad(data))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_removed_is_named_or_was_not_needed(data, kind, tmp_path):
    whole = tmp_path / "read"
    shutil.copytree(data, whole)
    with Running(whole, CORE) as db:
        before = db.read()
    for number, path in enumerate(live(data, kind)):
        content = path.read_bytes()
        path.unlink()
        rows = bad(data)
        if not rows and kind != "usage" and path != live(data, "control")[-1]:
            copied = tmp_path / f"{number}"
            shutil.copytree(data, copied)
            try:
                with Running(copied, CORE) as db:
                    # The newest version of a document and the end of the log alone can go
                    # unseen; a manifest only where the log or older blocks still have everything.
                    assert kind in ("segment", "manifest", "control"), path
                    if kind == "manifest":
                        assert db.read() == before
            except OrreryError as error:
                pytest.fail(f"not named: {path}: {error}")
        path.write_bytes(content)
    assert bad(data) == []


def test_all_segments_gone_is_named(data):
    for path in (data / "log" / "0").iterdir():
        path.unlink()
    assert [row["error"] for row in bad(data)] == ["there is no segment"]


def test_all_manifests_gone_are_named(data):
    shutil.rmtree(data / "objects" / "partitions")
    assert "there is no manifest" in bad(data)[0]["error"]


def test_a_block_says_whose_samples_of_which_times_are_in_doubt(data):
    path = live(data, "block")[0]
    content = bytearray(path.read_bytes())
    content[40] ^= 4
    path.write_bytes(content)
    rows = bad(data)
    assert {row["file"] for row in rows} == {f"blocks/{path.name}"}
    assert all(row["min_ns"] <= row["max_ns"] for row in rows)
    assert all(row["tenant"] == "acme" for row in rows)
    assert all(0 <= row["offset"] < len(content) for row in rows)


def test_a_line_of_the_audit_log_that_is_none_is_named(data):
    (data / "audit.log").write_text('{"action":"x"}\n{"act\n')
    (row,) = bad(data)
    assert (row["file"], row["error"][:7]) == ("audit.log", "line 2:")
