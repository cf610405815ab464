"""OpenTSDB's decoders against plain-Python oracles: what each data point means, as JSON and as a
telnet line."""

import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from orrery.kernels.opentsdb import decode_opentsdb, echo_opentsdb
from orrery.kernels.opentsdb_lines import decode_opentsdb_lines, opentsdb_lines_end
from tests.kernels.samples import samples_of

SECOND_NS = 10**9
TIMES = st.one_of(
    st.integers(1, 2**32 - 1),
    st.integers(2**32, 9_223_372_036_853),
    st.decimals(1, 2**32 - 1, places=3).map(float),
)
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
TAGS = st.dictionaries(TEXTS.filter(lambda text: not text.startswith("__")), TEXTS, min_size=1)


def time_ns(text: str) -> int:
    whole, _, fraction = text.partition(".")
    places = 9 if int(whole) < 2**32 else 6
    return int(whole) * 10**places + int(fraction.ljust(places, "0")[:places])


def value_of(text: str) -> int | float:
    return float(text) if set(text) & set(".eE") else int(text)


def expected(metric: str, time: str, value: str, tags: dict[str, str]) -> tuple:
    # Labels are sorted by their bytes, which is by code points.
    return metric, "", sorted(tags.items()), time_ns(time), value_of(value)


@st.composite
def json_points(draw) -> list[tuple[str, tuple]]:
    """Data points as text with what they mean, each of a few layouts, so that these change."""
    layouts = draw(st.lists(st.permutations(range(4)), min_size=1, max_size=3))
    points = []
    for _ in range(draw(st.integers(1, 8))):
        metric, tags = draw(TEXTS), draw(TAGS)
        time, value = str(draw(TIMES)), repr(draw(NUMBERS))
        is_ascii = draw(st.booleans())
        blank = draw(st.sampled_from(["", " ", "\n\t"]))
        quote = draw(st.sampled_from(["", '"']))
        parts = [
            f'"metric"{blank}:{json.dumps(metric, ensure_ascii=is_ascii)}',
            f'"timestamp":{blank}{quote}{time}{quote}',
            f'"value":{quote}{value}{quote}{blank}',
            f'"tags":{json.dumps(tags, ensure_ascii=is_ascii)}',
        ]
        order = draw(st.sampled_from(layouts))
        extra = draw(st.sampled_from(["", '"x":{"y":[1,null]},', '"value":null,']))
        text = f"{{{blank}{extra}{','.join(parts[at] for at in order)}}}"
        points.append((text, expected(metric, time, value, tags)))
    return points


@settings(deadline=None)
@given(points=json_points(), between=st.sampled_from([",", " ,\r\n"]))
def test_json_means_what_the_oracle_says(points, between):
    body = f"[{between.join(text for text, _ in points)}]".encode()
    batch = decode_opentsdb(body)
    assert batch.rejected == []
    assert repr(samples_of(batch)) == repr([meant for _, meant in points])
    alone = [samples_of(decode_opentsdb(text.encode()))[0] for text, _ in points]
    assert repr(samples_of(batch)) == repr(alone)


@settings(deadline=None)
@given(points=json_points())
def test_an_echo_means_the_same(points):
    body = f"[{','.join(text for text, _ in points)}]".encode()
    echoed = echo_opentsdb(body, list(range(1, len(points) + 1)))
    again = decode_opentsdb(f"[{','.join(echoed)}]".encode())
    assert repr(samples_of(again)) == repr([meant for _, meant in points])


WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9).filter(
    lambda text: not re.search(r"[ \t\r\n=]", text) and not text.startswith("__")
)


@settings(deadline=None)
@given(
    points=st.lists(
        st.tuples(
            WORDS,
            TIMES.map(str),
            NUMBERS.map(repr),
            st.dictionaries(WORDS, WORDS, min_size=1, max_size=4),
        ),
        max_size=6,
    ),
    end=st.sampled_from(["\n", "\r\n", " \n\n"]),
)
def test_lines_mean_what_the_oracle_says(points, end):
    text = "".join(
        f"put {metric} {time} {value} {' '.join(f'{k}={v}' for k, v in tags.items())}{end}"
        for metric, time, value, tags in points
    ).encode()
    assert opentsdb_lines_end(text + b"version\n", 0) == len(text)
    batch = decode_opentsdb_lines(text)
    assert batch.rejected == []
    assert repr(samples_of(batch)) == repr([expected(*point) for point in points])


def test_labels_that_are_forced_stand_over_tags():
    for batch in (
        decode_opentsdb(b'{"metric":"m","timestamp":1,"value":2,"tags":{"a":"b"}}'),
        decode_opentsdb_lines(b"put m 1 2 a=b\n"),
    ):
        assert samples_of(batch, forced=[("a", "c")]) == [("m", "", [("a", "c")], SECOND_NS, 2)]
