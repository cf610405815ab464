"""Records through their Python door; encodings and damage are tested in Rust."""

from pathlib import Path

import pytest

from orrery.errors import Corrupt, Invalid
from orrery.kernels.record import (
    decode_delete,
    decode_metadata,
    describe_record,
    encode_delete,
    encode_metadata,
    record_kind,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "formats" / "record_v1.bin"


def golden_records(path: Path = GOLDEN) -> list[bytes]:
    content, records = path.read_bytes(), []
    while content:
        size = int.from_bytes(content[:4], "little")
        records.append(content[4 : 4 + size])
        content = content[4 + size :]
    return records


def test_records_of_version_1_are_still_read() -> None:
    samples, definitions, metadata, delete = golden_records()
    described = describe_record(samples)
    assert {key: described[key] for key in ("kind", "version", "tenant", "epoch", "shards")} == {
        "kind": "samples",
        "version": 1,
        "tenant": "acme",
        "epoch": 7,
        "shards": (3, 900),
    }
    assert (described["sample_count"], described["series_count"]) == (4, 2)
    assert described["time_max_ns"] == 2**63 - 1
    assert [column["name"] for column in described["columns"]] == [
        "series_ids",
        "key_series",
        "key_counts",
        "times",
        "values",
        "kinds",
        "heap",
        "definitions",
    ]
    assert describe_record(definitions)["definition_count"] == 1
    assert decode_metadata(metadata) == ("acme", [("up", "gauge", "Is it up?", "")])
    assert decode_delete(delete) == ("acme", [("host", "=~", "a.*")], -1, 1)
    assert describe_record(delete)["matchers"] == [("host", "=~", "a.*")]
    assert describe_record(metadata)["row_count"] == 1


def test_records_with_side_columns_are_still_read() -> None:
    every, positions = golden_records(GOLDEN.with_name("record_v1_sides.bin"))
    sides = {"start_times", "positions", "elevations"}
    for record, expected in ((every, sides), (positions, {"positions"})):
        columns = describe_record(record)["columns"]
        assert {column["name"] for column in columns} & sides == expected
        assert not any(column["optional"] for column in columns)


def test_round_trips() -> None:
    matchers = [("__name__", "=", "up"), ("host", "!~", "a|b")]
    record = encode_delete("acme", 3, matchers, -5, 5)
    assert record_kind(record) == "delete"
    assert decode_delete(record) == ("acme", matchers, -5, 5)
    rows = [("up", "gauge", "Größe", "s"), ("x", "", "", "")]
    assert decode_metadata(encode_metadata("acme", 3, rows)) == ("acme", rows)


def test_a_delete_that_could_not_be_replayed_is_not_written() -> None:
    with pytest.raises(Invalid, match="cannot read regex"):
        encode_delete("acme", 1, [("host", "=~", "(")], 0, 1)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda record: record[:-1], "bytes and has"),
        (lambda record: record[:40] + b"?" + record[41:], "checksum"),
        (lambda record: b"XXXX" + record[4:], "magic"),
        (lambda record: record[:4] + b"\x09" + record[5:], "version 9"),
        (lambda record: b"", "end inside"),
    ],
)
def test_damage_is_named(damage: object, said: str) -> None:
    record = encode_delete("acme", 1, [("host", "=", "a")], 0, 1)
    with pytest.raises(Corrupt, match=said):
        record_kind(damage(record))  # type: ignore[operator]


def test_another_kind_is_refused() -> None:
    with pytest.raises(Corrupt, match="holds metadata, not delete"):
        decode_delete(encode_metadata("acme", 1, []))
