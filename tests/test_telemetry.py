import io
import logging
import re

import pytest

from orrery.telemetry import Event, Events, Telemetry, handler, logfmt


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ("", '""'),
        ('say "x"', '"say \\"x\\""'),
        ("a=b", '"a=b"'),
        ("line\nevent=forged", '"line\\nevent=forged"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        (1.23456789, "1.23457"),
        (True, "true"),
        (7, "7"),
    ],
)
def test_logfmt_value(value, shown):
    assert logfmt({"key": value}) == f"key={shown}"


def test_logfmt_leaves_out_what_is_not_known():
    assert logfmt({"a": None, "b": 1}) == "b=1"


@pytest.fixture
def log():
    logger, lines = logging.Logger("orrery"), io.StringIO()
    logger.addHandler(handler(lines))
    return logger, lines


def test_event_line(log):
    logger, lines = log
    Events(logger).warning(Event.REQUEST_SLOW, url="/a b", seconds=2.5)
    assert re.fullmatch(
        r'time=\S+Z level=warning event=request_slow url="/a b" seconds=2.5\n', lines.getvalue()
    )


def test_lines_of_other_libraries_are_events_too(log):
    logger, lines = log
    logger.warning("Invalid %s\nreceived", "request")
    assert 'event=log logger=orrery message="Invalid request\\nreceived"' in lines.getvalue()


def test_failure_adds_its_traceback(log):
    logger, lines = log
    Events(logger).error(Event.REQUEST_FAILED, failure=RuntimeError("why"), id="x")
    assert "RuntimeError: why" in lines.getvalue()


def test_exposition():
    telemetry = Telemetry()
    telemetry.requests.labels("/x", "GET", "200").inc()
    text = telemetry.exposition().decode()
    assert 'orrery_requests_total{method="GET",route="/x",status="200"} 1.0\n' in text
    assert "_created" not in text
    assert "process_resident_memory_bytes" in text


def test_every_metric_is_ours_and_has_its_unit():
    for metric in Telemetry().registry.collect():
        assert metric.name.startswith(("orrery_", "process_"))
        assert metric.documentation.endswith("."), metric.name


def test_two_servers_in_one_process_do_not_share():
    one, other = Telemetry(), Telemetry()
    one.series_registered.inc()
    assert other.registry.get_sample_value("orrery_series_registered_total") == 0


def test_gauges_that_live_elsewhere_are_set_when_asked_for():
    telemetry, held = Telemetry(), [7]
    telemetry.before_exposition(lambda: telemetry.head_bytes.set(held[0]))
    assert b"orrery_head_bytes 7.0" in telemetry.exposition()
    held[0] = 8
    assert b"orrery_head_bytes 8.0" in telemetry.exposition()
