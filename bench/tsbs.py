"""The TSBS cpu-only workload: what is written and asked in bench/compare.py.

Shape after the Time Series Benchmark Suite's `cpu-only` use case: hosts with ten tags, ten metrics
that walk randomly within 0..100 and are sent as whole numbers every ten seconds. Bodies are made
before anything is measured.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import cramjam
import numpy as np
from numpy.typing import NDArray

FIELDS = (
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
)
REGIONS = ("us-east-1", "us-west-1", "eu-west-1", "eu-central-1", "ap-southeast-1", "sa-east-1")
START_SECONDS = 1_700_006_400
HOUR_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Workload:
    host_count: int
    hours: float
    interval_seconds: int = 10
    seed: int = 42

    @property
    def tick_count(self) -> int:
        return int(self.hours * HOUR_SECONDS / self.interval_seconds)

    @property
    def sample_count(self) -> int:
        return self.tick_count * self.host_count * len(FIELDS)

    @property
    def end_seconds(self) -> int:
        return START_SECONDS + self.tick_count * self.interval_seconds

    def hosts(self) -> list[dict[str, str]]:
        chance = np.random.default_rng(self.seed)
        return [
            {
                "hostname": f"host_{index}",
                "region": (region := REGIONS[chance.integers(len(REGIONS))]),
                "datacenter": f"{region}{'abc'[chance.integers(3)]}",
                "rack": str(chance.integers(100)),
                "os": ("Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10")[chance.integers(3)],
                "arch": ("x64", "x86")[chance.integers(2)],
                "team": ("SF", "NYC", "LON", "CHI")[chance.integers(4)],
                "service": str(chance.integers(20)),
                "service_version": str(chance.integers(2)),
                "service_environment": ("production", "staging", "test")[chance.integers(3)],
            }
            for index in range(self.host_count)
        ]

    def ticks(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """(unix seconds, values of shape (hosts, fields)) of each tick."""
        chance = np.random.default_rng(self.seed + 1)
        values = chance.uniform(0, 100, (self.host_count, len(FIELDS)))
        for tick in range(self.tick_count):
            values = np.clip(values + chance.normal(0, 1, values.shape), 0, 100)
            whole = values.astype(np.int64)
            yield START_SECONDS + tick * self.interval_seconds, whole


def line_bodies(workload: Workload, *, lines_per_body: int = 1000) -> Iterator[bytes]:
    """Line-protocol bodies, ten fields a line, none with lines of two ticks."""
    keys = [
        "cpu," + ",".join(f"{key}={value}" for key, value in host.items())
        for host in workload.hosts()
    ]
    shape = " " + ",".join(f"{field}=%d" for field in FIELDS) + " %d\n"
    for seconds, values in workload.ticks():
        time_ns = seconds * 1_000_000_000
        lines = [
            key + shape % (*row, time_ns) for key, row in zip(keys, values.tolist(), strict=True)
        ]
        for first in range(0, len(lines), lines_per_body):
            yield "".join(lines[first : first + lines_per_body]).encode()


def graphite_bodies(workload: Workload, *, lines_per_body: int = 10_000) -> Iterator[bytes]:
    """Graphite's lines: one a value, each with all its tags, none of two ticks in a body."""
    paths = [
        f"cpu.{field};" + ";".join(f"{key}={value}" for key, value in host.items())
        for host in workload.hosts()
        for field in FIELDS
    ]
    for seconds, values in workload.ticks():
        lines = [
            f"{path} {value:.0f} {seconds}\n"
            for path, value in zip(paths, values.ravel().tolist(), strict=True)
        ]
        for first in range(0, len(lines), lines_per_body):
            yield "".join(lines[first : first + lines_per_body]).encode()


