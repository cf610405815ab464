"""OpenTSDB's own clients write to Orrery, over HTTP and by telnet; PromQL reads it back."""

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import PEERS, Programs, Server, free_port

pytestmark = [pytest.mark.compat, pytest.mark.timeout(180)]

READY_SECONDS_MAX = 60
COLLECTD = """
Interval 1
BaseDir "{folder}"
PIDFile "{folder}/collectd.pid"
PluginDir "{peer}/lib/collectd"
TypesDB "{peer}/share/collectd/types.db"
Hostname "box.example"
FQDNLookup false
LoadPlugin load
LoadPlugin cpu
LoadPlugin write_tsdb
<Plugin write_tsdb>
  <Node>
    Host "127.0.0.1"
    Port "{port}"
    HostTags "role=test"
  </Node>
</Plugin>
"""


def found(orrery: Server, query: str) -> list:
    """The samples of a query, waited for: these clients send when it suits them."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        result = orrery.api("query", query=query)["data"]["result"]
        if result:
            return list(result)
        time.sleep(0.1)
    raise AssertionError(f"nothing is found by {query}")


def value_of(orrery: Server, query: str) -> str:
    [series] = found(orrery, query)
    return str(series["value"][1])


@pytest.fixture
def served(programs: Programs) -> tuple[Server, int]:
    """A server, and the port of its telnet commands."""
    port = free_port()
    return programs.orrery("--opentsdb-telnet", f"127.0.0.1:{port}"), port


@pytest.mark.parametrize("compression", ["gzip", None])
def test_opentsdb_client_puts_over_http(programs: Programs, compression: str | None) -> None:
    opentsdb = pytest.importorskip("opentsdb")
    orrery = programs.orrery()
    client = opentsdb.TSDBClient("127.0.0.1", orrery.port, http_compression=compression)
    assert client.is_alive()
    client.send("app.jobs", 7, queue="mail", host="h1")
    client.send("app.load", "0.75", host="h1")
    client.send("app.broken", "much", host="h1")
    client.close()
    client.wait()
    assert client.statuses == {"success": 2, "failed": 1, "queued": 3}
    assert value_of(orrery, '{"app.jobs", queue="mail", host="h1"}') == "7"
    assert value_of(orrery, '{"app.load"}') == "0.75"


def test_opentsdb_client_puts_by_telnet(served: tuple[Server, int]) -> None:
    opentsdb = pytest.importorskip("opentsdb")
    orrery, port = served
    client = opentsdb.TSDBClient("127.0.0.1", port, protocol="TELNET")
    client.send("telnet.jobs", 8, host="h1")
    client.close()
    client.wait()
    assert value_of(orrery, '{"telnet.jobs", host="h1"}') == "8"


def test_potsdb_puts_by_telnet(served: tuple[Server, int]) -> None:
    potsdb = pytest.importorskip("potsdb")
    orrery, port = served
    client = potsdb.Client("127.0.0.1", port=port, host_tag="h2")
    client.log("pots.whole", 5, zone="a")
    client.log("pots.half", 0.5, zone="a")
    client.wait()
    assert value_of(orrery, '{"pots.whole", zone="a", host="h2"}') == "5"
    assert value_of(orrery, '{"pots.half"}') == "0.5"


@contextlib.contextmanager
def collectd(folder: Path, port: int) -> Iterator[None]:
    peer = PEERS / "bookworm" / "usr"
    program = peer / "sbin" / "collectd"
    if not program.exists():
        pytest.skip("collectd of Debian bookworm is not unpacked (make peers)")
    file = folder / "collectd.conf"
    file.write_text(COLLECTD.format(folder=folder, peer=peer, port=port))
    with (folder / "collectd.output").open("wb") as output:
        process = subprocess.Popen(
            [str(program), "-f", "-C", str(file)], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def test_collectd_writes_by_its_plugin(served: tuple[Server, int], programs: Programs) -> None:
    orrery, port = served
    with collectd(programs.folder, port):
        [series] = found(orrery, '{"load.load.shortterm"}')
        assert series["metric"]["fqdn"] == "box.example"
        assert series["metric"]["role"] == "test"
        load = os.getloadavg()[0]
        assert abs(float(series["value"][1]) - load) <= load + 5
        assert found(orrery, '{__name__=~"cpu.*"}')
    refused = [
        line
        for line in orrery.request("GET", "/metrics")[2].decode().splitlines()
        if line.startswith("orrery_lines_refused_total")
    ]
    assert refused == []


def test_every_way_gives_one_name(served: tuple[Server, int]) -> None:
    """The same data point by JSON and by telnet is one sample of one series."""
    orrery, port = served
    at = 1_700_000_000
    body = {"metric": "a-b.c/d_e", "timestamp": at, "value": 1, "tags": {"host": "ä"}}
    assert orrery.request("POST", "/api/put", json.dumps(body).encode())[0] == 204
    sent = f"put a-b.c/d_e {at}000 2 host=ä\nversion\nexit\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        answer = b""
        while part := connection.recv(4096):
            answer += part
    assert answer.startswith(b"2.4.1-orrery-")
    answer = orrery.api("query", query='{"a-b.c/d_e"}[5s]', time=at)
    [series] = answer["data"]["result"]
    assert series["metric"] == {"__name__": "a-b.c/d_e", "host": "ä"}
    assert series["values"] == [[at, "2"]]
