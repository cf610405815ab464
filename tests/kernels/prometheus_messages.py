"""Remote write's protobuf messages, built at run time with Google's library: the tests' oracle."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FIELD = descriptor_pb2.FieldDescriptorProto
TYPES = {
    "double": FIELD.TYPE_DOUBLE,
    "int64": FIELD.TYPE_INT64,
    "uint64": FIELD.TYPE_UINT64,
    "sint32": FIELD.TYPE_SINT32,
    "sint64": FIELD.TYPE_SINT64,
    "uint32": FIELD.TYPE_UINT32,
    "enum": FIELD.TYPE_INT32,
    "string": FIELD.TYPE_STRING,
    "bytes": FIELD.TYPE_BYTES,
}

SPAN = {"offset": ("sint32", 1), "length": ("uint32", 2)}
HISTOGRAM = {
    "count_int": ("uint64", 1),
    "count_float": ("double", 2),
    "sum": ("double", 3),
    "schema": ("sint32", 4),
    "zero_threshold": ("double", 5),
    "zero_count_int": ("uint64", 6),
    "zero_count_float": ("double", 7),
    "negative_spans": ("*BucketSpan", 8),
    "negative_deltas": ("*sint64", 9),
    "negative_counts": ("*double", 10),
    "positive_spans": ("*BucketSpan", 11),
    "positive_deltas": ("*sint64", 12),
    "positive_counts": ("*double", 13),
    "reset_hint": ("enum", 14),
    "timestamp": ("int64", 15),
    "custom_values": ("*double", 16),
}
SAMPLE = {"value": ("double", 1), "timestamp": ("int64", 2)}
VERSION_1 = {
    "Label": {"name": ("string", 1), "value": ("string", 2)},
    "Sample": SAMPLE,
    "Exemplar": {"value": ("double", 2), "timestamp": ("int64", 3)},
    "BucketSpan": SPAN,
    "Histogram": HISTOGRAM,
    "TimeSeries": {
        "labels": ("*Label", 1),
        "samples": ("*Sample", 2),
        "exemplars": ("*Exemplar", 3),
        "histograms": ("*Histogram", 4),
    },
    "MetricMetadata": {
        "type": ("enum", 1),
        "metric_family_name": ("string", 2),
        "help": ("string", 4),
        "unit": ("string", 5),
    },
    "WriteRequest": {"timeseries": ("*TimeSeries", 1), "metadata": ("*MetricMetadata", 3)},
}
VERSION_2 = {
    "Sample": {**SAMPLE, "start_timestamp": ("int64", 3)},
    "Exemplar": {"labels_refs": ("*uint32", 1), "value": ("double", 2), "timestamp": ("int64", 3)},
    "BucketSpan": SPAN,
    "Histogram": HISTOGRAM,
    "Metadata": {"type": ("enum", 1), "help_ref": ("uint32", 3), "unit_ref": ("uint32", 4)},
    "TimeSeries": {
        "labels_refs": ("*uint32", 1),
        "samples": ("*Sample", 2),
        "histograms": ("*Histogram", 3),
        "exemplars": ("*Exemplar", 4),
        "metadata": ("Metadata", 5),
        "created_timestamp": ("int64", 6),
    },
    "Request": {"symbols": ("*string", 4), "timeseries": ("*TimeSeries", 5)},
}


def built(package: str, messages: dict[str, dict[str, tuple[str, int]]]) -> dict[str, type]:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto3"
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, (kind, number) in fields.items():
            bare = kind.removeprefix("*")
            message.field.add(
                name=field,
                number=number,
                label=FIELD.LABEL_REPEATED if kind != bare else FIELD.LABEL_OPTIONAL,
                type=TYPES.get(bare, FIELD.TYPE_MESSAGE),
                type_name=None if bare in TYPES else f".{package}.{bare}",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in messages
    }


ONE = built("prometheus", VERSION_1)
TWO = built("io.prometheus.write.v2", VERSION_2)


def request_1(series, metadata=()) -> bytes:
    """``series``: (labels, [(time_ms, value)]) each; ``metadata``: keyword dictionaries."""
    request = ONE["WriteRequest"]()
    for labels, samples in series:
        one = request.timeseries.add()
        for name, value in labels:
            one.labels.add(name=name, value=value)
        for time_ms, value in samples:
            one.samples.add(timestamp=time_ms, value=value)
    for row in metadata:
        request.metadata.add(**row)
    return request.SerializeToString()


def request_2(series) -> bytes:
    """The same series, their strings as symbols."""
    request = TWO["Request"]()
    symbols = {"": 0}
    for labels, samples in series:
        one = request.timeseries.add()
        for pair in labels:
            one.labels_refs.extend(symbols.setdefault(text, len(symbols)) for text in pair)
        for time_ms, value in samples:
            one.samples.add(timestamp=time_ms, value=value, start_timestamp=7)
        one.created_timestamp = 5
    request.symbols.extend(symbols)
    return request.SerializeToString()


def with_histograms(request: bytes, version: int, histograms) -> bytes:
    """``request`` with histograms, given as keyword dictionaries, in its first series."""
    messages, name = (ONE, "WriteRequest") if version == 1 else (TWO, "Request")
    message = messages[name].FromString(request)
    for fields in histograms:
        message.timeseries[0].histograms.add(**fields)
    return message.SerializeToString()
