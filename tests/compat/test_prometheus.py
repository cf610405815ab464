"""A real Prometheus scrapes a real node exporter and remote-writes to Orrery; both then answer.

The same questions are asked of both; the answers must be the same. COMPAT_SECONDS says for
how long to collect (default 40).
"""

import math
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import Programs, Server, peer

pytestmark = pytest.mark.compat

ONLY_3 = "3: "


def queries(version: int) -> list[str]:
    lines = (Path(__file__).parent / "queries.txt").read_text().splitlines()
    asked = [line for line in lines if line and not line.startswith("#")]
    if version < 3:
        return [line for line in asked if not line.startswith(ONLY_3)]
    return [line.removeprefix(ONLY_3) for line in asked]


COLLECT_SECONDS = float(os.environ.get("COMPAT_SECONDS", "40"))
METADATA_SOON = "metadata_config: {send_interval: 5s}"
REMOTE_WRITE_2 = "protobuf_message: io.prometheus.write.v2.Request"


def configuration(exporter: Server, orrery: Server, extra: str = "") -> str:
    return f"""
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ["127.0.0.1:{exporter.port}"]}}]
  - job_name: orrery
    static_configs: [{{targets: ["127.0.0.1:{orrery.port}"]}}]
remote_write:
  - url: {orrery.url}/api/v1/write
    {extra}
    queue_config: {{batch_send_deadline: 500ms}}
"""


def canonical(result: Any) -> Any:
    """An answer in a form that compares: series by labels, values as floats."""
    kind, rows = result["resultType"], result["result"]
    if kind in ("scalar", "string"):
        return kind, rows
    return kind, {
        tuple(sorted(row["metric"].items())): [
            (at, float(value)) for at, value in row.get("values") or [row["value"]]
        ]
        for row in rows
    }


def same(left: Any, right: Any) -> bool:
    if left[0] != right[0]:
        return False
    if left[0] in ("scalar", "string"):
        return bool(left[1] == right[1])
    if left[1].keys() != right[1].keys():
        return False
    return all(
        len(points) == len(right[1][key])
        and all(
            a[0] == b[0]
            and (a[1] == b[1] or math.isclose(a[1], b[1], rel_tol=1e-9) or a[1] != a[1])
            for a, b in zip(points, right[1][key], strict=True)
        )
        for key, points in left[1].items()
    )


def differing(prometheus: Server, orrery: Server, at: float, version: int) -> list[str]:
    different = []
    for query in queries(version):
        for path, arguments in (
            ("query", {"query": query, "time": at}),
            ("query_range", {"query": query, "start": at - 15, "end": at, "step": 5}),
        ):
            theirs = prometheus.api(path, **arguments)
            ours = orrery.api(path, **arguments)
            if theirs["status"] != ours["status"]:
                different.append(f"{path} {query}: {theirs.get('error')} / {ours.get('error')}")
            elif theirs["status"] == "success" and not same(
                canonical(theirs["data"]), canonical(ours["data"])
            ):
                different.append(f"{path} {query}: {theirs['data']} / {ours['data']}"[:600])
    return different


def stored(server: Server, path: str, at: float) -> Any:
    """A label call about one job at times that no scrape of now adds to; in one order."""
    fixed = {"match[]": '{job="node"}', "start": at - COLLECT_SECONDS, "end": at}
    found = server.api(path, **fixed)["data"]
    return sorted(found, key=lambda one: sorted(one.items())) if path == "series" else found


def collect(programs: Programs, suite: str, extra: str, *options: str) -> tuple[Server, Server]:
    peer(suite, "prometheus")
    orrery = programs.orrery()
    text = configuration(programs.node_exporter(), orrery, extra)
    prometheus = programs.prometheus(suite, text, *options)
    deadline = time.monotonic() + COLLECT_SECONDS
    while time.monotonic() < deadline:
        time.sleep(1)
    return prometheus, orrery


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("version", "suite", "extra", "options"),
    [
        (2, "bookworm", METADATA_SOON, ()),
        (3, "sid", REMOTE_WRITE_2, ("--enable-feature=metadata-wal-records",)),
    ],
    ids=["prometheus-2-remote-write-1", "prometheus-3-remote-write-2"],
)
def test_the_same_questions_have_the_same_answers(
    programs: Programs, version: int, suite: str, extra: str, options: tuple[str, ...]
) -> None:
    prometheus, orrery = collect(programs, suite, extra, *options)
    # What Prometheus has answered for this instant it has also sent on a few seconds later.
    at = math.floor(time.time()) - 6.0
    assert differing(prometheus, orrery, at, version) == []
    for path in ("series", "labels", "label/mode/values", "label/__name__/values"):
        assert stored(orrery, path, at) == stored(prometheus, path, at)
    assert orrery.api("metadata", metric="node_load1")["data"]["node_load1"][0]["type"] == "gauge"


@pytest.mark.timeout(120)
def test_promtool_reads_from_orrery(programs: Programs) -> None:
    promtool = peer("bookworm", "promtool")
    orrery = programs.orrery()
    status, _, answer = orrery.request("POST", "/write", b"load,host=a value=1.5\n")
    assert status == 204, answer

    def run(*arguments: str) -> str:
        done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert 'load{host="a"} => 1.5' in run("query", "instant", orrery.url, "load")
    assert 'load{host="a"}' in run("query", "range", "--step=5s", orrery.url, "load")
    assert '{__name__="load", host="a"}' in run("query", "series", "--match=load", orrery.url)
    assert run("query", "labels", orrery.url, "host").split() == ["a"]
