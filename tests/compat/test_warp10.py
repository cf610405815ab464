"""Warp 10's clients, and its data: what they write is what they, and PromQL, read back."""

import gzip
import itertools
import json
import os
import shutil
import subprocess
import urllib.parse

import pytest

from .conformance import shared
from .conftest import PEERS, Programs, Server

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

GTS = sorted((shared() / "kepler" / "gts").glob("*.gts.gz"))
NODE = """
const { Warp10 } = require('@senx/warp10');
(async () => {
  const client = new Warp10({ endpoint: process.argv[1] });
  const token = 'any';
  const told = {};
  told.update = await client.update(token, [
    { timestamp: 1000000, className: 'io.test', labels: { key: 'a b' }, value: 54 },
    { timestamp: 2000000, className: 'io.test', labels: { key: 'a b' }, value: 1.5 },
    { timestamp: 3000000, className: 'io.test', labels: { key: 'a b' }, value: 'x \\u00e9' },
    '4000000// io.test{key=a%20b} T',
  ]);
  told.meta = await client.meta(token, [
    { className: 'io.test', labels: { key: 'a b' }, attributes: { unit: '%' } },
  ]);
  const range = ['1970-01-01T00:00:00Z', '1970-01-01T00:01:00Z'];
  told.json = await client.fetch(token, '~io.*', {}, ...range, 'json', false);
  told.formatted = await client.fetch(token, 'io.test', { key: 'a b' }, ...range);
  told.text = await client.fetch(token, '~.*', {}, '1970-01-01T00:00:02Z', 1, 'text');
  told.deleted = await client.delete(token, '~io.*', {}, ...range);
  told.empty = await client.fetch(token, '~io.*', {}, ...range, 'json');
  console.log(JSON.stringify(told));
})();
"""


def fetched(orrery: Server, selector: str, **arguments: str) -> bytes:
    path = f"/api/v0/fetch?{urllib.parse.urlencode({'selector': selector, **arguments})}"
    status, _, body = orrery.request("GET", path)
    assert status == 200, body[:500]
    return body


def test_the_node_client_writes_reads_and_deletes(programs: Programs) -> None:
    modules = PEERS / "npm" / "node_modules"
    node = shutil.which("node")
    if node is None or not (modules / "@senx" / "warp10").exists():
        pytest.skip("node and its package @senx/warp10 are not there (make peers)")
    orrery = programs.orrery()
    run = subprocess.run(
        [node, "-e", NODE, orrery.url],
        env={**os.environ, "NODE_PATH": str(modules)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(run.stdout)
    assert told["update"] == {"response": "", "count": 4}
    assert told["meta"]["response"] == ""
    [series] = told["json"]["result"]
    assert (series["c"], series["l"], series["a"]) == ("io.test", {"key": "a b"}, {"unit": "%"})
    assert series["v"] == [[4000000, True], [3000000, "x é"], [2000000, 1.5], [1000000, 54]]
    assert len(told["formatted"]["result"]) == 1
    assert told["text"]["result"] == ["2000000// io.test{key=a%20b} 1.5", ""]
    assert told["deleted"]["result"] == "io.test{key=a%20b}{unit=%25}\r\n"
    assert told["empty"]["result"] == []


def test_the_python_client_writes(programs: Programs) -> None:
    warp10client = pytest.importorskip("warp10client")
    orrery = programs.orrery()
    # It hashes the token for its log, and hashes bytes alone.
    client = warp10client.Warp10Client(
        write_token=b"any", read_token=b"any", warp10_api_url=f"{orrery.url}/api/v0"
    )
    nowhere = {"longitude": None, "latitude": None, "elevation": None, "timestamp": 1_000_000}
    metric = {"name": "cpu_util", "tags": {"host": "a"}, "position": nowhere, "value": 11}
    client.set(metric)
    assert fetched(orrery, "cpu_util{host=a}", end="now", count="1") == (
        b"1000000// cpu_util{host=a} 11\n"
    )
    somewhere = {"longitude": 90.0, "latitude": 45.0, "elevation": 12, "timestamp": 2_000_000}
    client.set({**metric, "position": somewhere})
    assert fetched(orrery, "cpu_util{host=a}", end="now", count="1") == (
        b"2000000/45.0:90.0/12 cpu_util{host=a} 11\n"
    )
    with pytest.raises(Exception, match="500"):
        client.set({**metric, "position": {**somewhere, "latitude": 100.0}})


@pytest.mark.skipif(not GTS, reason=f"no data in {shared()}/kepler/gts")
def test_real_data_comes_back_as_it_was_written(programs: Programs) -> None:
    orrery = programs.orrery()
    for file in GTS[:3]:
        content = file.read_bytes()
        headers = {"Content-Type": "application/gzip"}
        status, _, body = orrery.request("POST", "/api/v0/update", content, headers)
        assert (status, body) == (200, b"")
    for file in GTS[:3]:
        written = read_series(gzip.decompress(file.read_bytes()).decode())
        [name] = written
        assert read_series(fetched(orrery, name, start="0", end="now").decode()) == written
        found = orrery.api("query", query=f"count_over_time({promql(name)}[20y])")["data"]["result"]
        assert [int(one["value"][1]) for one in found] == [len(written[name])]


def read_series(text: str) -> dict[str, dict[int, float]]:
    """Samples by their series; the later of a time holds."""
    found: dict[str, dict[int, float]] = {}
    name = ""
    for line in itertools.filterfalse(lambda line: not line, text.split("\n")):
        stamp, rest = line.split("// ", 1)
        if not stamp.startswith("="):
            name, _, rest = rest.rpartition(" ")
        found.setdefault(name, {})[int(stamp.lstrip("="))] = float(rest)
    return found


def promql(name: str) -> str:
    class_name, _, labels = name.rstrip("}").partition("{")
    pairs = dict(pair.split("=") for pair in labels.split(","))
    return f'{{"{class_name}", KEPLERID="{pairs["KEPLERID"]}"}}'
