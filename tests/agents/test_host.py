import io
import logging
import threading

import numpy as np

from orrery.agents.host import HostAgent, host_points
from orrery.errors import Unavailable
from orrery.telemetry import Events, handler
from tests.memory_engine import done
from tests.tenancy.parts import FakeClock

POINTS = [
    ("node_load1", (), 0.5),
    ("node_cpu_seconds_total", (("cpu", "0"), ("mode", "user")), 7),
]


class Sink:
    def __init__(self, write_count_wanted=1, failure=None):
        self.writes = []
        self.failure = failure
        self.count_wanted = write_count_wanted
        self.enough = threading.Event()

    def __call__(self, tenant, *, series, time_ns, values):
        self.writes.append((tenant, series, time_ns, values))
        if len(self.writes) >= self.count_wanted:
            self.enough.set()
        if self.failure is not None:
            raise self.failure
        return done(None)


def agent(sink, clock, *, log=None, collect=lambda: iter(POINTS)):
    logger = logging.Logger("orrery")
    if log is not None:
        logger.addHandler(handler(log))
    return HostAgent(
        tenant="default",
        instance="box",
        period_seconds=5.0,
        write=sink,
        clock=clock,
        events=Events(logger),
        collect=collect,
    )


def test_points_become_columns_with_an_instance():
    sink, clock = Sink(), FakeClock()
    agent(sink, clock).write_once()
    ((tenant, series, time_ns, values),) = sink.writes
    assert (tenant, time_ns) == ("default", clock.now_ns())
    assert series == [
        ("node_load1", (("instance", "box"),)),
        ("node_cpu_seconds_total", (("cpu", "0"), ("instance", "box"), ("mode", "user"))),
    ]
    assert values.dtype == np.float64
    assert values.tolist() == [0.5, 7.0]


def test_writes_every_period_until_stopped():
    sink, clock = Sink(write_count_wanted=3), FakeClock()
    running = agent(sink, clock)
    running.start()
    assert sink.enough.wait(10)
    running.stop()
    times = [time_ns for _, _, time_ns, _ in sink.writes]
    # The fake clock sleeps at once; turns are five seconds apart, give or take a slice's rounding.
    assert abs((times[1] - times[0]) / 1e9 - 5) < 0.001


def test_failed_write_is_logged_and_tried_again():
    log = io.StringIO()
    sink, clock = Sink(2, Unavailable("cannot write: disk is full")), FakeClock()
    running = agent(sink, clock, log=log)
    running.start()
    assert sink.enough.wait(10)
    running.stop()
    assert 'event=host_metrics_failed message="cannot write: disk is full"' in log.getvalue()


def test_stop_without_start():
    agent(Sink(), FakeClock()).stop()


def test_this_host():
    points = list(host_points())
    names = {name for name, _, _ in points}
    assert {
        "node_cpu_seconds_total",
        "node_memory_MemAvailable_bytes",
        "node_network_receive_bytes_total",
        "node_load1",
    } <= names
    identities = [(name, labels) for name, labels, _ in points]
    assert len(identities) == len(set(identities))
    for _, labels, value in points:
        assert float(value) >= 0
        assert tuple(sorted(labels)) == labels
