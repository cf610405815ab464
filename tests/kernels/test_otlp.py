"""The OTLP decoder against a plain-Python reading of the same messages, and what names become."""

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st

from orrery.errors import Invalid
from orrery.kernels.otlp import OtlpOptions, decode_otlp
from tests.kernels.otlp_messages import (
    SECOND_NS,
    TIME_NS,
    attributes,
    gauge,
    histogram,
    number,
    request,
    request_of,
    resource,
    summary,
    total,
)
from tests.kernels.samples import samples_of

STALE = 1
ESCAPED = "UnderscoreEscapingWithSuffixes"
SUFFIXED = "NoUTF8EscapingWithSuffixes"
PLAIN = "NoTranslation"


def decoded(body: bytes, *, translation: str = ESCAPED, is_json: bool = False, **options) -> list:
    made = OtlpOptions(translation=translation, **options)
    return samples_of(decode_otlp(body, options=made, is_json=is_json))


# --- names


@pytest.mark.parametrize(
    ("kind", "name", "unit", "escaped", "suffixed"),
    [
        (gauge, "temperature", "Cel", "temperature_celsius", "temperature_celsius"),
        (gauge, "cache.hits", "1", "cache_hits_ratio", "cache.hits_ratio"),
        (gauge, "cache.hits.ratio", "1", "cache_hits_ratio", "cache.hits.ratio_ratio"),
        (total, "http.requests", "{request}", "http_requests_total", "http.requests_total"),
        (total, "requests.total", "", "requests_total", "requests.total_total"),
        (total, "total.of.all", "", "of_all_total", "total.of.all_total"),
        (total, "sent", "By", "sent_bytes_total", "sent_bytes_total"),
        (gauge, "speed", "m/s", "speed_meters_per_second", "speed_meters_per_second"),
        (gauge, "rate", "{request}/s", "rate_per_second", "rate_per_second"),
        (gauge, "1st", "", "_1st", "1st"),
        (gauge, "a__b..c", "", "a_b_c", "a__b..c"),
        (gauge, "load", "foo bar", "load_foo_bar", "load_foo bar"),
        (gauge, "ns:load", "TiBy", "ns:load_tibibytes", "ns:load_tibibytes"),
        (gauge, "wärme", "", "w_rme", "wärme"),
    ],
)
def test_names(kind, name: str, unit: str, escaped: str, suffixed: str) -> None:
    body = request_of(kind(name, number(1), unit=unit))
    assert [row[0] for row in decoded(body)] == [escaped]
    assert [row[0] for row in decoded(body, translation=SUFFIXED)] == [suffixed]
    assert [row[0] for row in decoded(body, translation=PLAIN)] == [name]


def test_a_translation_that_is_none_is_named() -> None:
    with pytest.raises(Invalid, match="Sideways"):
        OtlpOptions(translation="Sideways")


# --- what a message means, said once more


def text_of(value) -> str:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "int_value":
            return str(value.int_value)
        case None:
            return ""
        case other:
            raise AssertionError(f"{other} is not drawn")


def label_of(key: str) -> str:
    name = re.sub(r"[^a-zA-Z0-9_]", "_", key)
    if name[:1].isdigit():
        return "key_" + name
    return "key" + name if name.startswith("_") and not name.startswith("__") else name


def labels_of(pairs, identity: dict[str, str]) -> dict[str, str]:
    joined: dict[str, list[str]] = {}
    for pair in sorted(pairs, key=lambda pair: pair.key.encode()):
        joined.setdefault(label_of(pair.key), []).append(text_of(pair.value))
    return {**{name: ";".join(values) for name, values in joined.items()}, **identity}


def identity_of(pairs) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        found.setdefault(pair.key, text_of(pair.value))
    identity = {}
    if "service.name" in found:
        namespace = f"{found['service.namespace']}/" if "service.namespace" in found else ""
        identity["job"] = namespace + found["service.name"]
    if "service.instance.id" in found:
        identity["instance"] = found["service.instance.id"]
    return identity


def bound_of(bound: float) -> str:
    text = f"{Decimal(repr(bound)):f}"
    return text.removesuffix(".0")