def opentsdb_bodies(workload: Workload, *, points_per_body: int = 1000) -> Iterator[bytes]:
    """Bodies of OpenTSDB's JSON, one value a data point, none with data points of two ticks."""
    shapes = [
        f'{{"metric":"cpu.{field}","timestamp":%d,"value":%d,"tags":{tags}}}'
        for tags in (json.dumps(host, separators=(",", ":")) for host in workload.hosts())
        for field in FIELDS
    ]
    for seconds, values in workload.ticks():
        points = [
            shape % (seconds, value)
            for shape, value in zip(shapes, values.ravel().tolist(), strict=True)
        ]
        for first in range(0, len(points), points_per_body):
            yield f"[{','.join(points[first : first + points_per_body])}]".encode()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def message(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def remote_write_bodies(workload: Workload, *, series_per_body: int = 1000) -> Iterator[bytes]:
    """Snappy bodies of remote write 1.0, one sample a series, none with samples of two ticks."""
    labels = []
    for host in workload.hosts():
        for metric in FIELDS:
            pairs = sorted({"__name__": f"cpu_{metric}", **host}.items())
            labels.append(
                b"".join(
                    message(1, message(1, key.encode()) + message(2, value.encode()))
                    for key, value in pairs
                )
            )
    for seconds, values in workload.ticks():
        tail = b"\x10" + _varint(seconds * 1000)
        sample_size = 9 + len(tail)
        head = bytes([2 << 3 | 2, sample_size, 1 << 3 | 1])
        doubles = values.astype("<f8").tobytes()
        for first in range(0, len(labels), series_per_body):
            parts = []
            for index in range(first, min(first + series_per_body, len(labels))):
                content = labels[index] + head + doubles[index * 8 : index * 8 + 8] + tail
                parts.append(b"\x0a" + _varint(len(content)) + content)
            yield bytes(cramjam.snappy.compress_raw(b"".join(parts)))


def otlp_bodies(workload: Workload, *, hosts_per_body: int = 100) -> Iterator[bytes]:
    """OTLP in protobuf: gauges of one resource, the tags as attributes of each point."""
    attributes = [
        b"".join(
            message(7, message(1, key.encode()) + message(2, message(1, value.encode())))
            for key, value in host.items()
        )
        for host in workload.hosts()
    ]
    for seconds, values in workload.ticks():
        time_field = b"\x19" + (seconds * 1_000_000_000).to_bytes(8, "little")
        doubles = values.astype("<f8").tobytes()
        for first in range(0, len(attributes), hosts_per_body):
            metrics = []
            for column, field in enumerate(FIELDS):
                points = []
                for host in range(first, min(first + hosts_per_body, len(attributes))):
                    at = (host * len(FIELDS) + column) * 8
                    value = b"\x21" + doubles[at : at + 8]
                    points.append(message(1, time_field + value + attributes[host]))
                gauge = message(5, b"".join(points))
                metrics.append(message(2, message(1, f"cpu_{field}".encode()) + gauge))
            yield message(1, message(2, b"".join(metrics)))


@dataclass(frozen=True, slots=True)
class Question:
    """A TSBS query type in PromQL and InfluxQL; ``hours`` back from the end of the data."""

    name: str
    promql: str
    hours: float
    step_seconds: int
    influxql: str = ""


def _hosts(count: int, first: int) -> str:
    return "|".join(f"host_{first + index}" for index in range(count))


def _each_metric(count: int, expression: str, hosts: str = "") -> str:
    """``expression`` of every metric, each with a label that tells it apart.

    Window functions drop the metric's name, so one selector over many names would collide.
    """
    return " or ".join(
        f'label_replace({expression.format(f"cpu_{field}{hosts}")}, "field", "{field}", "", "")'
        for field in FIELDS[:count]
    )


def _only(host_count: int, first: int) -> str:
    return f'{{hostname=~"{_hosts(host_count, first)}"}}'


def _fields(function: str, count: int) -> str:
    return ", ".join(f"{function}({field})" for field in FIELDS[:count])


def _influx_hosts(count: int, first: int) -> str:
    return "(" + " or ".join(f"hostname='host_{first + i}'" for i in range(count)) + ")"


def questions(first_host: int) -> list[Question]:
    """The query types; ``first_host`` moves the hosts asked for, as TSBS picks them at random."""
    asked = []
    for metrics, hosts, hours in (
        (1, 1, 1),
        (1, 1, 12),
        (1, 8, 1),
        (5, 1, 1),
        (5, 1, 12),
        (5, 8, 1),
    ):
        asked.append(
            Question(
                f"single-groupby-{metrics}-{hosts}-{hours}",
                _each_metric(metrics, "max(max_over_time({}[1m]))", _only(hosts, first_host)),
                hours,
                60,
                f"select {_fields('max', metrics)} from cpu where "
                f"{_influx_hosts(hosts, first_host)} and $time group by time(1m)",
            )
        )
    for hosts in (1, 8):
        asked.append(
            Question(
                f"cpu-max-all-{hosts}",
                _each_metric(10, "max(max_over_time({}[1h]))", _only(hosts, first_host)),
                8,
                3600,
                f"select {_fields('max', 10)} from cpu where "
                f"{_influx_hosts(hosts, first_host)} and $time group by time(1h)",
            )
        )
    for metrics, label in ((1, "1"), (5, "5"), (10, "all")):
        asked.append(
            Question(
                f"double-groupby-{label}",
                _each_metric(metrics, "avg by (hostname) (avg_over_time({}[1h]))"),
                12,
                3600,
                f"select {_fields('mean', metrics)} from cpu where $time "
                "group by time(1h), hostname",
            )
        )
    for hosts, label in ((1, "1"), (None, "all")):
        where = f'{{hostname=~"{_hosts(1, first_host)}"}}' if hosts else ""
        condition = f"{_influx_hosts(1, first_host)} and " if hosts else ""
        asked.append(
            Question(
                f"high-cpu-{label}",
                f"max_over_time(cpu_usage_user{where}[1m]) > 90",
                1,
                60,
                f"select * from cpu where usage_user > 90 and {condition}$time",
            )
        )
    asked.append(
        Question(
            "lastpoint",
            '{__name__=~"cpu_.*"}',
            0,
            0,
            "select last(*) from cpu where $time group by hostname",
        )
    )
    return asked
