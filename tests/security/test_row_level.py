"""Forced labels and matchers of a token hold whatever the request says."""

import itertools
import json
import urllib.parse

import pytest

numbers = itertools.count()

FORCED_READS = [
    ("query", [("query", '{__name__=~".+"}')]),
    ("query", [("query", '{team=~".*",__name__=~".+"}')]),
    ("query", [("query", '{team="b",__name__=~".+"}')]),
    ("query", [("query", '{team!="a",__name__=~".+"}')]),
    ("query", [("query", '{team="",__name__=~".+"}')]),
    ("query", [("query", '{"team"="b","cpu"}')]),
    ("query", [("query", 'cpu or {team="b"} or mem')]),
    ("query", [("query", 'cpu{team="b"} or on() vector(1)')]),
    ("query", [("query", "sum by (team) (cpu)")]),
    ("query", [("query", 'count({__name__=~".+"}) by (team, __name__)')]),
    ("query", [("query", "last_over_time(cpu[1h:1m])")]),
    ("query", [("query", "cpu @ 1000")]),
    ("query", [("query", "max_over_time(cpu[10m] @ end())")]),
    ("query", [("query", "cpu[1h]")]),
    ("query", [("query", "absent_over_time(nothing[1h]) * on() group_right() cpu")]),
    ("query", [("query", 'label_replace(cpu, "copy", "$1", "team", "(.*)")')]),
    ("query", [("query", 'topk(10, {__name__=~"cpu|mem"})')]),
    ("query", [("query", 'count_values("value", {__name__=~"cpu|mem|only_b"})')]),
    ("series", [("match[]", '{__name__=~".+"}')]),
    ("series", [("match[]", 'cpu{team="a"}'), ("match[]", '{team="b"}')]),
    ("labels", []),
    ("labels", [("match[]", "only_b")]),
    ("labels", [("match[]", '{team="b"}'), ("match[]", "cpu")]),
    ("label/team/values", []),
    ("label/__name__/values", []),
    ("label/b_only/values", []),
    ("label/team/values", [("match[]", '{team=~".*",__name__=~".+"}')]),
    ("label/U__b_5f_only/values", []),
    ("status/tsdb", []),
    ("metadata", []),
    ("query_exemplars", [("query", "only_b"), ("start", "0"), ("end", "2000")]),
]
B_ALONE = (b'"b"', b"only_b", b"b_only", b"team=b")


@pytest.fixture(scope="module")
def team(token_server):
    """A tenant with data of two teams, and one who may see those of team a."""
    tenant = f"rows-{next(numbers)}"
    owner = token_server.client(
        token=token_server.token(tenant, "read", "write", "delete")["secret"]
    )
    fill(owner)
    matcher = {"label": "team", "operator": "=", "value": "a"}
    secret = token_server.token(tenant, "read", "delete", forced_matchers=[matcher])["secret"]
    return owner, token_server.client(token=secret)


def fill(owner):
    answer = owner.write_remote(
        {"__name__": "cpu", "team": "a"},
        {"__name__": "cpu", "team": "b"},
        {"__name__": "mem", "team": "b"},
        {"__name__": "bare"},
        {"__name__": "only_b", "team": "b", "b_only": "yes"},
    )
    assert answer.status == 204, answer.body


@pytest.mark.parametrize(("path", "pairs"), FORCED_READS)
def test_reads_pass_the_forced_matchers(team, path, pairs):
    _, restricted = team
    answer = restricted.get(path, *pairs, *([("time", "1000")] if path == "query" else []))
    assert answer.status == 200, answer.body
    for shown in B_ALONE:
        assert shown not in answer.body, answer.body
    assert b"bare" not in answer.body


@pytest.mark.parametrize(
    ("promql", "value"),
    [
        ('count({__name__=~".+"})', "1"),
        ("count(cpu)", "1"),
        ('count({team=~"a|b"})', "1"),
        ("scalar(count(mem)) or vector(0)", None),
    ],
)
def test_no_sum_tells_of_rows_beyond(team, promql, value):
    _, restricted = team
    answer = restricted.get("query", ("query", promql), ("time", "1000"))
    if value is not None:
        assert answer.data["result"][0]["value"][1] == value


def test_deletes_pass_the_forced_matchers(team):
    owner, restricted = team
    path = "/api/v1/admin/tsdb/delete_series"
    for match in ('{__name__=~".+"}', '{team="b"}', "mem", '{team=~".*",__name__=~".*b"}'):
        query = urllib.parse.urlencode({"match[]": match})
        assert restricted.ask("POST", f"{path}?{query}").status == 204
    left = {row["metric"]["__name__"] for row in owner.query('{__name__=~".+"}')}
    assert left == {"cpu", "mem", "bare", "only_b"}
    assert [row["metric"]["team"] for row in owner.query("cpu")] == ["b"]
    fill(owner)


