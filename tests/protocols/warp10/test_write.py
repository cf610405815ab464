"""``/update`` and ``/meta``: what is kept, what is refused, and in which words."""

import gzip

import pytest

from tests.protocols.warp10.harness import NOW_US


def test_every_kind_comes_back_as_it_was_written(client):
    answer = client.update(
        "1// c{} 42", "=2// 1.5", "=3// T", "=4// F", "=5// 'a%20b%2C%C3%A9'", "=6// hex:00ff",
        "=7// b64:-_8", "=8// NaN", "=9// -Infinity", "=10// 1e300", "=11// -9223372036854775808",
    )  # fmt: skip
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["x-orrery-acknowledgement"] == "fsynced"
    assert client.fetch("c{}").lines == [
        "11// c{} -9223372036854775808", "=10// 1.0E300", "=9// -Infinity", "=8// NaN",
        "=7// b64:-_8", "=6// b64:AP8", "=5// 'a%20b%2C%C3%A9'", "=4// F", "=3// T", "=2// 1.5",
        "=1// 42",
    ]  # fmt: skip


def test_what_fetch_shows_can_be_written_again(client):
    client.update("1// a%20b{k=v%3D%2C%7B,m=%C3%A9} 1.0", "=2// 'x y'", "3// c{} b64:AA")
    shown = client.fetch("~.*{}").text
    client.delete("~.*{}", deleteall="")
    assert client.fetch("~.*{}").text == ""
    assert client.update(*shown.splitlines()).status == 200
    assert client.fetch("~.*{}").text == shown


def test_times_relative_to_now(client):
    client.update("// c{} 1", "T-5// c{} 2")
    client.update("T+1// d{} 3", **{"x-warp10-now": "100"})
    client.update("// e{} 4", **{"x-warp10-now": "-7"})
    client.update("// f{} 5", **{"x-warp10-now": "*"})
    assert client.fetch("~[cdef]{}").lines == [
        f"{NOW_US}// c{{}} 1", f"={NOW_US - 5}// 2", "101// d{} 3",
        f"{NOW_US - 7}// e{{}} 4", f"{NOW_US}// f{{}} 5",
    ]  # fmt: skip


@pytest.mark.parametrize("now", ["x", "", "1.5", "99999999999999999999"])
def test_a_time_that_is_none_is_refused(client, now):
    answer = client.update("// c{} 1", **{"x-warp10-now": now})
    assert (answer.status, answer.text) == (500, "Invalid base timestamp.\n")
    assert client.find("~.*{}").text == ""


@pytest.mark.parametrize(
    "headers",
    [{"content-type": "application/gzip"}, {"content-encoding": "gzip"},
     {"content-type": "application/gzip", "content-encoding": "gzip"}],
)  # fmt: skip
def test_bodies_may_be_compressed(client, headers):
    body = gzip.compress(b"1// c{} 1\n=2// 2\n")
    assert client.send("update", body, headers=headers).status == 200
    assert client.fetch("c{}").lines == ["2// c{} 2", "=1// 1"]


def test_an_unknown_encoding_is_refused(client):
    answer = client.send("update", b"1// c{} 1", headers={"content-encoding": "br"})
    assert answer.status == 415
    assert "'br'" in answer.text


def test_bad_lines_are_named_and_the_others_kept(client):
    answer = client.update("1// c{} 1", "2// c{} x", "=3// 3", "4// d{a} 4", "5// c{} 5")
    assert answer.status == 500
    assert answer.headers["x-warp10-error-line"] == "2"
    assert answer.headers["x-warp10-error-message"].startswith("Parse error at '2// c{} x'")
    assert answer.lines == [
        "Parse error at '2// c{} x' (Unable to parse value 'x')",
        "line 2: Parse error at '2// c{} x' (Unable to parse value 'x')",
        "line 3: Parse error at '=3// 3' (it continues line 2, which was refused)",
        "line 4: Parse error at '4// d{a} 4' ('a' is not of the form name=value)",
        "2 datapoints were stored",
    ]
    assert client.fetch("~.*{}").lines == ["5// c{} 5", "=1// 1"]


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("1/48.1:200/ c{} 1", "Invalid location."),
        ("1//1.5 c{} 1", "Invalid elevation."),
        ("1// c{} [1 2]", "multi-values ([...]) are not supported"),
        ("1// c{__db__=x} 1", 'label "__db__" is reserved, clients may not send it'),
    ],
)
def test_what_is_not_supported_is_named(client, line, cause):
    answer = client.update(line)
    assert answer.status == 500
    assert f"({cause})" in answer.text


def test_a_body_too_large_is_refused(client):
    answer = client.send(
        "update", gzip.compress(b"#" * 2**21), headers={"content-encoding": "gzip"}
    )
    assert answer.status == 413
    answer = client.send("meta", gzip.compress(b"#" * 2**21), headers={"content-encoding": "gzip"})
    assert answer.status == 413


def test_an_empty_body_is_no_error(client):
    assert client.update("", "# nothing").status == 200
    assert client.meta("").status == 200


def test_attributes_replace_what_was_said_before(client):
    client.update("1// c{a=1}{unit=%C2%B0C,z=2} 1", "2// d{}{x=y} 2")
    assert client.find("~.*{}", showattr="").lines == ["c{a=1}{unit=%C2%B0C,z=2}", "d{}{x=y}"]
    assert client.meta("c{a=1}{z=3}", "d{}{}").status == 200
    assert client.find("~.*{}", showattr="").lines == ["c{a=1}{z=3}", "d{}{}"]
    client.update("3// c{a=1}{} 1")
    assert client.find("c{}", showattr="").lines == ["c{a=1}{}"]


def test_bad_lines_of_metadata_are_named(client):
    client.update("1// c{} 1")
    answer = client.meta("c{}{a=1}", "c{}", "d{a=1}{a=2}", "e{__db__=1}{a=2}")
    assert answer.status == 400
    assert answer.lines == [
        "Invalid metadata c{} (it has no attributes)",
        "line 2: Invalid metadata c{} (it has no attributes)",
        'line 3: Invalid metadata d{a=1}{a=2} (attribute "a" has the name of a label)',
        "line 4: Parse error at 'e{__db__=1}{a=2}' (label \"__db__\" is reserved, clients may not "
        "send it)",
        "attributes of 1 series were stored",
    ]
    assert client.find("c{}", showattr="").lines == ["c{}{a=1}"]


def test_deltas_of_attributes_are_refused(client):
    for path in ("update", "meta"):
        answer = client.send(path, b"", headers={"x-warp10-attributes": "delta"})
        assert answer.status == 400
        assert "Delta update of attributes is disabled." in answer.text