def parts_of(kind: str, point) -> Iterator[tuple[str, dict[str, str], object]]:
    """(suffix, labels besides, value) of each series of a point."""
    if kind in ("gauge", "sum"):
        field = point.WhichOneof("value")
        yield "", {}, getattr(point, field) if field else 0.0
        return
    if kind == "summary" or point.HasField("sum"):
        yield "_sum", {}, point.sum
    yield "_count", {}, point.count
    if kind == "summary":
        for one in point.quantile_values:
            yield "", {"quantile": bound_of(one.quantile)}, one.value
        return
    below = 0
    for place, bound in enumerate(point.explicit_bounds):
        below += point.bucket_counts[place]
        yield "_bucket", {"le": bound_of(bound)}, below
    yield "_bucket", {"le": "+Inf"}, point.count


def expected(message) -> Iterator[tuple]:
    for one in message.resource_metrics:
        pairs = one.resource.attributes
        identity = identity_of(pairs)
        times = []
        for scoped in one.scope_metrics:
            for metric in scoped.metrics:
                kind = metric.WhichOneof("data")
                name = metric.name + ("_total" if kind == "sum" else "")
                for point in getattr(metric, kind).data_points:
                    labels = labels_of(point.attributes, identity)
                    times.append(point.time_unix_nano)
                    for suffix, more, value in parts_of(kind, point):
                        told = math.nan if point.flags else value
                        yield named(name + suffix, {**labels, **more}, point.time_unix_nano, told)
        others = [pair for pair in pairs if not pair.key.startswith("service.")]
        if times and others and (identity or any(pair.key == "job" for pair in others)):
            yield named("target_info", labels_of(others, identity), max(times), 1.0)


def named(name: str, labels: dict[str, str], time_ns: int, value: object) -> tuple:
    kept = tuple(sorted((key, text) for key, text in labels.items() if text))
    return name, "", kept, time_ns, "stale" if value != value else (type(value).__name__, value)


VALUES = (
    st.text('ab ü";', max_size=4) | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.none()
)
KEYS = st.sampled_from(["a.b", "a_b", "a-b", "b", "1c", "_d", "__e", "ü", "host.name"])
POINT = st.lists(st.tuples(KEYS, VALUES), max_size=4)
RESOURCE = st.lists(
    st.tuples(
        st.sampled_from(["service.name", "service.namespace", "service.instance.id", "job", "x.y"]),
        VALUES,
    ),
    max_size=4,
    unique_by=lambda pair: pair[0],
)
TIMES = st.integers(0, 100).map(lambda seconds: TIME_NS + seconds * SECOND_NS + 7)
NUMBERS = st.floats(allow_nan=False) | st.integers(-(2**63), 2**63 - 1)
FLAGS = st.sampled_from([0, 0, 0, STALE])
BOUNDS = st.lists(st.floats(-1e6, 1e6).map(lambda bound: bound + 0.0), max_size=4, unique=True)


@st.composite
def metrics(draw):
    given_, time_ns, flags = draw(POINT), draw(TIMES), draw(FLAGS)
    match draw(st.sampled_from(["gauge", "sum", "histogram", "summary"])):
        case "gauge":
            return gauge("g", number(draw(NUMBERS), given_, time_ns, flags=flags))
        case "sum":
            return total("s", number(draw(NUMBERS), given_, time_ns, flags=flags))
        case "histogram":
            bounds = sorted(draw(BOUNDS))
            size = len(bounds) + 1
            counts = draw(st.lists(st.integers(0, 2**60), min_size=size, max_size=size))
            return histogram("h", bounds, counts, given_, time_ns=time_ns, flags=flags)
        case _:
            quantiles = draw(
                st.dictionaries(st.sampled_from([0.0, 0.5, 0.99, 1.0]), st.floats(-1, 1))
            )
            return summary("q", quantiles, given_, time_ns=time_ns, flags=flags)


REQUESTS = st.lists(
    st.builds(
        lambda ones, given_: resource(*ones, given=given_),
        st.lists(metrics(), max_size=4),
        RESOURCE,
    ),
    max_size=3,
).map(lambda all_: request(*all_))


def comparable(rows: list) -> list[tuple]:
    return sorted(
        (named(name, dict(labels), t, value) for name, _, labels, t, value in rows), key=repr
    )