def test_matchers_that_select_an_absent_label(token_server):
    tenant = f"rows-{next(numbers)}"
    owner = token_server.client(token=token_server.token(tenant)["secret"])
    fill(owner)
    matcher = {"label": "team", "operator": "!~", "value": "a|b"}
    secret = token_server.token(tenant, "read", forced_matchers=[matcher])["secret"]
    restricted = token_server.client(token=secret)
    assert restricted.get("label/__name__/values").data == ["bare"]
    assert [row["metric"]["__name__"] for row in restricted.query('{__name__=~".+"}')] == ["bare"]


# --- forced labels


@pytest.fixture
def forced(token_server):
    """(owner, one whose writes carry team=a)"""
    tenant = f"rows-{next(numbers)}"
    owner = token_server.client(token=token_server.token(tenant)["secret"])
    secret = token_server.token(tenant, "write", forced_labels={"team": "a"})["secret"]
    return owner, token_server.client(token=secret)


def teams(owner):
    return {row["metric"].get("team") for row in owner.query('{__name__=~".+"}')}


@pytest.mark.parametrize(
    "labels",
    [
        {"__name__": "x"},
        {"__name__": "x", "team": "b"},
        {"__name__": "x", "team": ""},
        {"__name__": "x", "Team": "b"},
        {"__name__": "x", "team ": "b"},
        {"__name__": "x", "te\x00am": "b"},
        {"__name__": 'x{team="b"}'},
    ],
)
def test_remote_write_gets_the_forced_labels(forced, labels):
    owner, restricted = forced
    restricted.write_remote(labels)
    assert teams(owner) <= {"a"}


@pytest.mark.parametrize(
    "line",
    [
        "x v=1 1000",
        "x,team=b v=1 1000",
        "x,team=b,team=c v=1 1000",
        "x,team=a,team=b v=1 1000",
        "x,te\\am=b v=1 1000",
        "x,team\\ =b v=1 1000",
        "x,__db__=b v=1 1000",
        "x,__name__=y v=1 1000",
        "x team=1 1000",
        'x team="b" 1000',
        "x,tea\\,m=b v=1 1000",
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        "/write?precision=s",
        "/write?precision=s&db=other&rp=b",
        "/write?precision=s&db=team&db=b",
        "/api/v2/write?precision=s&bucket=b/team&org=b",
        "/influxdb/write?precision=s&db=%00",
    ],
)
def test_lines_get_the_forced_labels(forced, line, path):
    owner, restricted = forced
    restricted.write_lines(line, path)
    assert teams(owner) <= {"a"}


def test_one_body_is_labelled_by_its_own_token(token_server):
    """What was looked up for one token must not answer for another."""
    tenant = f"rows-{next(numbers)}"
    owner = token_server.client(token=token_server.token(tenant)["secret"])
    writers = [owner] + [
        token_server.client(
            token=token_server.token(tenant, "write", forced_labels={"team": name})["secret"]
        )
        for name in ("a", "b")
    ]
    for writer in (*writers, *reversed(writers)):
        assert writer.write_lines("x v=1 1000").status == 204
        assert writer.write_remote({"__name__": "y"}).status == 204
    for name in ("x_v", "y"):
        found = [row["metric"].get("team") for row in owner.query(name)]
        assert sorted(found, key=str) == sorted([None, "a", "b"], key=str)


@pytest.mark.parametrize(
    "more",
    [
        {"forced_labels": {"__name__": "x"}},
        {"forced_labels": {"__db__": "x"}},
        {"forced_labels": {"": "x"}},
        {"forced_matchers": [{"label": "", "operator": "=", "value": "x"}]},
        {"forced_matchers": [{"label": "team", "operator": "=~", "value": "("}]},
        {"forced_matchers": [{"label": "team", "operator": "~", "value": "x"}]},
        {"permissions": ["read", "admin"], "forced_labels": {"team": "x"}},
        {"expires_seconds": 0},
        {"expires_seconds": -1},
        {"tenant": "a|b"},
        {"tenant": ".."},
        {"unknown": 1},
    ],
)
def test_tokens_that_would_not_hold_are_not_made(token_server, more):
    body = {"tenant": "rows", "permissions": ["read"], **more}
    answer = token_server.operate("POST", "/api/admin/v1/tokens", body)
    assert answer.status == 400, json.dumps(more)
