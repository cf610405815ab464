"""``/find``, ``/fetch`` and ``/delete`` over what was written."""

import json

import pytest

from tests.protocols.warp10.harness import NOW_NS, opened

SERIES = [
    "1// cpu.user{host=a,dc=x} 1",
    "1// cpu.user{host=b} 2",
    "1// mem{host=a} 3",
    "1// other{} 4",
]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("mem{}", ["mem{host=a}"]),
        ("=mem{}", ["mem{host=a}"]),
        ("m%65m{}", ["mem{host=a}"]),
        ("cpu.user{host=a}", ["cpu.user{dc=x,host=a}"]),
        ("~cpu.*{}", ["cpu.user{dc=x,host=a}", "cpu.user{host=b}"]),
        ("~.*{host~a|b}", ["cpu.user{dc=x,host=a}", "cpu.user{host=b}", "mem{host=a}"]),
        ("~.*{dc~.*}", ["cpu.user{dc=x,host=a}"]),
        ("~.*{dc=,host=b}", ["cpu.user{host=b}"]),
        ("~.*{host=~a}", []),
        ("mem{} other{} mem{}", ["mem{host=a}", "other{}"]),
        ("nothing{}", []),
        ("~cpu{}", []),
    ],
)
def test_selectors(client, selector, expected):
    client.update(*SERIES)
    assert client.find(selector).lines == expected


def test_finding_as_json_and_in_parts(client):
    client.update(*SERIES)
    client.meta("mem{host=a}{unit=%22B%22}")
    found = client.find("~.*{}", format="json")
    assert found.content_type == "application/json"
    assert found.json[2] == {"c": "mem", "l": {"host": "a"}, "a": {"unit": '"B"'}, "la": 0}
    assert len(found.json) == 4
    assert client.find("none{}", format="json").json == []
    assert client.find("~.*{}", gskip=1, gcount=2).lines == ["cpu.user{host=b}", "mem{host=a}"]
    assert client.find("~.*{}", limit=1).lines == ["cpu.user{dc=x,host=a}"]


