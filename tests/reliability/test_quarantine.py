"""A damaged block and an operator: beside a running server, and where none runs."""

import json
import subprocess
from pathlib import Path

from tests.reliability.serving import ORRERY, Orrery, inspect

QUIET = "disk_free_bytes_min = 0\ncompaction_seconds = 1000.0\n"
SECOND = 1_700_000_000


def quarantine(data: Path, *arguments: str) -> tuple[int, list[dict[str, object]]]:
    command = [ORRERY, "quarantine", *arguments, "--json", "--data-dir", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_a_damaged_block_is_listed_released_and_dropped(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Orrery(tmp_path, QUIET) as server:
        assert server.write(f"cpu,series=1 value=1 {SECOND * 10**9}")[0] == 204
        server.compact()
        later = SECOND + 40 * 86400
        assert server.write(f"cpu,series=1 value=2 {later * 10**9}")[0] == 204
        server.stop()
    block = min(row["name"] for row in inspect(data, "blocks") if row["part"] == "block")
    path = data / "blocks" / str(block)
    content = path.read_bytes()
    path.unlink()
    code, rows = quarantine(data, "list")
    assert code == 0
    assert [(row["state"], row["block"]) for row in rows] == [("held", block)]
    with Orrery(tmp_path, QUIET) as server:
        status, answer = server.query("cpu[5m]", SECOND)
        assert (status, str(block) in answer["error"]) == (500, True), answer
        assert server.samples("cpu", later, later + 1) == {(1, later): 2.0}
        assert quarantine(data, "release", str(block))[0] == 6
        path.write_bytes(content)
        assert quarantine(data, "release", str(block))[0] == 0
        assert server.samples("cpu", SECOND, SECOND + 1) == {(1, SECOND): 1.0}
        assert quarantine(data, "list") == (0, [])
        server.stop()
    path.write_bytes(content[:-9])
    code, rows = quarantine(data, "drop", "--yes", str(block))
    assert (code, rows) == (0, [{"block": block, "dropped": True, "samples": 1}])
    code, rows = quarantine(data, "list")
    assert [(row["state"], row["block"]) for row in rows] == [("dropped", block)]
    with Orrery(tmp_path, QUIET) as server:
        assert server.samples("cpu", SECOND, SECOND + 1) == {}
        assert server.samples("cpu", later, later + 1) == {(1, later): 2.0}
