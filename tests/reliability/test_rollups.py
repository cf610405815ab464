"""Rules of retention set on the command line, and questions that buckets answer over HTTP."""

import json
import subprocess
import urllib.parse
from pathlib import Path

from tests.reliability.serving import ORRERY, Orrery

QUIET = "disk_free_bytes_min = 0\ncompaction_seconds = 1000.0\n"
DAY = 86_400
MIDNIGHT = 1_700_000_000 // DAY * DAY
DAYS = 4
GAP = 600


def retention(data: Path, *arguments: str) -> dict[str, object]:
    command = [ORRERY, "tenant", "retention", *arguments, "--json", "--data-dir", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def query_range(server: Orrery, query: str, **more: str) -> dict[str, object]:
    times = {"start": MIDNIGHT + 3600, "end": MIDNIGHT + DAYS * DAY, "step": "1h"}
    arguments = urllib.parse.urlencode({"query": query, **times, **more})
    status, body = server.ask("GET", f"/api/v1/query_range?{arguments}")
    assert status == 200, body
    return json.loads(body)


def test_buckets_answer_as_samples_do(tmp_path: Path) -> None:
    data = tmp_path / "data"
    seconds = range(MIDNIGHT + GAP, MIDNIGHT + DAYS * DAY + 1, GAP)
    lines = "\n".join(f"cpu,series=1 value={at} {at * 10**9}" for at in seconds)
    with Orrery(tmp_path, QUIET) as server:
        assert server.write(lines)[0] == 204
        server.compact()
        before = query_range(server, "sum_over_time(cpu[1h])")
        assert "infos" not in before
        rule = '{__name__="cpu"} raw=ever 1h=ever'
        (shown,) = retention(data, "set", "default", rule)["rules"]
        assert shown["matchers"] == [["__name__", "=", "cpu"]]
        assert retention(data, "show", "default") == {"rules": [shown]}
        server.compact()
        after = query_range(server, "sum_over_time(cpu[1h])")
        raw = query_range(server, "sum_over_time(cpu[1h])", resolution="raw")
        assert after["data"] == raw["data"] == before["data"]
        assert "infos" not in raw
        assert after["infos"] == ["PromQL info: answered from buckets of 1h"]
        # One more sample makes its bucket anew at once, and so does a delete.
        at = MIDNIGHT + DAY + 60
        assert server.write(f"cpu,series=1 value=1 {at * 10**9}")[0] == 204
        changed = query_range(server, "count_over_time(cpu[1h])")
        (row,) = changed["data"]["result"]
        counts = {int(time): int(value) for time, value in row["values"]}
        assert counts.pop(MIDNIGHT + DAY + 3600) == 7
        assert set(counts.values()) == {6}
        server.stop()
    with Orrery(tmp_path, QUIET) as server:
        again = query_range(server, "count_over_time(cpu[1h])")
        assert (again["data"], again["infos"]) == (changed["data"], after["infos"])
        server.stop()