WRITTEN = ["1// c{a=%C3%A9}{u=%2F} 1", "=2// 1", "=3// 1", "=4// 'x\"y'", "=5// T", "1// d{} 2.5"]
FORMATS = {
    "text": "5// c{a=%C3%A9} T\n=4// 'x%22y'\n=3// 1\n=2// 1\n=1// 1\n1// d{} 2.5\n",
    "fulltext": "5// c{a=%C3%A9} T\n4// c{a=%C3%A9} 'x%22y'\n3// c{a=%C3%A9} 1\n2// c{a=%C3%A9} 1\n"
    "1// c{a=%C3%A9} 1\n1// d{} 2.5\n",
    "tsv": "# c{a=%C3%A9}{u=%2F}\n"
    "5\t\t\t\tT\n4\t\t\t\t'x%22y'\n3\t\t\t\t1\n2\t\t\t\t1\n1\t\t\t\t1\n"
    "# d{}{}\n1\t\t\t\t2.5\n",
    "fulltsv": "c\ta=%C3%A9\tu=%2F\t5\t\t\t\tT\nc\ta=%C3%A9\tu=%2F\t4\t\t\t\t'x%22y'\n"
    "c\ta=%C3%A9\tu=%2F\t3\t\t\t\t1\nc\ta=%C3%A9\tu=%2F\t2\t\t\t\t1\n"
    "c\ta=%C3%A9\tu=%2F\t1\t\t\t\t1\nd\t\t\t1\t\t\t\t2.5\n",
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(client, name):
    client.update(*WRITTEN)
    answer = client.fetch("~.*{}", format=name)
    assert (answer.status, answer.text) == (200, FORMATS[name])
    assert answer.content_type.startswith("text/plain")


def test_json(client):
    client.update(*WRITTEN, "6// c{a=%C3%A9} hex:41e9")
    answer = client.fetch("~.*{}", format="json")
    assert answer.content_type == "application/json"
    first, second = answer.json
    assert first.pop("i").isdigit()
    assert first == {
        "c": "c", "l": {"a": "é"}, "a": {"u": "/"}, "la": 0,
        "v": [[6, "Aé"], [5, True], [4, 'x"y'], [3, 1], [2, 1], [1, 1]],
    }  # fmt: skip
    assert second["v"] == [[1, 2.5]]
    assert client.fetch("none{}", format="json").json == []


def test_attributes_are_shown_where_asked_for(client):
    client.update(*WRITTEN)
    shown = client.fetch("~.*{}", showattr="true", count=1).lines
    assert shown[0] == "5// c{a=%C3%A9}{u=%2F} T"
    assert shown[-1] == "1// d{}{} 2.5"


def test_repetitions_are_left_out_but_for_the_oldest(client):
    client.update("1// c{} 1", "=2// 1", "=3// 1", "=4// 2", "=5// 1", "=6// 1")
    client.update("1// d{} 'x'", "=2// 'x'", "=3// 1", "=4// 1.0")
    assert client.fetch("~.*{}", dedup="true").lines == [
        "6// c{} 1", "=4// 2", "=3// 1", "=1// 1", "4// d{} 1.0", "=3// 1", "=2// 'x'", "=1// 'x'",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "times"),
    [
        ({"now": 5, "timespan": 2}, [5, 4]),
        ({"end": 5, "timespan": 1}, [5]),
        ({"stop": 5, "start": 3}, [5, 4, 3]),
        ({"end": 3, "start": 5}, [5, 4, 3]),
        ({"now": "now", "timespan": -3}, [9, 8, 7]),
        ({"now": "now", "count": 2}, [9, 8]),
        ({"now": "now", "count": 2, "skip": 3}, [6, 5]),
        ({"now": "now", "count": 0}, []),
        ({"end": 8, "start": 4, "count": 2}, [8, 7]),
        ({"end": 8, "timespan": 3, "count": 5}, [8, 7, 6]),
        ({"end": "1970-01-01T00:00:00.000004Z", "start": "1970-01-01T00:00:00.000002Z"}, [4, 3, 2]),
        ({"end": "1970-01-01T00:00:00.000004", "timespan": "PT0.000002S"}, [4, 3]),
        ({"end": "1970-01-01T01:00:00.000004+01:00", "timespan": 1}, [4]),
        ({"end": 2**63 - 1, "timespan": 2**63 - 1}, list(range(9, 0, -1))),
    ],
)
def test_spans_and_counts(client, asked, times):
    client.update("1// c{} 1", *(f"={at}// {at}" for at in range(2, 10)))
    answer = client.fetch("c{}", format="json", **asked)
    assert answer.status == 200, answer.text
    assert [at for series in answer.json for at, _ in series["v"]] == times


@pytest.mark.parametrize(
    ("path", "arguments", "cause"),
    [
        ("fetch", {"selector": "c{}"}, "Missing now/timespan or start/stop parameters."),
        ("fetch", {"selector": "c{}", "now": "now"}, "Missing now/timespan or start/stop"),
        ("fetch", {"now": "now", "count": 1}, "Missing 'selector' parameter."),
        ("fetch", {"selector": "c", "now": "now", "count": 1}, "cannot read selector 'c'"),
        ("fetch", {"selector": "c{a}", "now": "now", "count": 1}, "label selector 'a'"),
        ("fetch", {"selector": "~({}", "now": "now", "count": 1}, "unclosed group"),
        ("fetch", {"selector": "c{}", "now": "x", "count": 1}, "'now'"),
        ("fetch", {"selector": "c{}", "now": "1", "count": "x"}, "'count'"),
        ("fetch", {"selector": "c{}", "now": "1", "timespan": "P1M"}, "no duration"),
        (
            "fetch",
            {"selector": "c{}", "now": "1", "end": "1"},
            "Cannot specify both 'end' and 'now'.",
        ),
        ("fetch", {"selector": "c{}", "now": 1, "count": 1, "format": "pack"}, "Format 'pack'"),
        (
            "fetch",
            {"selector": "c{}", "now": 1, "count": 1, "sample": 1},
            "'sample' is not supported",
        ),
        (
            "fetch",
            {"selector": "c{}", "now": 1, "count": 1, "nonsense": 1},
            "'nonsense' is not known",
        ),
        ("find", {"selector": "c{}", "activeafter": 1}, "'activeafter' is not supported"),
        ("find", {"selector": "c{}", "format": "tsv"}, "Format 'tsv'"),
        ("delete", {"selector": "c{}"}, "Parameter deleteall should be set"),
        ("delete", {"selector": "c{}", "start": 1}, "Both start and end should be defined."),
        ("delete", {"selector": "c{}", "start": 2, "end": 1}, "Invalid time range"),
        ("delete", {"selector": "c{}", "deleteall": "", "minage": 1}, "'minage' is not supported"),
    ],
)
def test_wrong_questions_are_named(client, path, arguments, cause):
    answer = client.send(path, method="GET", **arguments)
    assert answer.status == 400
    assert cause in answer.text
    assert "x-warp10-error-message" in answer.headers


