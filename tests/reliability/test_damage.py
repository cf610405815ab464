"""Torn tails and flipped bits, at the level of the server.

Whatever is damaged: the server never crashes and never answers a wrong value. It names file and
place, and refuses to start where the log or the manifest is at fault; where a block is, it refuses
what touches the bad bytes and goes on answering the rest.
"""

import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest

import orrery
from orrery.errors import OrreryError
from tests.reliability.serving import Orrery, Refused, inspect, verify

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
START_SECOND = 1_700_000_000
NAMES = ("early", "middle", "late")
SERIES = range(8)
SECONDS = range(START_SECOND, START_SECOND + 60)
QUIET = "disk_free_bytes_min = 0\ncompaction_seconds = 1000.0\n"


def expected(name: str) -> dict[tuple[int, int], float]:
    base = NAMES.index(name) * 1000
    return {(s, at): base + s * 100.25 + at % 60 for s in SERIES for at in SECONDS}


def lines(name: str) -> str:
    return "\n".join(
        f"{name},series={s} value={value} {at * 10**9}" for (s, at), value in expected(name).items()
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two measurements in blocks and one in the log only, left behind by a killed server."""
    folder = tmp_path_factory.mktemp("written")
    with Orrery(folder, QUIET) as server:
        for name in NAMES[:2]:
            assert server.write(lines(name))[0] == 204
            server.compact()
        for line in lines("late").split("\n"):
            # A record each, so that there are many places to cut at.
            if line.endswith(f"{START_SECOND}000000000"):
                assert server.write(line)[0] == 204
        assert server.write(lines("late"))[0] == 204
        server.kill()
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    copy(written, tmp_path)
    return tmp_path


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source / "data", target / "data", ignore=shutil.ignore_patterns("*.sock"))


def refusal(folder: Path) -> str | None:
    """Why the server does not start; None where it does."""
    try:
        Orrery(folder, QUIET).kill()
    except Refused as refused:
        if "Traceback" in str(refused):
            raise
        return str(refused)
    return None


def values(server: Orrery) -> dict[str, dict | str]:
    return {name: read(server, name) for name in NAMES}


def read(server: Orrery, name: str) -> dict | str:
    """What is there, or the error."""
    end = SECONDS.stop
    status, answer = server.query(f"{name}[{end - START_SECOND + 1}s]", end)
    if status != 200:
        assert (status, answer["status"]) == (500, "error"), answer
        return answer["error"]
    return {
        (int(row["metric"]["series"]), int(at)): float(value)
        for row in answer["data"]["result"]
        for at, value in row["values"]
    }


def flip(path: Path, position: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


def last_segment(folder: Path) -> Path:
    return max((folder / "data" / "log" / "0").glob("*.log"))


def test_nothing_is_damaged_to_begin_with(folder: Path) -> None:
    assert verify(folder / "data") == (0, [])
    with Orrery(folder, QUIET) as server:
        assert values(server) == {name: expected(name) for name in NAMES}


@pytest.mark.parametrize("seed", range(4))
def test_a_log_cut_anywhere_keeps_what_was_before_the_cut(folder: Path, seed: int) -> None:
    path = last_segment(folder)
    size = path.stat().st_size
    cut = random.Random(seed).randrange(size // 4, size)
    os.truncate(path, cut)
    with Orrery(folder, QUIET) as server:
        for name in NAMES[:2]:
            assert read(server, name) == expected(name)
        found, whole = read(server, "late"), expected("late")
        # Records are in the log in the order in which they were acknowledged.
        assert isinstance(found, dict)
        assert found.items() <= whole.items()
        if found:
            present = sorted(series for series, at in found if at == START_SECOND)
            assert present == list(range(len(present)))
        assert server.events()["log_cut"] <= 1
        assert server.write("after,series=1 value=1 1700000000000000000")[0] == 204
        server.stop()
    assert verify(folder / "data") == (0, [])


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_in_the_log_is_named_or_was_never_promised(folder: Path, seed: int) -> None:
    with Orrery(folder, QUIET) as server:
        server.stop()
    # Stopped cleanly: all was flushed, and the log's end says that all of it had been durable.
    path = last_segment(folder)
    flip(path, random.Random(seed).randrange(path.stat().st_size), seed)
    code, damaged = verify(folder / "data")
    cause = refusal(folder)
    if cause is None:
        # The last frame alone has nothing behind it that vouches for it, and holds no record.
        with Orrery(folder, QUIET) as server:
            assert values(server) == {name: expected(name) for name in NAMES}
    else:
        assert (code, len(damaged)) == (6, 1)
        assert str(path) in damaged[0]["error"]
        assert str(path) in cause


def test_a_flipped_bit_before_synced_records_is_named_and_refused(folder: Path) -> None:
    path = last_segment(folder)
    position = path.stat().st_size // 8
    flip(path, position, 3)
    code, damaged = verify(folder / "data")
    assert (code, len(damaged)) == (6, 1)
    assert str(path) in damaged[0]["error"]
    assert "byte" in damaged[0]["error"]
    cause = refusal(folder)
    assert str(path) in cause
    assert "byte" in cause


@pytest.mark.parametrize("kind", ["manifest", "checkpoints"])
def test_a_flipped_bit_in_what_the_start_needs_is_named_and_refused(
    folder: Path, kind: str
) -> None:
    path = max((folder / "data" / "objects" / "partitions" / "0" / kind).iterdir())
    for position in random.Random(1).sample(range(path.stat().st_size - 1), 2):
        flip(path, position, 1)
        code, damaged = verify(folder / "data")
        assert code == 6, (kind, position)
        assert any(path.name in json.dumps(row) for row in damaged), damaged
        assert path.name in refusal(folder)
        flip(path, position, 1)
    assert verify(folder / "data") == (0, [])


def test_a_flipped_bit_in_a_block_spoils_only_what_stands_there(folder: Path) -> None:
    listed = [row["name"] for row in inspect(folder / "data", "blocks") if row["part"] == "block"]
    paths = [folder / "data" / "blocks" / name for name in listed]
    chance = random.Random(5)
    refused = answered = 0
    for path in paths:
        # The first lies in a page, which a start does not read.
        for position in (40, *(chance.randrange(path.stat().st_size) for _ in range(2))):
            bit = chance.randrange(8)
            flip(path, position, bit)
            code, damaged = verify(folder / "data")
            assert code == 6, (path, position)
            assert path.name in json.dumps(damaged)
            with Orrery(folder, QUIET) as server:
                found = values(server)
                assert server.ask("GET", "/-/healthy")[0] == 200
                server.kill()
            wrong = {name: text for name, text in found.items() if isinstance(text, str)}
            assert all(path.name in text for text in wrong.values()), wrong
            # What the block does not hold is not touched by it, unless nobody can say what it does.
            if not any("in quarantine" in text for text in wrong.values()):
                assert found["late"] == expected("late")
            assert all(found[n] == expected(n) for n in NAMES if n not in wrong)
            refused += len(wrong)
            answered += len(NAMES) - len(wrong)
            flip(path, position, bit)
    assert refused > 0
    assert answered > 0


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS * 3 + 300)
def test_any_damage_anywhere_gives_no_wrong_value(written: Path, tmp_path: Path) -> None:
    """Reads in this process: a server a flip would take most of the time to start."""
    seed = int(os.environ.get("SOAK_SEED", str(random.SystemRandom().randrange(10**6))))
    chance = random.Random(seed)
    deadline = time.monotonic() + SOAK_SECONDS
    outcomes = {"refused": 0, "answered": 0}
    while time.monotonic() < deadline:
        copy(written, tmp_path)
        files = [p for p in (tmp_path / "data").rglob("*") if p.is_file() and p.stat().st_size]
        path = chance.choice([p for p in files if p.name not in ("lock", "audit.log")])
        flip(path, chance.randrange(path.stat().st_size), chance.randrange(8))
        try:
            with orrery.open(tmp_path / "data") as db:
                found = {name: read_here(db, name) for name in NAMES}
        except OrreryError:
            outcomes["refused"] += 1
        else:
            told = (seed, path.name)
            for name in NAMES[:2]:
                assert found[name] is None or found[name] == expected(name), told
            # A flip in the part of the log that nothing vouches for is a torn tail.
            assert found["late"] is None or found["late"].items() <= expected("late").items(), told
            outcomes["answered"] += 1
        shutil.rmtree(tmp_path / "data")
    assert min(outcomes.values()) > 0, (seed, outcomes)


def read_here(db: orrery.Database, name: str) -> dict | None:
    try:
        found = db.read(name, SECONDS.start, SECONDS.stop)
    except OrreryError:
        return None
    return {
        (int(labels["series"]), int(time_ns) // 10**9): float(value)
        for labels, times_ns, samples in found
        for time_ns, value in zip(times_ns, samples, strict=True)
    }
