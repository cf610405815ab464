"""Lines built from points, and lines of any kind, against a decoder in plain Python."""

import base64
import re
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orrery.errors import Exhausted, Invalid
from orrery.kernels.gts_input import decode_gts, decode_gts_meta
from orrery.kernels.series import parse_series

from .samples import value_of

NOW_NS = 1_700_000_000_123_456_789
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
NAMES = TEXTS.filter(lambda text: not text.startswith("__"))
VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    st.binary(max_size=20),
)
LABELS = st.dictionaries(NAMES, TEXTS, max_size=3)
POINTS = st.tuples(
    NAMES, LABELS, st.lists(st.tuples(st.integers(-(2**50), 2**50), VALUES), min_size=1, max_size=4)
)


def spelled(value: object) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, str):
        return f"'{quote(value, safe='')}'"
    if isinstance(value, bytes):
        return "b64:" + base64.urlsafe_b64encode(value).rstrip(b"=").decode()
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def pairs(labels: dict[str, str]) -> str:
    return ",".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in labels.items())


def decoded(body: bytes, **more):
    batch = decode_gts(body, **{"unit_ns": 1000, "now_ns": NOW_NS, **more})
    columns, found, start = batch.columns(), [], 0
    for key, end in enumerate(columns["sample_ends"].tolist()):
        name, field, labels = parse_series(batch.canonical(key))
        assert field == ""
        for at in range(start, end):
            time_ns = int(columns["times_ns"][at])
            found.append((name, dict(labels), time_ns // 1000, value_of(batch, columns, at)))
        start = end
    return found, batch


@given(st.lists(POINTS, max_size=5))
def test_points_come_back(points) -> None:
    lines, expected = [], []
    for name, labels, samples in points:
        for place, (time, value) in enumerate(samples):
            head = (
                f"{time}// {quote(name, safe='')}{{{pairs(labels)}}}"
                if place == 0
                else f"={time}//"
            )
            lines.append(f"{head} {spelled(value)}")
            expected.append((name, labels, time, value))
    found, batch = decoded("\n".join(lines).encode())
    assert batch.rejected == []
    assert found == expected
    assert [type(one[3]) for one in found] == [type(one[3]) for one in expected]


LINE = re.compile(r"(?P<time>T?[+-]?[0-9]*)/(?P<place>[^/]*)/(?P<high>[^ ]*) +(?P<rest>.*)")


def plain_number(text: str):
    if re.fullmatch(r"[+-]?[0-9]+", text):
        return int(text)
    if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[dDfF]?", text):
        return float(text.rstrip("dDfF"))
    raise ValueError


def plain_value(text: str):
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text.lower() in ("t", "true", "f", "false"):
        return text.lower()[0] == "t"
    return plain_number(text)


def plain(body: str):
    """(samples, refused lines) of a body without escapes."""
    found, refused, current = [], [], None
    for number, line in enumerate(body.split("\n"), 1):
        line = line.strip(" ")
        if not line or line.startswith("#"):
            continue
        try:
            continues = line.startswith("=")
            read = LINE.fullmatch(line[1:] if continues else line)
            if read is None:
                raise ValueError
            for whole in filter(None, (read["place"], read["high"])):
                if not re.fullmatch(r"[+-]?[0-9]+", whole):
                    raise ValueError
            time, rest, series = read["time"], read["rest"], current
            if not continues and "{" in rest:
                name, _, behind = rest.partition("{")
                labels, closed, rest = behind.partition("}")
                if not closed or not name or "=" in labels:
                    raise ValueError
                series = (name, {})
                rest = rest.lstrip(" ")
            if series is None or not rest:
                raise ValueError
            at = NOW_NS // 1000 if time[:1] in ("T", "") else 0
            if time not in ("", "T"):
                at += int(time.removeprefix("T"))
            elif time == "T":
                raise ValueError
            found.append((*series, at, plain_value(rest)))
            current = series
        except ValueError:
            refused.append(number)
            if not line.startswith("="):
                current = None
    return found, refused


PIECES = st.sampled_from(
    ["=", "1", "-2", "T", "T+3", "//", "/", " ", "c{}", "d{}", "{", "}", "7", "1.5", "-.5e2", "'x'",
     "\"y\"", "'", "true", "F", "#", "e", "1.", "+9", "d"]
)  # fmt: skip
BODIES = st.lists(
    st.lists(PIECES, max_size=6).map("".join)
    | st.tuples(
        st.sampled_from(["1// ", "=2// ", "// ", "T-1// ", "=// "]),
        st.sampled_from(["c{} ", "d{}", "", "c{}  "]),
        PIECES,
    ).map("".join),
    max_size=8,
).map("\n".join)


@given(BODIES)
def test_lines_of_any_kind_mean_what_plain_python_reads(body) -> None:
    # Names and labels are judged later, and elsewhere.
    assume(not re.search(r"\{[^}\n]+\}|\}\{| \{", body))
    found, batch = decoded(body.encode())
    expected, refused = plain(body)
    assert found == expected
    assert [line for line, _ in batch.rejected] == refused


@given(st.lists(st.tuples(NAMES, LABELS, LABELS), max_size=4))
def test_metadata_comes_back(rows) -> None:
    rows = [(n, labels, {k: v for k, v in more.items() if k not in labels and k[0] != "."})
            for n, labels, more in rows]  # fmt: skip
    body = "\n".join(f"{quote(n, safe='')}{{{pairs(a)}}}{{{pairs(b)}}}" for n, a, b in rows)
    batch = decode_gts_meta(body.encode())
    assert batch.rejected == []
    latest = {(n, tuple(sorted(labels.items()))): more for n, labels, more in rows}
    found = {}
    for key, attributes in batch.attributes:
        name, _, labels = parse_series(batch.canonical(key))
        found[name, tuple(labels)] = dict(attributes)
    assert found == latest


def test_too_many_bad_lines_refuse_the_body() -> None:
    with pytest.raises(Invalid, match="rejected_max"):
        decode_gts(b"x\n" * 10_001, unit_ns=1, now_ns=0)
    with pytest.raises(Invalid, match="time unit"):
        decode_gts(b"", unit_ns=0, now_ns=0)
    with pytest.raises(Exhausted):
        decode_gts(b"#" * 100, unit_ns=1, now_ns=0, size_bytes_max=10)


def test_a_units_now_is_cut_down() -> None:
    found, _ = decoded(b"// c{} 1")
    assert found == [("c", {}, NOW_NS // 1000, 1)]