def test_fields_are_part_of_the_class(client):
    client.update("1// cpu.idle{host=b} 1", "1// disk{} 0")
    write_fields(client)
    assert client.find("cpu.user{}").lines == ["cpu.user{host=a}"]
    assert client.find("cpu.idle{}").lines == ["cpu.idle{host=a}", "cpu.idle{host=b}"] or (
        sorted(client.find("cpu.idle{}").lines) == ["cpu.idle{host=a}", "cpu.idle{host=b}"]
    )
    assert sorted(client.find("~cpu.*{}").lines) == [
        "cpu.idle{host=a}", "cpu.idle{host=b}", "cpu.user{host=a}",
    ]  # fmt: skip
    assert client.find("~.*r{}").lines == ["cpu.user{host=a}"]
    assert client.fetch("cpu.user{}").lines == ["7// cpu.user{host=a} 5"]


def test_two_series_that_look_the_same_are_an_error(client):
    client.update("1// cpu.user{host=a} 1")
    write_fields(client)
    answer = client.fetch("cpu.user{host=a}")
    assert answer.status == 400
    assert "cannot tell two series apart" in answer.text
    assert client.fetch("cpu.user{host=a,__field__=user}").lines == ["7// cpu.user{host=a} 5"]
    assert client.fetch("cpu.user{host=a,__field__=}").lines == ["1// cpu.user{host=a} 1"]


def write_fields(client):
    from orrery.kernels.line_protocol import decode_line_protocol

    batch = decode_line_protocol(b"cpu,host=a user=5i,idle=6i 7", precision_ns=1000, now_ns=0)
    client.engine.accept.write(client.tenant, batch).result(30)


def test_deletes(client):
    client.update("1// c{a=1} 1", "=2// 2", "=3// 3", "1// c{a=2} 4", "1// d{} 5")
    client.meta("c{a=1}{x=y}")
    dry = client.delete("c{}", deleteall="", dryrun="")
    assert dry.body == b"c{a=1}{x=y}\r\nc{a=2}{}\r\n"
    assert len(client.fetch("~.*{}").lines) == 5
    answer = client.delete("c{a=1}", start=2, end=2)
    assert (answer.status, answer.body) == (200, b"c{a=1}{x=y}\r\n")
    assert answer.headers["x-orrery-receipts"].isdigit()
    assert client.fetch("c{a=1}").lines == ["3// c{a=1} 3", "=1// 1"]
    assert client.find("c{a=1}", showattr="").lines == ["c{a=1}{x=y}"]
    client.delete("~c{}", deleteall="")
    assert client.fetch("~.*{}").lines == ["1// d{} 5"]
    client.update("9// c{a=1} 9")
    assert client.find("~.*{}", showattr="").lines == ["c{a=1}{}", "d{}{}"]


def test_deletes_by_an_expression_take_fields_too(client):
    client.update("1// cpu.other{} 1", "1// mem{} 2")
    write_fields(client)
    answer = client.delete("~cpu.*r{}", deleteall="")
    assert sorted(answer.lines) == ["cpu.other{}{}", "cpu.user{host=a}{}"]
    assert client.find("~.*{}").lines == ["mem{}", "cpu.idle{host=a}"]


