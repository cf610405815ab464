"""Senders that mean no good, or are broken, at a running server's Graphite sockets: it goes on."""

import contextlib
import pickle
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.compat.conftest import free_port
from tests.reliability.serving import Orrery

LINE, PICKLE, UDP = free_port(), free_port(), free_port()
SETTINGS = f"""
disk_free_bytes_min = 0
graphite_tcp = ["127.0.0.1:{LINE}"]
graphite_pickle = ["127.0.0.1:{PICKLE}"]
graphite_udp = ["127.0.0.1:{UDP}"]
stream_first_seconds_max = 1.0
stream_frame_seconds_max = 1.0
stream_connections_max = 40
"""


@pytest.fixture(scope="module")
def orrery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orrery]:
    with Orrery(tmp_path_factory.mktemp("senders"), SETTINGS) as server:
        yield server


def until_closed(connection: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError):
        assert connection.recv(1) == b""


def send(port: int, *parts: bytes) -> int:
    """How much was taken until the server closed."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with contextlib.suppress(OSError):
            for part in parts:
                connection.sendall(part)
                sent += len(part)
            connection.shutdown(socket.SHUT_WR)
        until_closed(connection)
    return sent


def framed(payload: bytes) -> bytes:
    return struct.pack("!L", len(payload)) + payload


def is_well(orrery: Orrery, name: str) -> bool:
    """Whether a good line sent now is read back."""
    send(LINE, f"{name} 1 1000\n".encode())
    status, body = orrery.ask("GET", f"/api/v1/query?time=1000&query={name}")
    return status == 200 and b'"1"' in body


def test_a_line_of_a_gigabyte_is_not_held(orrery: Orrery) -> None:
    sent = send(LINE, *([b"x" * (1 << 20)] * 1024))
    assert sent < 64 << 20
    assert is_well(orrery, "after_a_long_line")


def test_a_pickle_that_claims_gigabytes_is_refused(orrery: Orrery) -> None:
    send(PICKLE, b"\xff\xff\xff\xff" + b"x" * 1000)
    send(PICKLE, struct.pack("!L", (1 << 20) + 1), b"x" * 1000)
    assert is_well(orrery, "after_a_large_claim")


def test_bombs(orrery: Orrery) -> None:
    name = b"X" + struct.pack("<L", 60_000) + b"n" * 60_000
    repeated = b"](" + name + b"K\x01K\x02\x86\x86q\x00" + b"h\x00" * 400_000 + b"e."
    nested = b"]" * 500_000 + b"a" * 499_999 + b"."
    tuples = b"N" + b"\x85" * 500_000 + b"."
    memo = b"Nr\xff\xff\xff\x7f."
    calling = pickle.dumps([("a", (1, print))])
    for payload in (repeated, nested, tuples, memo, calling):
        send(PICKLE, framed(payload))
    assert orrery.process.poll() is None
    assert is_well(orrery, "after_bombs")


def test_binary_noise(orrery: Orrery) -> None:
    noise = bytes(range(256)) * 400
    send(LINE, noise)
    send(PICKLE, framed(noise))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for size in (0, 1, 1400, 60_000):
            sender.sendto(noise[:size], ("127.0.0.1", UDP))
    assert is_well(orrery, "after_noise")


def test_slow_senders_are_closed(orrery: Orrery) -> None:
    with contextlib.ExitStack() as held:
        senders = [
            held.enter_context(socket.create_connection(("127.0.0.1", LINE), timeout=30))
            for _ in range(30)
        ]
        for number, sender in enumerate(senders):
            sender.sendall(b"a 1 1\na 1" if number % 2 else b"never whole")
        for sender in senders:
            until_closed(sender)
    assert is_well(orrery, "after_slow_senders")


def test_more_connections_than_there_may_be_are_closed(orrery: Orrery) -> None:
    with contextlib.ExitStack() as held:
        senders = [
            held.enter_context(socket.create_connection(("127.0.0.1", LINE), timeout=30))
            for _ in range(45)
        ]
        for sender in senders:
            until_closed(sender)
    assert is_well(orrery, "after_a_crowd")


def test_what_was_sent_before_a_reset_is_stored(orrery: Orrery) -> None:
    with socket.create_connection(("127.0.0.1", LINE), timeout=30) as connection:
        linger = struct.pack("ii", 1, 0)
        connection.sendall(b"before_a_reset 1 1000\n")
        while b'"1"' not in orrery.ask("GET", "/api/v1/query?time=1000&query=before_a_reset")[1]:
            pass
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert is_well(orrery, "after_a_reset")
