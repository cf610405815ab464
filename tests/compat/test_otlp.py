"""The same OTLP requests to Orrery and to Prometheus 3.5.3's own translation: the same series,
labels and values (tools/otlp_oracle; Debian's Prometheus has no OTLP receiver).

And the OpenTelemetry SDK for Python, over HTTP and gRPC, as a sender nobody here wrote.
"""

import json
import math
import subprocess
import time

import pytest

pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed")

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from tests.compat.conftest import Programs, Server, free_port, peer
from tests.kernels.otlp_messages import (
    DELTA,
    SECOND_NS,
    gauge,
    histogram,
    number,
    request,
    resource,
    summary,
    total,
)

pytestmark = pytest.mark.compat

PATH = "/api/v1/otlp/v1/metrics"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
STALE = 1
NAMES = [
    "plain", "http.server.duration", "with_underscores", "__doubled__under", "a..b--c", "1st.digit",
    "requests.total", "ratio.of.things", "temperature", "process.cpu.time_seconds", "colon:name",
    "grad.wärme", "ends.in.bytes", "rate_per_second", "UPPER.Case", "total", "x",
]  # fmt: skip
UNITS = [
    "", "1", "s", "ms", "By", "KiBy", "MBy", "TiBy", "%", "Cel", "{request}", "{request}/s", "By/s",
    "m/s", "km/h", "1/s", "V", "foo bar", "widgets", "/s", "s/", "a_b", "__x__", "W/m2", "per/per",
    "d", "min", "{a}b", " By ",
]  # fmt: skip
KEYS = [
    "plain", "http.method", "with-dash", "_leading", "__leading", "1digit", "ünï", "a b", "job",
    "instance", "UPPER", "a__b", "a..b", ".dot", "trailing.", "otel_scope_name",
]  # fmt: skip
VALUES: list[object] = [
    "text", "", "ünï \"x\"\n", True, False, 0, -7, 2**53, 1.5, 1.0, 1e21, 1e-7, 123456789.125, -0.0,
    1e20, float("nan"), float("inf"), b"bytes\x00\xff", b"", ["a", 1, 2.5, None, [True]], [],
    {"b": 1, "a": {"x": "<&>"}}, {}, None, ["\u2028", "\x01"],
]  # fmt: skip


def at(step: int = 0) -> int:
    return NOW_NS + step * SECOND_NS