@settings(max_examples=150, deadline=None)
@given(REQUESTS)
def test_a_request_means_what_its_messages_say(message) -> None:
    rows = sorted(expected(message), key=repr)
    assert comparable(decoded(message.SerializeToString())) == rows
    text = json.dumps(MessageToDict(message)).encode()
    assert comparable(decoded(text, is_json=True)) == rows


# --- the walk


def test_the_order_of_fields_does_not_matter() -> None:
    point = number(1.5, {"a": "b", "c": "d"})
    metric = gauge("up", point)
    straight = resource(metric, given={"service.name": "s"})
    parts = [
        straight.resource.SerializeToString(),
        straight.scope_metrics[0].SerializeToString(),
    ]
    backwards = b"".join(
        bytes([number << 3 | 2, len(part)]) + part
        for number, part in ((2, parts[1]), (1, parts[0]))
    )
    body = bytes([1 << 3 | 2, len(backwards)]) + backwards
    assert decoded(body) == decoded(request(straight).SerializeToString())


def test_attributes_apart_are_the_same_key() -> None:
    together = number(1.5, {"a": "b", "c": "d"}).SerializeToString()
    first, second = (
        bytes([7 << 3 | 2, len(pair)]) + pair
        for pair in (one.SerializeToString() for one in attributes({"a": "b", "c": "d"}))
    )
    assert together.endswith(first + second)
    rest = together[: -len(first + second)]
    batch = decode_otlp(
        wrapped(together) + wrapped(first + rest + second),
        options=OtlpOptions(translation=ESCAPED),
    )
    hashes = batch.columns()["hashes"]
    assert hashes[0] == hashes[1]
    assert samples_of(batch)[0] == samples_of(batch)[1]


def wrapped(point: bytes) -> bytes:
    """A request of one gauge with one point, from the point outwards."""
    body = point
    for number_ in (1, 5):
        body = bytes([number_ << 3 | 2, len(body)]) + body
    body = b"\x0a\x01g" + body
    for number_ in (2, 2, 1):
        body = bytes([number_ << 3 | 2, len(body)]) + body
    return body


def test_options_are_part_of_a_key() -> None:
    body = request_of(gauge("a.b", number(1)))
    hashes = {
        decode_otlp(body, options=options).columns()["hashes"][0]
        for options in (
            OtlpOptions(translation=ESCAPED),
            OtlpOptions(translation=PLAIN),
            OtlpOptions(translation=ESCAPED, promoted=["x"]),
            OtlpOptions(translation=ESCAPED, promotes_all_others=True),
            OtlpOptions(translation=ESCAPED, has_scope_labels=True),
        )
    }
    assert len(hashes) == 5


def test_target_info_has_the_time_of_the_latest_point() -> None:
    points = [number(1, time_ns=TIME_NS + seconds) for seconds in (0, 400, 100)]
    given_ = {"service.name": "s", "x": "y"}
    rows = decoded(request(resource(gauge("g", *points), given=given_)).SerializeToString())
    assert [row[3] - TIME_NS for row in rows if row[0] == "target_info"] == [400]


def test_scopes_become_labels_where_asked() -> None:
    scope = {"name": "lib", "version": "1", "schema_url": "u", "attributes": {"a.b": 1}}
    body = request(resource(gauge("g", number(1)), scope=scope)).SerializeToString()
    assert decoded(body)[0][2] == []
    assert decoded(body, has_scope_labels=True)[0][2] == [
        ("otel_scope_a_b", "1"),
        ("otel_scope_name", "lib"),
        ("otel_scope_schema_url", "u"),
        ("otel_scope_version", "1"),
    ]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"\x0a\x05\x00", "the message ends inside a field"),
        (b"\x08\x01", "resource_metrics has the wrong wire type"),
        (b"\x0a\x04\x0a\x00\x0a\x00", "resource is given twice"),
        (b"\x0a\x03\xc2\x3e\x00", "instrumentation_library_metrics"),
        (wrapped(b"\x18\x05"), "a number point's field has the wrong wire type"),
    ],
)
def test_broken_protobuf_names_the_place(body: bytes, cause: str) -> None:
    with pytest.raises(Invalid, match=cause):
        decoded(body)
