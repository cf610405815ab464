"""The same points, written by every protocol and read by every language: one name for one series.

The table is DESIGN's naming contract; a pair that is not here is a pair nobody promised.
"""

import dataclasses
import itertools
import json
import pickle
import socket
import struct
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cramjam
import numpy as np
import pytest

import orrery
from orrery.errors import Invalid
from tests.compat.conftest import Programs, Server, free_port
from tests.kernels import otlp_messages as otlp
from tests.kernels.prometheus_messages import request_1, request_2

SECOND_NS = 1_000_000_000
START_S = 1_700_000_000
VALUES = [1.5, -2.0, 1e300]
TIMES_NS = [(START_S + 10 * step) * SECOND_NS for step in range(len(VALUES))]
TYPE_1 = "application/x-protobuf"
TYPE_2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
NUMBERS = itertools.count()


@dataclass(frozen=True)
class Point:
    """A series of the points above as its writer names it, and what readers call it."""

    name: str
    shown: str
    field: str = ""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    selectors: tuple[str, ...] = ()


PLAIN = Point("load", "load", labels={"host": "a"},
              selectors=("load", '{__name__="load"}', 'load{host="a"}', '{__measurement__="load"}',
                         '{__measurement__="load", __field__=""}'))  # fmt: skip
FIELD = Point("cpu", "cpu_user", "user", {"host": "a"},
              selectors=("cpu_user", '{__measurement__="cpu", __field__="user"}',
                         '{__field__="user"}', '{__measurement__=~"c.u"}'))  # fmt: skip
UTF8 = Point("wärme.grad", "wärme.grad", labels={"host.name": "ä b", "größe": 'x"y'},
             selectors=('{"wärme.grad"}', '{"wärme.grad", "host.name"="ä b"}', "w_rme_grad",
                        '{__measurement__="wärme.grad"}'))  # fmt: skip
WORDS = Point("wärme.grad", "wärme.grad", labels={"host.name": "ä", "größe": 'x"y'},
              selectors=('{"wärme.grad"}', '{"wärme.grad", "host.name"="ä"}'))  # fmt: skip
UTF8_FIELD = Point("wärme", "wärme_max.°C", "max.°C", {"host": "a"},
                   selectors=('{"wärme_max.°C"}', "w_rme_max__C"))  # fmt: skip
DATABASE = Point("load", "load", labels={"host": "a", "__db__": "shop", "__rp__": "week"},
                 selectors=("load", 'load{__db__="shop"}', 'load{__rp__="week"}'))  # fmt: skip


def accepted(server: Server, path: str, body: bytes, headers: dict[str, str]) -> None:
    status, _, answer = server.request("POST", path, body, headers)
    assert status in (200, 204), answer


