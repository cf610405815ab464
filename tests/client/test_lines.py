import numpy as np
import pytest

from orrery.client import lines, remote_write
from orrery.client.columns import Name, Points
from orrery.errors import Invalid


def points(values, *, name=Name("m", "", ()), times=None) -> Points:  # noqa: B008
    values = np.asarray(values)
    times_ns = np.arange(len(values)) if times is None else np.array(times)
    return Points((name,), np.array([0, len(values)]), times_ns.astype(np.int64), values)


def text_of(one: Points) -> str:
    return b"\n".join(body for body, _ in lines.bodies(one)).decode()


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([1.5, 1e300, 0.1], ["1.5", "1e+300", "0.1"]),
        (np.array([1, -2]), ["1i", "-2i"]),
        (np.array([2**64 - 1], np.uint64), ["18446744073709551615u"]),
        ([True, False], ["true", "false"]),
        (np.array(['say "hi" \\ bye', "two\nlines"], object),
         ['"say \\"hi\\" \\\\ bye"', '"two\nlines"']),
    ],
)  # fmt: skip
def test_every_kind_has_its_form(values, wanted):
    expected = [f"m value={text} {time}" for time, text in enumerate(wanted)]
    assert text_of(points(values)) == "\n".join(expected)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        (Name("cpu", "user", (("host", "a"),)), "cpu,host=a user="),
        (Name("a b,c=d", "", ()), "a\\ b\\,c=d value="),
        (Name("m", "f=1", (("k=y", "v, w"),)), "m,k\\=y=v\\,\\ w f\\=1="),
        (Name("m", "", (("k", "a\\b"),)), "m,k=a\\b value="),
        (Name("mé", "", ()), "mé value="),
    ],
)
def test_names_are_escaped(name, head):
    assert lines.line_head(name) == head


@pytest.mark.parametrize("text", ["two\nlines", "ends in\\", "#comment", ""])
def test_names_the_wire_cannot_carry_are_refused(text):
    with pytest.raises(Invalid, match="cannot write"):
        lines.line_head(Name(text, "", ()))


def test_bodies_are_bounded(monkeypatch):
    monkeypatch.setattr(lines, "REQUEST_BYTES_MAX", 30)
    bodies = list(lines.bodies(points(np.arange(5.0))))
    assert [count for _, count in bodies] == [3, 2]
    assert bodies[0][0] == b"m value=0.0 0\nm value=1.0 1\nm value=2.0 2"


def test_remote_write_needs_whole_milliseconds_and_no_field():
    with pytest.raises(Invalid, match="whole milliseconds"):
        remote_write.encode(points([np.nan], times=[1]))
    with pytest.raises(Invalid, match="to field 'f'"):
        remote_write.encode(points([np.nan], name=Name("m", "f", ())))


def test_remote_write_is_snappy_of_the_protobuf():
    import cramjam

    body = remote_write.encode(
        points([np.inf], name=Name("up", "", (("job", "x"),)), times=[-1_000_000])
    )
    plain = bytes(cramjam.snappy.decompress_raw(body))
    labels = b"\x0a\x0e\x0a\x08__name__\x12\x02up" + b"\x0a\x08\x0a\x03job\x12\x01x"
    sample = b"\x09\x00\x00\x00\x00\x00\x00\xf0\x7f\x10" + b"\xff" * 9 + b"\x01"
    series = labels + b"\x12" + bytes([len(sample)]) + sample
    assert plain == b"\x0a" + bytes([len(series)]) + series
