"""Senders of Graphite's protocols that nobody here wrote; PromQL reads back what they sent."""

import socket
import time
from pathlib import Path

import pytest

from .conftest import PEERS, Programs, Server, free_port, peer

pytestmark = [pytest.mark.compat, pytest.mark.timeout(120)]

RELAY = """
listen type linemode 127.0.0.1:{entrance} proto tcp ;
cluster orrery forward 127.0.0.1:{port} proto tcp ;
match * send to orrery stop ;
"""
COLLECTD = """
Hostname "rack-1"
FQDNLookup false
BaseDir "{folder}"
PIDFile "{folder}/pid"
PluginDir "{plugins}"
TypesDB "{types}"
Interval 1
LoadPlugin load
LoadPlugin write_graphite
<Plugin write_graphite>
  <Node "orrery">
    Host "127.0.0.1"
    Port "{port}"
    Protocol "{protocol}"
    Prefix "collectd."
    UseTags {tags}
    StoreRates true
  </Node>
</Plugin>
"""


def results(orrery: Server, query: str) -> list[dict]:
    return orrery.api("query", query=query)["data"]["result"]


def wait_for(orrery: Server, query: str, value: str | None = None) -> dict:
    """The one series of an answer, once it is there."""
    deadline = time.monotonic() + 60
    found: list[dict] = []
    while time.monotonic() < deadline:
        found = results(orrery, query)
        if len(found) == 1 and value in (None, found[0]["value"][1]):
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"{query}: {found}; {orrery.output.read_text()[-2000:]}")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def orrery(programs: Programs, port: int) -> Server:
    return programs.orrery("--graphite-tcp", f"127.0.0.1:{port}")


def test_graphyte_sends_lines(orrery: Server, port: int) -> None:
    graphyte = pytest.importorskip("graphyte")
    sender = graphyte.Sender("127.0.0.1", port=port, prefix="app")
    sender.send("requests.count", 42.5, tags={"host": "a", "dc": "north"})
    sender.send("requests.count", 7)
    sender.stop()
    wait_for(orrery, '{"app.requests.count", host="a", dc="north"}', "42.5")
    wait_for(orrery, '{"app.requests.count", host=""}', "7")


def test_graphyte_sends_datagrams(programs: Programs, port: int) -> None:
    graphyte = pytest.importorskip("graphyte")
    orrery = programs.orrery("--graphite-udp", f"127.0.0.1:{port}=of-datagrams")
    sender = graphyte.Sender("127.0.0.1", port=port, protocol="udp")
    sender.send("load.short", 0.25)
    sender.stop()
    headers = {"X-Scope-OrgID": "of-datagrams"}
    deadline = time.monotonic() + 30
    body = b""
    while b'"0.25"' not in body and time.monotonic() < deadline:
        _, _, body = orrery.request("GET", "/api/v1/query?query=load_short", headers=headers)
    assert b'"0.25"' in body


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaks sockets
def test_graphitesend_sends_pickles(programs: Programs, port: int) -> None:
    graphitesend = pytest.importorskip("graphitesend")
    orrery = programs.orrery("--graphite-pickle", f"127.0.0.1:{port}")
    client = graphitesend.graphitesend.GraphitePickleClient(
        graphite_server="127.0.0.1", graphite_port=port, prefix="batch", system_name=""
    )
    client.send_dict({"rows": 1000, "seconds.total": 1.5})
    client.disconnect()
    wait_for(orrery, '{"batch.rows"}', "1000")
    wait_for(orrery, '{"batch.seconds.total"}', "1.5")


def test_a_relay_forwards(programs: Programs, orrery: Server, port: int, tmp_path: Path) -> None:
    program = peer("bookworm", "carbon-c-relay")
    configuration = tmp_path / "relay.conf"
    entrance = free_port()
    configuration.write_text(RELAY.format(entrance=entrance, port=port))
    programs.spawn("relay", [program, "-f", str(configuration)])
    relay = reached(entrance)
    now = int(time.time())
    count = 20_000
    with relay:
        relay.sendall(
            b"".join(b"relay.s%d;rack=r%d %d %d\n" % (n % 500, n % 7, n, now) for n in range(count))
        )
    # 500 names times 7 racks, of which the numbers have no common factor.
    assert wait_for(orrery, 'count({__name__=~"relay[.]s.*"})', "3500")
    wait_for(orrery, 'max({__name__=~"relay[.]s.*"})', str(count - 1))
    exposition = orrery.request("GET", "/metrics")[2].decode()
    assert "orrery_lines_refused_total{" not in exposition


def reached(port: int) -> socket.socket:
    deadline = time.monotonic() + 30
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.mark.parametrize(("protocol", "tags"), [("tcp", "false"), ("udp", "true")])
def test_collectd_writes(
    programs: Programs, port: int, tmp_path: Path, protocol: str, tags: str
) -> None:
    root = PEERS / "bookworm" / "usr"
    program = root / "sbin" / "collectd"
    if not program.exists():
        pytest.skip("collectd of Debian bookworm is not unpacked (make peers)")
    orrery = programs.orrery(f"--graphite-{protocol}", f"127.0.0.1:{port}")
    configuration = tmp_path / "collectd.conf"
    configuration.write_text(
        COLLECTD.format(
            folder=tmp_path,
            plugins=root / "lib" / "collectd",
            types=root / "share" / "collectd" / "types.db",
            port=port,
            protocol=protocol,
            tags=tags,
        )
    )
    programs.spawn("collectd", [str(program), "-f", "-C", str(configuration)])
    if tags == "true":
        found = wait_for(orrery, '{"collectd.load.load.shortterm", plugin="load"}')
        assert found["metric"]["host"] == "rack-1"
    else:
        wait_for(orrery, '{"collectd.rack-1.load.load.shortterm"}')
