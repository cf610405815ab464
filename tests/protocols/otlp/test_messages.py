"""The answers, read back by the classes generated from the specification's schema."""

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from orrery.errors import SERVER, Excess, Exhausted, Invalid, Unavailable
from orrery.ingest.requests import TooLarge
from orrery.protocols.otlp.export import render_error
from orrery.protocols.otlp.messages import export_response


@pytest.mark.parametrize("count", [0, 1, 127, 128, 2**40])
def test_a_partial_success(count: int) -> None:
    body = export_response(rejected_count=count, message="wärme", is_json=False)
    told = ExportMetricsServiceResponse.FromString(body).partial_success
    assert (told.rejected_data_points, told.error_message) == (count, "wärme")


def test_a_message_over_grpc_fits_what_clients_take() -> None:
    answer = render_error(Invalid("x" * 10_000))
    assert answer.message == "x" * 1000 + "..."
    assert len(answer.details) < 1100


def test_a_whole_success_tells_of_no_part() -> None:
    assert export_response(rejected_count=0, message="", is_json=False) == b""
    assert export_response(rejected_count=0, message="", is_json=True) == b"{}"


def excess(scope: str, seconds: float | None) -> Excess:
    return Excess("a_limit", scope, 1, 2, retry_after_seconds=seconds)


@pytest.mark.parametrize(
    ("error", "code", "milliseconds"),
    [
        (Invalid("x"), 3, None),
        (TooLarge("x"), 8, None),
        (Exhausted("x", excess("tenant", 2.5)), 8, 2500),
        (Exhausted("x", excess(SERVER, 1.0)), 14, 1000),
        (Unavailable("x"), 14, 1000),
    ],
)
def test_an_error_over_grpc_says_whether_to_come_back(
    error, code: int, milliseconds: int | None
) -> None:
    answer = render_error(error)
    status = Status.FromString(answer.details)
    assert (answer.code, status.code, answer.message, status.message) == (code, code, "x", "x")
    if milliseconds is None:
        assert not status.details
        return
    retry = RetryInfo()
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == milliseconds
