"""OTLP export requests, built with the classes generated from the specification's own schema."""

from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
    Summary,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

DELTA, CUMULATIVE = 1, 2
SECOND_NS = 1_000_000_000
TIME_NS = 1_700_000_000 * SECOND_NS

Attributes = Mapping[str, object] | Sequence[tuple[str, object]]


def any_value(value: object) -> AnyValue:
    match value:
        case None:
            return AnyValue()
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case bytes():
            return AnyValue(bytes_value=value)
        case list():
            one = AnyValue()
            one.array_value.SetInParent()
            one.array_value.values.extend(any_value(element) for element in value)
            return one
        case dict():
            one = AnyValue()
            one.kvlist_value.SetInParent()
            one.kvlist_value.values.extend(attributes(value))
            return one
        case _:
            return AnyValue(string_value=str(value))


def attributes(given: Attributes) -> list[KeyValue]:
    pairs = given.items() if isinstance(given, Mapping) else given
    return [KeyValue(key=key, value=any_value(value)) for key, value in pairs]


def number(value: float | None, given: Attributes = (), time_ns: int = TIME_NS, **more):
    point = NumberDataPoint(time_unix_nano=time_ns, attributes=attributes(given), **more)
    if isinstance(value, int):
        point.as_int = value
    elif value is not None:
        point.as_double = value
    return point


def gauge(name: str, *points: NumberDataPoint, unit: str = "", **more) -> Metric:
    return Metric(name=name, unit=unit, gauge=Gauge(data_points=points), **more)


def total(
    name: str,
    *points: NumberDataPoint,
    unit: str = "",
    is_monotonic: bool = True,
    temporality: int = CUMULATIVE,
    **more,
) -> Metric:
    data = Sum(data_points=points, is_monotonic=is_monotonic, aggregation_temporality=temporality)
    return Metric(name=name, unit=unit, sum=data, **more)


def histogram(
    name: str,
    bounds: Sequence[float],
    counts: Sequence[int],
    given: Attributes = (),
    *,
    unit: str = "",
    time_ns: int = TIME_NS,
    temporality: int = CUMULATIVE,
    **more,
) -> Metric:
    fields = {"count": sum(counts), "sum": 12.5, **more}
    point = HistogramDataPoint(
        time_unix_nano=time_ns,
        explicit_bounds=bounds,
        bucket_counts=counts,
        attributes=attributes(given),
        **fields,
    )
    data = Histogram(data_points=[point], aggregation_temporality=temporality)
    return Metric(name=name, unit=unit, histogram=data)


def exponential(name: str, count: int = 1, time_ns: int = TIME_NS) -> Metric:
    point = ExponentialHistogramDataPoint(time_unix_nano=time_ns, count=3)
    data = ExponentialHistogram(data_points=[point] * count, aggregation_temporality=CUMULATIVE)
    return Metric(name=name, exponential_histogram=data)


def summary(
    name: str,
    quantiles: Mapping[float, float],
    given: Attributes = (),
    *,
    unit: str = "",
    time_ns: int = TIME_NS,
    **more,
) -> Metric:
    fields = {"count": 7, "sum": 3.5, **more}
    values = [
        SummaryDataPoint.ValueAtQuantile(quantile=quantile, value=value)
        for quantile, value in quantiles.items()
    ]
    point = SummaryDataPoint(
        time_unix_nano=time_ns, quantile_values=values, attributes=attributes(given), **fields
    )
    return Metric(name=name, unit=unit, summary=Summary(data_points=[point]))


def resource(
    *metrics: Metric, given: Attributes = (), scope: Mapping[str, object] | None = None
) -> ResourceMetrics:
    scoped = ScopeMetrics(metrics=metrics)
    if scope is not None:
        scoped.scope.name = str(scope.get("name", ""))
        scoped.scope.version = str(scope.get("version", ""))
        scoped.schema_url = str(scope.get("schema_url", ""))
        scoped.scope.attributes.extend(attributes(scope.get("attributes", ())))
    return ResourceMetrics(resource=Resource(attributes=attributes(given)), scope_metrics=[scoped])


def request(*resources: ResourceMetrics) -> ExportMetricsServiceRequest:
    return ExportMetricsServiceRequest(resource_metrics=resources)


def request_of(*metrics: Metric, given: Attributes = ()) -> bytes:
    return request(resource(*metrics, given=given)).SerializeToString()
