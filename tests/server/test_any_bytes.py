"""Whatever bytes arrive, the server answers or closes, and lives."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.server.running import Running, until_closed

PIECES = [
    b"GET /echo HTTP/1.1\r\n",
    b"POST /echo HTTP/1.0\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"host: localhost\r\n",
    b"content-length: 5\r\n",
    b"content-length: 99999999999999999999\r\n",
    b"transfer-encoding: chunked\r\n",
    b"content-encoding: gzip\r\n",
    b"upgrade: websocket\r\nconnection: upgrade\r\n",
    b"expect: 100-continue\r\n",
    b"\r\n",
    b"5\r\nhello\r\n",
    b"ffffffffffffffffff\r\n",
    b"0\r\n\r\n",
    b"\x16\x03\x01\x02\x00",
]


@pytest.fixture(scope="module")
def server():
    with Running([], header_seconds_max=0.05, body_seconds_max=0.05) as running:
        yield running


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=40)), max_size=12))
def test_any_bytes(server, pieces):
    sent = b"".join(pieces) + b"\r\n\r\n"
    with server.raw(sent) as connection:
        connection.shutdown(1)
        answer = until_closed(connection)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    assert b" 500 " not in answer.split(b"\r\n")[0]
    assert server.ask("POST", "/echo", b"alive").body == b"alive"


def test_no_request_was_a_failure_inside(server):
    assert server.metric("orrery_request_failures_total") == 0