def as_remote_write(request: Callable[[list], bytes], kind: str) -> Callable:
    def write(server: Server, tenant: str, point: Point) -> None:
        labels = sorted({"__name__": point.name, **point.labels}.items())
        samples = [
            (time_ns // 1_000_000, value) for time_ns, value in zip(TIMES_NS, VALUES, strict=True)
        ]
        body = bytes(cramjam.snappy.compress_raw(request([(labels, samples)])))
        headers = {"Content-Type": kind, "Content-Encoding": "snappy", "X-Scope-OrgID": tenant}
        accepted(server, "/api/v1/write", body, headers)

    return write


def escaped(text: str) -> str:
    return "".join(f"\\{one}" if one in ", =" else one for one in text)


def lines(point: Point) -> bytes:
    tags = [f",{escaped(key)}={escaped(value)}" for key, value in sorted(point.labels.items())
            if not key.startswith("__")]  # fmt: skip
    head = f"{escaped(point.name)}{''.join(tags)} {escaped(point.field or 'value')}"
    rows = [f"{head}={value!r} {time_ns}" for time_ns, value in zip(TIMES_NS, VALUES, strict=True)]
    return "\n".join(rows).encode()


def as_lines_1(server: Server, tenant: str, point: Point) -> None:
    given = {"db": point.labels.get("__db__", "metrics"), "rp": point.labels.get("__rp__", "")}
    path = f"/write?{urllib.parse.urlencode(given)}"
    accepted(server, path, lines(point), {"X-Scope-OrgID": tenant})


def as_lines_2(server: Server, tenant: str, point: Point) -> None:
    bucket = point.labels.get("__db__", "metrics")
    if "__rp__" in point.labels:
        bucket += "/" + point.labels["__rp__"]
    path = f"/api/v2/write?{urllib.parse.urlencode({'org': 'any', 'bucket': bucket})}"
    accepted(server, path, lines(point), {"X-Scope-OrgID": tenant})


def graphite_lines(point: Point) -> list[tuple[str, float, float]]:
    """(path, value, seconds)"""
    tags = [f";{key}={value}" for key, value in point.labels.items()]
    path = point.name + "".join(tags)
    seconds = [time_ns / SECOND_NS for time_ns in TIMES_NS]
    return [(path, value, at) for value, at in zip(VALUES, seconds, strict=True)]


def as_graphite_http(server: Server, tenant: str, point: Point) -> None:
    rows = [f"{path} {value!r} {at}" for path, value, at in graphite_lines(point)]
    body = "\n".join(rows).encode()
    accepted(server, "/graphite/metrics", body, {"X-Scope-OrgID": tenant})


def as_graphite(server: Server, tenant: str, point: Point) -> None:
    rows = [f"{path} {value!r} {at}\n" for path, value, at in graphite_lines(point)]
    send(GRAPHITE, "".join(rows).encode())


def as_graphite_pickle(server: Server, tenant: str, point: Point) -> None:
    payload = pickle.dumps([(path, (at, value)) for path, value, at in graphite_lines(point)], 2)
    send(GRAPHITE_PICKLE, struct.pack("!L", len(payload)) + payload)


def send(listener: str, body: bytes) -> None:
    """To a listener that answers nothing, but closes when all that came is stored."""
    with socket.create_connection(("127.0.0.1", PORTS[listener]), timeout=10) as connection:
        connection.sendall(body)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


def as_opentsdb(server: Server, tenant: str, point: Point) -> None:
    points = [
        {
            "metric": point.name,
            "timestamp": time_ns // SECOND_NS,
            "value": value,
            "tags": point.labels,
        }
        for time_ns, value in zip(TIMES_NS, VALUES, strict=True)
    ]
    accepted(server, "/api/put", json.dumps(points).encode(), {"X-Scope-OrgID": tenant})


def as_warp10(server: Server, tenant: str, point: Point) -> None:
    def quoted(text: str) -> str:
        return urllib.parse.quote(text, safe="")

    labels = ",".join(f"{quoted(key)}={quoted(value)}" for key, value in point.labels.items())
    rows = [
        f"{time_ns // 1000}// {quoted(point.name)}{{{labels}}} {value!r}"
        for time_ns, value in zip(TIMES_NS, VALUES, strict=True)
    ]
    accepted(server, "/api/v0/update", "\n".join(rows).encode(), {"X-Scope-OrgID": tenant})


def by_warp10(server: Server, tenant: str, class_name: str) -> list:
    """What ``/fetch`` shows of a class, in rising order."""
    selector = urllib.parse.quote(class_name, safe="") + "{}"
    arguments = {"selector": selector, "end": "now", "count": "9", "format": "json"}
    path = f"/api/v0/fetch?{urllib.parse.urlencode(arguments)}"
    _, _, body = server.request("GET", path, headers={"X-Scope-OrgID": tenant})
    return [(one["c"], one["l"], one["v"][::-1]) for one in json.loads(body)]


def write_columns(database: orrery.Database, point: Point) -> None:
    labels = {key: [value] * len(VALUES) for key, value in point.labels.items()}
    columns = {"time": np.array(TIMES_NS), point.field or "value": np.array(VALUES), **labels}
    fields = [point.field] if point.field else None
    database.write(columns, name=point.name, fields=fields)


def as_columns(server: Server, tenant: str, point: Point) -> None:
    with orrery.connect(server.url, tenant=tenant) as database:
        write_columns(database, point)


def as_otlp(server: Server, tenant: str, point: Point) -> None:
    points = [
        otlp.number(value, point.labels, time_ns)
        for time_ns, value in zip(TIMES_NS, VALUES, strict=True)
    ]
    body = otlp.request_of(otlp.gauge(point.name, *points))
    headers = {"Content-Type": "application/x-protobuf", "X-Scope-OrgID": tenant}
    accepted(server, "/v1/metrics", body, headers)


REMOTE_WRITE_1 = as_remote_write(request_1, TYPE_1)
REMOTE_WRITE_2 = as_remote_write(request_2, TYPE_2)
EVERY = {"remote write 1": REMOTE_WRITE_1, "remote write 2": REMOTE_WRITE_2,
         "lines 1": as_lines_1, "lines 2": as_lines_2, "columns": as_columns,
         "opentsdb": as_opentsdb, "graphite pickle": as_graphite_pickle,
         "warp 10": as_warp10}  # fmt: skip
WORDED = {"graphite": as_graphite, "graphite over HTTP": as_graphite_http}
"""Names without blanks."""
GRAPHITE, GRAPHITE_PICKLE = "graphite-tcp", "graphite-pickle"
WRITES = {GRAPHITE: as_graphite, GRAPHITE_PICKLE: as_graphite_pickle}
TENANTS = {as_graphite: "of-lines", as_graphite_pickle: "of-pickles"}
"""Of listeners, which nobody can tell another one."""
PORTS: dict[str, int] = {}
UNTRANSLATED = {**EVERY, "otlp": as_otlp}
"""The server is told to translate no names: what OTLP's own are called is another test's matter."""
WITH_FIELDS = {name: EVERY[name] for name in ("lines 1", "lines 2", "columns")}
WITH_DATABASES = {name: EVERY[name] for name in ("lines 1", "lines 2")}
PAIRS = [
    pytest.param(write, point, id=f"{name}-{point.shown}{'-db' if point is DATABASE else ''}")
    for point, writers in ((PLAIN, UNTRANSLATED), (UTF8, UNTRANSLATED), (FIELD, WITH_FIELDS),
                           (PLAIN, WORDED), (WORDS, WORDED),
                           (UTF8_FIELD, WITH_FIELDS), (DATABASE, WITH_DATABASES))
    for name, write in writers.items()
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    programs = Programs(tmp_path_factory.mktemp("naming"))
    options = ["--otlp-translation-strategy", "NoTranslation"]
    for listener in (GRAPHITE, GRAPHITE_PICKLE):
        PORTS[listener] = free_port()
        address = f"127.0.0.1:{PORTS[listener]}={TENANTS[WRITES[listener]]}"
        options += [f"--{listener}", address]
    yield programs.orrery(*options)
    programs.stop()


@pytest.fixture
def tenant() -> str:
    return f"t{next(NUMBERS)}"


def shown(point: Point) -> dict[str, str]:
    return {"__name__": point.shown, **point.labels}


def by_promql(server: Server, tenant: str, selector: str) -> dict:
    """The samples of a range selector over HTTP."""
    arguments = {"query": f"{selector}[1m]", "time": str(START_S + 30)}
    path = f"/api/v1/query?{urllib.parse.urlencode(arguments)}"
    _, _, body = server.request("GET", path, headers={"X-Scope-OrgID": tenant})
    return json.loads(body)


def by_python(database: orrery.Database, selector: str) -> list:
    found = database.read(selector, START_S, START_S + 60)
    return [(dict(labels), times.tolist(), values.tolist()) for labels, times, values in found]


@pytest.mark.parametrize(("write", "point"), PAIRS)
def test_what_is_written_is_read_back(
    server: Server, tenant: str, write: Callable, point: Point
) -> None:
    tenant = TENANTS.get(write, tenant)
    write(server, tenant, point)
    points = [[time_ns / SECOND_NS, value] for time_ns, value in zip(TIMES_NS, VALUES, strict=True)]
    with orrery.connect(server.url, tenant=tenant) as database:
        for selector in point.selectors:
            answer = by_promql(server, tenant, selector)
            assert answer["status"] == "success", (selector, answer)
            (series,) = answer["data"]["result"] or [None]
            assert series is not None, selector
            assert series["metric"] == shown(point), selector
            assert [[at, float(value)] for at, value in series["values"]] == points
            assert by_python(database, selector) == [(shown(point), TIMES_NS, VALUES)]
    class_name = f"{point.name}.{point.field}" if point.field else point.name
    values = [[time_ns // 1000, value] for time_ns, value in zip(TIMES_NS, VALUES, strict=True)]
    assert by_warp10(server, tenant, class_name) == [(class_name, point.labels, values)]


@pytest.mark.parametrize("point", [PLAIN, FIELD, UTF8, UTF8_FIELD], ids=lambda one: one.shown)
def test_columns_written_in_this_process_are_read_here(tmp_path, point: Point) -> None:
    with orrery.open(tmp_path) as database:
        write_columns(database, point)
        for selector in point.selectors:
            assert by_python(database, selector) == [(shown(point), TIMES_NS, VALUES)]
            (series,) = database.query_range(selector, START_S, START_S, "1s")
            assert (dict(series[0]), series[2].tolist()) == (shown(point), VALUES[:1])


def test_two_series_of_one_name_are_an_error_that_tells_them_apart(
    server: Server, tenant: str
) -> None:
    as_lines_1(server, tenant, FIELD)
    REMOTE_WRITE_1(server, tenant, Point("cpu_user", "cpu_user", labels={"host": "a"}))
    with orrery.connect(server.url, tenant=tenant) as database:
        with pytest.raises(Invalid, match="cannot tell two series apart") as caught:
            database.query("cpu_user", at=START_S)
        told = str(caught.value)
        assert "'cpu' with field 'user'" in told
        assert "'cpu_user' without field" in told
        assert 'add the matcher __field__="' in told
        for selector in ('cpu_user{__field__=""}', 'cpu_user{__field__="user"}'):
            assert by_python(database, selector) == [(shown(FIELD), TIMES_NS, VALUES)]


@pytest.mark.parametrize("label", ["__db__", "__rp__", "__field__", "__measurement__"])
def test_reserved_labels_are_not_the_clients_to_send(
    server: Server, tenant: str, label: str
) -> None:
    request = request_1([([("__name__", "load"), (label, "x")], [(START_S * 1000, 1.0)])])
    headers = {"Content-Type": TYPE_1, "Content-Encoding": "snappy", "X-Scope-OrgID": tenant}
    body = bytes(cramjam.snappy.compress_raw(request))
    status, _, answer = server.request("POST", "/api/v1/write", body, headers)
    assert status == 400
    assert label.encode() in answer
