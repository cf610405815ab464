"""gRPC has the locks of HTTP: tokens, forced labels, rates, TLS, bounds on what is compressed."""

import gzip
import ssl
import subprocess

import grpc
import pytest

from orrery.protocols.otlp.export import METHOD
from tests.compat.conftest import free_port
from tests.kernels.otlp_messages import SECOND_NS, gauge, number, request_of
from tests.security.serving import QUIET, Server

TIME_NS = 1000 * SECOND_NS
BODY = request_of(gauge("sent", number(1.5, {"team": "mine"}, TIME_NS)))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    port = free_port()
    directory = tmp_path_factory.mktemp("grpc") / "data"
    flags = ("--auth", "token", "--otlp-grpc", f"127.0.0.1:{port}")
    small = ("--http-body-decompressed-bytes-max", "1000000")
    with Server(directory, *flags, *small, *QUIET) as running:
        running.grpc_port = port
        yield running


def export(server, body=BODY, secret=None, **metadata):
    named = [(name.replace("_", "-"), value) for name, value in metadata.items()]
    if secret is not None:
        named.append(("authorization", f"Bearer {secret}"))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        return channel.unary_unary(METHOD)(body, metadata=named, timeout=30)


def refusal(server, *arguments, **more):
    with pytest.raises(grpc.RpcError) as caught:
        export(server, *arguments, **more)
    return caught.value


def test_a_stranger_is_unauthenticated(server):
    assert refusal(server).code() is grpc.StatusCode.UNAUTHENTICATED
    unknown = "orr_" + "0" * 43
    assert refusal(server, secret=unknown).code() is grpc.StatusCode.UNAUTHENTICATED
    assert unknown not in server.log.read_text()


def test_a_token_needs_the_permission_to_write(server):
    reader = server.token("reader", "read")["secret"]
    assert refusal(server, secret=reader).code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_token_is_for_its_tenant_and_forces_its_labels(server):
    secret = server.token("forced", forced_labels={"team": "theirs"})["secret"]
    assert refusal(server, secret=secret, x_scope_orgid="another").code() is (
        grpc.StatusCode.PERMISSION_DENIED
    )
    assert export(server, secret=secret) == b""
    (row,) = server.client(token=secret).query("sent")
    assert row["metric"]["team"] == "theirs"


def test_a_rate_says_when_to_come_back(server):
    status_pb2 = pytest.importorskip("google.rpc.status_pb2")
    error_details = pytest.importorskip("google.rpc.error_details_pb2")
    secret = server.token("limited")["secret"]
    server.limit("limited", samples_per_second=1)
    points = [number(1.0, {"n": n}, TIME_NS) for n in range(100)]
    body = request_of(gauge("many", *points))
    # What comes first may be more than the rate: those after it pay.
    assert export(server, body, secret=secret) == b""
    error = refusal(server, body, secret=secret)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details)
    assert (status.code, status.message) == (8, error.details())
    retry = error_details.RetryInfo()
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() > 0


def test_a_bomb_is_bounded_where_it_is_taken_apart(server):
    secret = server.token("bomber")["secret"]
    error = refusal(server, gzip.compress(b"\0" * 1_000_001), secret=secret)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "http_body_decompressed_bytes_max" in error.details()


def test_it_is_served_over_tls_where_http_is(tmp_path):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    flags = ("--tls-certificate-file", str(certificate), "--tls-key-file", str(key))
    with Server(tmp_path / "data", *flags, "--otlp-grpc", f"127.0.0.1:{port}", *QUIET):
        assert ssl.get_server_certificate(("127.0.0.1", port))
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            assert channel.unary_unary(METHOD)(BODY, timeout=30) == b""


def test_an_open_server_does_not_listen_beyond_loopback(tmp_path):
    command = Server(tmp_path / "data", "--otlp-grpc", "0.0.0.0:0", *QUIET)
    with pytest.raises(AssertionError, match="auth = none"), command:
        pass
    command.process.wait(30)
    command.process.stdout.close()