def test_attributes_are_not_selected_by(client):
    client.update("1// c{a=1}{x=y} 1")
    for answer in (
        client.find("c{x=y}"),
        client.fetch("c{x=y}"),
        client.delete("c{x=y}", deleteall=""),
    ):
        assert answer.status == 400
        assert "cannot select by attribute 'x'" in answer.text


def test_long_series_come_in_chunks_and_in_order(client):
    lines = ["0// c{} 0", *(f"={at}// {at}" for at in range(1, 90_000))]
    for first in range(0, len(lines), 45_000):
        head = [] if first == 0 else [f"{first}// c{{}} {first}"]
        assert client.update(*head, *lines[first + len(head) : first + 45_000]).status == 200
    client.engine.store.flush()
    client.update("90000// c{} 90000", "5// c{} -5")
    answer = client.fetch("c{}", format="json")
    assert answer.status == 200
    assert answer.json[0]["v"] == [[at, -5 if at == 5 else at] for at in range(90_000, -1, -1)]
    assert client.fetch("c{}", now="now", count=2, skip=80_000).lines == [
        "10000// c{} 10000",
        "=9999// 9999",
    ]
    assert client.fetch("c{}", now="now", count=1).lines == ["90000// c{} 90000"]


def test_attributes_survive_restarts_and_flushes(tmp_path):
    with opened(tmp_path) as client:
        client.update("1// c{}{a=1} 1", "1// d{}{b=2} 1", "1// e{} 1")
        client.engine.store.flush()
        client.meta("c{}{a=3}", "e{}{f=4}", "d{}{}")
    for _ in range(2):
        with opened(tmp_path) as client:
            assert client.find("~.*{}", showattr="").lines == ["c{}{a=3}", "d{}{}", "e{}{f=4}"]
            client.engine.store.flush()
            client.engine.store.compact()


@pytest.mark.parametrize(("unit_ns", "scale"), [(1_000_000, 1000), (1, 1_000_000_000)])
def test_other_units_of_time(tmp_path, unit_ns, scale):
    with opened(tmp_path, unit_ns=unit_ns) as client:
        client.update(f"{1_600_000_000 * scale}// c{{}} 1", "// c{} 2")
        now = NOW_NS // unit_ns
        assert client.fetch("c{}", end="now", timespan="P2000D").lines == [
            f"{now}// c{{}} 2", f"={1_600_000_000 * scale}// 1",
        ]  # fmt: skip
        answer = client.fetch("c{}", end="2020-09-13T12:26:40Z", timespan=1, format="json")
        assert json.loads(answer.body)[0]["v"] == [[1_600_000_000 * scale, 1]]


def test_locations_and_elevations_come_back(client):
    client.update("1/0:-180/12 c{} 1", "=2//-7 'x'", "=3/45:90/ 3", "=4// 4")
    assert client.fetch("c{}").lines == [
        "4// c{} 4", "=3/45.0:90.0/ 3", "=2//-7 'x'", "=1/0.0:-180.0/12 1",
    ]  # fmt: skip
    assert client.fetch("c{}", format="tsv").lines[1:] == [
        "4\t\t\t\t4", "3\t45.0\t90.0\t\t3", "2\t\t\t-7\t'x'", "1\t0.0\t-180.0\t12\t1",
    ]  # fmt: skip
    client.engine.store.flush()
    [series] = client.fetch("c{}", format="json").json
    assert series["v"] == [[4, 4], [3, 45.0, 90.0, 3], [2, -7, "x"], [1, 0.0, -180.0, 12, 1]]


def test_what_was_taken_elsewhere_is_no_repetition(client):
    client.update("1/0:0/ c{} 1", "=2/0:0/ 1", "=3/0:0/ 1", "=4/0:1/ 1", "=5// 1")
    times = [line.lstrip("=")[0] for line in client.fetch("c{}", dedup="true").lines]
    assert times == ["5", "4", "3", "1"]
