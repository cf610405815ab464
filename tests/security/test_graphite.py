"""Graphite's sockets on the whole server: tenants apart, tokens asked for, secrets told nowhere."""

import socket

import pytest

from tests.compat.conftest import free_port
from tests.security.serving import QUIET, SECONDS_MAX, Server


@pytest.fixture(scope="module")
def ports():
    return {name: free_port() for name in ("tcp", "udp", "pickle", "other")}


def flags(ports):
    return [
        *(f"--graphite-tcp=127.0.0.1:{ports[name]}={tenant}" for name, tenant in
          (("tcp", "first"), ("other", "second"))),
        f"--graphite-udp=127.0.0.1:{ports['udp']}=first",
        f"--graphite-pickle=127.0.0.1:{ports['pickle']}=first",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def open_wires(ports, tmp_path_factory):
    directory = tmp_path_factory.mktemp("open") / "data"
    with Server(directory, *QUIET, *flags(ports)) as server:
        yield server


@pytest.fixture(scope="module")
def token_ports():
    return {name: free_port() for name in ("tcp", "udp", "pickle", "other")}


@pytest.fixture(scope="module")
def token_wires(token_ports, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokens") / "data"
    options = ("--auth", "token", "--log-level", "debug", *QUIET)
    with Server(directory, *options, *flags(token_ports)) as server:
        yield server


def send(port, content):
    """Returns once all of it is stored, or refused: then the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS_MAX) as connection:
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
        try:
            assert connection.recv(1) == b""
        except ConnectionResetError:
            return


def names(client, pattern):
    rows = client.query(f'{{__name__=~"{pattern}"}}')
    return sorted(row["metric"]["__name__"] for row in rows)


def refused(server, wire, reason):
    wanted = f'orrery_lines_refused_total{{reason="{reason}",wire="{wire}"}}'
    text = server.operate("GET", "/metrics").body.decode()
    found = [line for line in text.splitlines() if line.startswith(wanted)]
    return float(found[0].split()[-1]) if found else 0.0


def test_listeners_keep_tenants_apart(open_wires, ports):
    send(ports["tcp"], b"apart.a 1 1000\n")
    send(ports["other"], b"apart.b 1 1000\n")
    assert names(open_wires.client("first"), "apart.*") == ["apart.a"]
    assert names(open_wires.client("second"), "apart.*") == ["apart.b"]
    assert names(open_wires.client("default"), "apart.*") == []


def test_limits_of_a_tenant_hold_for_its_listeners(open_wires, ports):
    open_wires.limit("second", label_count=2)
    send(ports["other"], b"limited;a=1;b=2;c=3 1 1000\nlimited;a=1 1 1000\n")
    assert names(open_wires.client("second"), "limited") == ["limited"]
    assert refused(open_wires, "graphite", "rejected") == 1


def test_a_token_decides_whose_lines_they_are(token_wires, token_ports):
    one = token_wires.token("one", forced_labels={"site": "x"})["secret"]
    two = token_wires.token("two")["secret"]
    send(token_ports["tcp"], f"auth {one}\nshown.a;site=y 1 1000\n{two}@.shown.b 1 1000\n".encode())
    first, second = token_wires.client(token=one), token_wires.client(token=two)
    assert [row["metric"] for row in first.query('{__name__=~"shown.*"}')] == [
        {"__name__": "shown.a", "site": "x"}
    ]
    assert names(second, "shown.*") == ["shown.b"]


@pytest.mark.parametrize("permission", ["read", "delete"])
def test_a_token_without_the_right_stores_nothing(token_wires, token_ports, permission):
    tenant = f"without-{permission}"
    secret = token_wires.token(tenant, permission)["secret"]
    reader = token_wires.client(token=token_wires.token(tenant, "read")["secret"])
    send(token_ports["tcp"], f"auth {secret}\nno.a 1 1000\n{secret}@.no.b 1 1000\n".encode())
    send(token_ports["tcp"], f"{secret}@.no.c 1 1000\n".encode())
    assert names(reader, "no.*") == []


def test_a_revoked_token_ends_an_open_connection(token_wires, token_ports):
    token = token_wires.token("revoked")
    address = ("127.0.0.1", token_ports["tcp"])
    reader = token_wires.client(token=token_wires.token("revoked", "read")["secret"])
    with socket.create_connection(address, timeout=SECONDS_MAX) as connection:
        connection.sendall(f"auth {token['secret']}\nbefore 1 1000\n".encode())
        while names(reader, "before") == []:
            pass
        path = f"/api/admin/v1/tokens/{token['token']['id']}"
        assert token_wires.operate("DELETE", path).status in (200, 204)
        connection.sendall(b"after 1 1000\n")
        assert connection.recv(1) == b""
    assert names(reader, "after") == []


def test_without_a_token_nothing_is_stored_and_the_connection_closed(token_wires, token_ports):
    before = refused(token_wires, "graphite", "denied")
    send(token_ports["tcp"], b"stranger 1 1000\n" * 3)
    assert refused(token_wires, "graphite", "denied") == before + 3


def test_no_secret_is_logged(token_wires, token_ports):
    secret = token_wires.token("logged")["secret"]
    for content in (
        f"x 1 1000\nauth {secret}\n",
        f"auth {secret}\nauth {secret}\n{secret}@.a x 1000\n{secret}.a 1 1000\n",
        f"auth {secret[:-1]}\na 1 1000\n",
        f"{secret[:-1]}@.a 1 1000\n",
    ):
        send(token_ports["tcp"], content.encode())
    told = token_wires.log.read_text()
    assert "event=lines_refused" in told
    assert secret[4:-1] not in told


def test_beyond_loopback_tokens_are_needed(tmp_path):
    for flag in ("tcp", "udp", "pickle"):
        server = Server(tmp_path / "data", *QUIET, f"--graphite-{flag}=0.0.0.0:0")
        with pytest.raises(AssertionError, match="cannot listen beyond loopback"):
            server.__enter__()
        server.process.wait(SECONDS_MAX)
        server.process.stdout.close()