NOW_NS = (time.time_ns() // SECOND_NS - 300) * SECOND_NS


def names_and_units() -> list[ExportMetricsServiceRequest]:
    """Each pair in a request of its own: two that become one name would overwrite each other."""
    pairs = [(name, unit) for name in NAMES for unit in UNITS]
    made = []
    for place, (name, unit) in enumerate(pairs):
        given = {"case": place}
        metrics = [
            gauge(name, number(1.5, {**given, "kind": "gauge"}, at()), unit=unit),
            total(name, number(2.5, {**given, "kind": "counter"}, at()), unit=unit),
            total(name, number(3, {**given, "kind": "sum"}, at()), unit=unit, is_monotonic=False),
        ]
        made.append(resource(*metrics))
    return [request(*made)]


def attributes_of_all_kinds() -> list[ExportMetricsServiceRequest]:
    metrics = [
        gauge(
            "attributes",
            *(number(place, {"key": key, key: "v"}, at()) for place, key in enumerate(KEYS)),
            *(
                number(place, {"value": value, "place": place}, at())
                for place, value in enumerate(VALUES)
            ),
            number(1, [("a.b", "1"), ("a_b", "2"), ("a-b", "3"), ("joined", "x")], at()),
            number(2, [("twice", "2"), ("twice", "1"), ("other", "x")], at()),
        )
    ]
    return [request(resource(*metrics, given={"service.name": "s"}))]


def points_of_all_kinds() -> list[ExportMetricsServiceRequest]:
    bounds = [0.005, 0.1, 1, 2.5, 1e21, 1e-9 + 1e6]
    metrics = [
        gauge("gauge", number(1.25, {"a": "b"}, at()), number(7, {"a": "int"}, at())),
        gauge("stale", number(1.0, {}, at()), number(None, {}, at(10), flags=STALE)),
        gauge("special", number(math.inf, {"v": "inf"}, at()), number(-0.0, {"v": "zero"}, at())),
        total("counted", number(2**60, {}, at()), number(2**60 + 1, {}, at(15)), unit="By"),
        histogram("latency", sorted(bounds), [1, 2, 3, 4, 5, 6, 7], {"x": "y"}, unit="s",
                  time_ns=at()),
        histogram("no.sum", [1.0], [3, 4], time_ns=at()) ,
        histogram("no.buckets", [], [], count=5, time_ns=at()),
        histogram("negative", [-5, 0, 5.5], [1, 0, 2, 1], time_ns=at()),
        summary("quantiles", {0.0: 1.0, 0.5: 2.0, 0.99: 3.5, 1.0: 4.0}, {"x": "y"}, time_ns=at()),
        summary("none.of.them", {}, unit="ms", time_ns=at()),
    ]  # fmt: skip
    metrics[5].histogram.data_points[0].ClearField("sum")
    return [request(resource(*metrics, given={"service.name": "kinds"}))]


def resources() -> list[ExportMetricsServiceRequest]:
    """Each alone in its request, as Prometheus keeps one of several it finds alike."""
    one = [gauge("info", number(1, {}, at()), number(2, {}, at(400)), number(3, {}, at(100)))]
    identity = {"service.name": "api", "service.namespace": "shop", "service.instance.id": "i-1"}
    given = [
        identity,
        {**identity, "service.instance.id": "i-2", "host.name": "h", "process.pid": 7},
        {"service.name": "only name", "region": "eu", "empty": ""},
        {"service.instance.id": "only instance", "cloud.zone": "z"},
        {"service.namespace": "without name", "x": "y"},
        {"service.namespace": "", "service.name": "empty namespace", "x": "y"},
        {"job": "attribute", "x": "y", "case": 6},
        {"host.name": "nobody", "case": 7},
        {"service.name": 5, "service.instance.id": True, "x": ["a"]},
        {"service.name": "several", "a.b": "1", "a_b": "2"},
    ]
    return [request(resource(*one, given=each)) for each in given]


def scopes() -> list[ExportMetricsServiceRequest]:
    scope = {"name": "lib", "version": "1.2", "schema_url": "https://x", "attributes": {"a.b": 1}}
    one = gauge("scoped", number(1, {"k": "v"}, at()))
    other = gauge("scoped.too", number(1, {"k": "v"}, at()))
    given = {"service.name": "scoped"}
    return [request(resource(one, given=given, scope=scope), resource(other, given=given))]


CASES = {
    "names and units": names_and_units,
    "attributes": attributes_of_all_kinds,
    "points": points_of_all_kinds,
    "resources": resources,
    "scopes": scopes,
}

SETTINGS: dict[str, tuple[str, ...]] = {
    "escaped": (),
    "utf-8 with suffixes": ("translation_strategy=NoUTF8EscapingWithSuffixes",),
    "untranslated": ("translation_strategy=NoTranslation",),
    "promoted": (
        "promote_resource_attributes=host.name,region,service.name,a.b",
        "keep_identifying_resource_attributes=true",
    ),
    "all promoted": (
        "promote_all_resource_attributes=true",
        "ignore_resource_attributes=host.name",
    ),
}

Series = dict[tuple[tuple[str, str], ...], list[tuple[float, float]]]


def settings_of(options: tuple[str, ...]) -> str:
    """As a configuration file has them."""
    lines = []
    for name, _, value in (option.partition("=") for option in options):
        is_list = name.endswith("_attributes") and value != "true"
        text = value if value == "true" else json.dumps(value.split(",") if is_list else value)
        lines.append(f"otlp_{name} = {text}")
    return "\n".join(lines)


def by_prometheus(options: tuple[str, ...], bodies: list[bytes]) -> Series:
    framed = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    command = [peer("go", "otlp-oracle"), *(f"-{option}" for option in options)]
    done = subprocess.run(command, input=framed, capture_output=True, check=True)
    found: Series = {}
    for one in map(json.loads, done.stdout.splitlines()):
        # Prometheus takes labels without a value off when it stores them.
        key = tuple(sorted((name, value) for name, value in one["labels"].items() if value))
        samples = found.setdefault(key, [])
        samples += [(int(ms) / 1000, float(value)) for ms, value in one["samples"]]
    return {key: sorted(set(samples)) for key, samples in found.items()}


def everything(server: Server) -> Series:
    answer = server.api("query", query='{__name__=~".+"}[1h]', time=at(1000) / SECOND_NS)
    assert answer["status"] == "success", answer
    return {
        tuple(sorted(series["metric"].items())): [(t, float(v)) for t, v in series["values"]]
        for series in answer["data"]["result"]
    }


def differences(theirs: Series, ours: Series) -> list[str]:
    """Staleness markers are not shown by a query: theirs are left out, too."""
    shown = {key: [s for s in samples if s[1] == s[1]] for key, samples in theirs.items()}
    found = [f"only one: {key} {shown[key]}" for key in shown.keys() - ours.keys()]
    found += [f"only the other: {key} {ours[key]}" for key in ours.keys() - shown.keys()]
    found += [
        f"{key}: {shown[key]} / {ours[key]}"
        for key in shown.keys() & ours.keys()
        if shown[key] != ours[key]
    ]
    return sorted(found)


@pytest.mark.parametrize("name", SETTINGS)
def test_prometheus_makes_the_same_series(programs: Programs, name: str) -> None:
    options = SETTINGS[name]
    bodies = [message.SerializeToString() for case in CASES.values() for message in case()]
    theirs = by_prometheus(options, bodies)
    file = programs.folder / "orrery.toml"
    file.write_text(settings_of(options))
    orrery = programs.orrery("--usage-seconds", "0", "--config", str(file))
    for body in bodies:
        status, _, answer = orrery.request("POST", PATH, body, PROTOBUF)
        assert (status, answer) == (200, b"")
    assert len(theirs) > 1500
    assert differences(theirs, everything(orrery)) == []


# --- the SDK as a sender


def reading(server: Server, query: str) -> list[tuple[dict[str, str], float]]:
    result = server.api("query", query=query)["data"]["result"]
    return [(series["metric"], float(series["value"][1])) for series in result]


def send_by_sdk(exporter: object) -> None:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource

    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
    named = Resource.create({"service.name": "shop", "service.instance.id": "i1"})
    provider = MeterProvider(metric_readers=[reader], resource=named)
    meter = provider.get_meter("checkout", "1.0")
    meter.create_counter("orders", unit="{order}", description="Orders.").add(3, {"kind": "new"})
    meter.create_up_down_counter("queue.length").add(-2)
    meter.create_gauge("temperature", unit="Cel").set(21.5)
    latency = meter.create_histogram(
        "latency", unit="s", explicit_bucket_boundaries_advisory=[1, 5]
    )
    for seconds in (0.5, 3.0, 30.0):
        latency.record(seconds)
    assert provider.force_flush()
    provider.shutdown()


def check_sdk(server: Server) -> None:
    identity = {"job": "shop", "instance": "i1"}
    assert reading(server, "orders_total") == [
        ({"__name__": "orders_total", "kind": "new", **identity}, 3.0)
    ]
    assert reading(server, "queue_length") == [({"__name__": "queue_length", **identity}, -2.0)]
    assert reading(server, "temperature_celsius")[0][1] == 21.5
    assert reading(server, "latency_seconds_sum")[0][1] == 33.5
    buckets = reading(server, "sort(latency_seconds_bucket)")
    assert [(labels["le"], value) for labels, value in buckets] == [("1", 1), ("5", 2), ("+Inf", 3)]
    (info,) = reading(server, "target_info")
    assert info[0]["telemetry_sdk_language"] == "python"
    metadata = server.api("metadata", metric="orders_total")["data"]["orders_total"]
    assert metadata == [{"type": "counter", "help": "Orders.", "unit": "{order}"}]


@pytest.mark.parametrize("compression", ["NoCompression", "Gzip", "Deflate"])
def test_the_sdk_over_http(programs: Programs, compression: str) -> None:
    http = pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    metrics = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.metric_exporter")
    server = programs.orrery()
    exporter = metrics.OTLPMetricExporter(
        endpoint=f"{server.url}/v1/metrics", compression=getattr(http.Compression, compression)
    )
    send_by_sdk(exporter)
    check_sdk(server)


@pytest.mark.parametrize("compression", ["NoCompression", "Gzip"])
def test_the_sdk_over_grpc(programs: Programs, compression: str) -> None:
    grpc = pytest.importorskip("grpc")
    metrics = pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc.metric_exporter")
    port = free_port()
    server = programs.orrery("--otlp-grpc", f"127.0.0.1:{port}")
    exporter = metrics.OTLPMetricExporter(
        endpoint=f"http://127.0.0.1:{port}",
        insecure=True,
        compression=getattr(grpc.Compression, compression),
    )
    send_by_sdk(exporter)
    check_sdk(server)


def test_a_refusal_is_a_partial_success_over_grpc(programs: Programs) -> None:
    grpc = pytest.importorskip("grpc")
    port = free_port()
    programs.orrery("--otlp-grpc", f"127.0.0.1:{port}")
    good, bad = number(1, {}, at()), number(2, {}, at())
    sent = request(resource(gauge("good", good), total("bad", bad, bad, temporality=DELTA)))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        export = channel.unary_unary(
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            request_serializer=ExportMetricsServiceRequest.SerializeToString,
            response_deserializer=ExportMetricsServiceResponse.FromString,
        )
        answer = export(sent).partial_success
        assert answer.rejected_data_points == 2
        assert "data points 2 to 3" in answer.error_message
        assert "delta" in answer.error_message
        nothing = request(resource(total("bad", bad, temporality=DELTA)))
        with pytest.raises(grpc.RpcError) as caught:
            export(nothing)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_json_is_protobuf_in_other_words(programs: Programs) -> None:
    binary, text = programs.orrery(name="binary"), programs.orrery(name="text")
    for case in (attributes_of_all_kinds, points_of_all_kinds, resources):
        for message in case():
            status, _, answer = binary.request("POST", PATH, message.SerializeToString(), PROTOBUF)
            assert (status, answer) == (200, b"")
            body = json.dumps(MessageToDict(message)).encode()
            status, _, answer = text.request(
                "POST", PATH, body, {"Content-Type": "application/json"}
            )
            assert (status, answer) == (200, b"{}")
    assert differences(everything(binary), everything(text)) == []
