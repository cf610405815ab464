"""Native histograms as remote write carries them: what several tests write and expect."""

INTEGER = {
    "count_int": 12,
    "zero_count_int": 2,
    "sum": 18.5,
    "schema": 1,
    "zero_threshold": 0.001,
    "positive_spans": [{"offset": -2, "length": 2}, {"offset": 3, "length": 1}],
    "positive_deltas": [1, 2, -1],
    "negative_spans": [{"offset": 0, "length": 1}],
    "negative_deltas": [4],
    "reset_hint": 2,
}
FLOAT = {
    "count_float": 4.5,
    "zero_count_float": 0.5,
    "sum": -1.25,
    "schema": -1,
    "positive_spans": [{"offset": 1, "length": 2}],
    "positive_counts": [1.5, 2.5],
    "reset_hint": 3,
}
CUSTOM = {
    "count_int": 6,
    "sum": 21.0,
    "schema": -53,
    "positive_spans": [{"offset": 0, "length": 3}],
    "positive_deltas": [1, 1, 1],
    "custom_values": [1.0, 5.0],
}
STALE = {"sum": float.fromhex("nan")}
ALL = {"integer": INTEGER, "float": FLOAT, "custom": CUSTOM}


def at(fields: dict, time_ms: int) -> dict:
    return {**fields, "timestamp": time_ms}
