import json

import pytest

from orrery.model.selector import Matcher, Operator
from tests.protocols.prometheus.conftest import SERIES
from tests.protocols.prometheus.harness import FakeAccess, Harness

RECENT = (("start", "900"), ("end", "1000"))
NODE = {"__name__": "up", "job": "node"}
WEB = {"__name__": "up", "job": "web"}
HTTP = {"__name__": "http_total", "code": "200", "job": "web"}
OLD = {"__name__": "old", "job": "gone"}


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([("match[]", "up")], [NODE, WEB]),
        ([("match[]", "up"), ("match[]", '{job="web"}')], [NODE, WEB, HTTP]),
        ([("match[]", '{job!=""}'), *RECENT], [HTTP, NODE, WEB]),
        ([("match[]", "old")], [OLD]),
        ([("match[]", "old"), *RECENT], []),
        ([("match[]", "nothing")], []),
    ],
)
def test_series(served, arguments, wanted):
    assert served.data("/series", *arguments) == wanted


def test_series_by_post(served):
    response = served.respond("POST", "/api/v1/series", [("match[]", "up")], form=True)
    assert json.loads(response.body)["data"] == [NODE, WEB]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], ["__name__", "code", "host.name", "job"]),
        ([("match[]", "up")], ["__name__", "job"]),
        ([("match[]", "old"), *RECENT], []),
    ],
)
def test_label_names(served, arguments, wanted):
    assert served.data("/labels", *arguments) == wanted


@pytest.mark.parametrize(
    ("label", "arguments", "wanted"),
    [
        ("job", [], ["gone", "node", "web"]),
        ("job", [("match[]", "up")], ["node", "web"]),
        ("job", [("match[]", "old"), *RECENT], []),
        ("__name__", [], ["cpu_user", "http_total", "old", "up"]),
        ("U__host_2e_name", [], ["a"]),
        ("host.name", [], ["a"]),
        ("absent", [], []),
    ],
)
def test_label_values(served, label, arguments, wanted):
    assert served.data(f"/label/{label}/values", *arguments) == wanted


@pytest.mark.parametrize("path", ["/series", "/labels", "/label/job/values"])
def test_limits_cut_and_warn(served, path):
    asked = (("match[]", '{job!=""}'), ("limit", "1"))
    _, body = served.get(path, *asked)
    assert len(body["data"]) == 1
    assert body["warnings"] == ["results truncated due to limit"]
    _, body = served.get(path, ("match[]", '{job!=""}'), ("limit", "100"))
    assert "warnings" not in body


@pytest.mark.parametrize(
    ("path", "arguments", "error"),
    [
        ("/series", [], "no match[] parameter provided"),
        (
            "/series",
            [("match[]", "up{")],
            'invalid parameter "match[]": 1:4: parse error: unexpected end of input inside braces',
        ),
        (
            "/labels",
            [("start", "x")],
            "invalid parameter \"start\": invalid time value for 'start': "
            'cannot parse "x" to a valid timestamp',
        ),
        (
            "/label/job/values",
            [("limit", "x")],
            'invalid parameter "limit": strconv.Atoi: parsing "x": invalid syntax',
        ),
        ("/label/U__/values", [], 'invalid label name: ""'),
    ],
)
def test_bad_questions(served, path, arguments, error):
    assert served.get(path, *arguments) == (
        400,
        {"status": "error", "errorType": "bad_data", "error": error},
    )


def test_a_selector_must_not_match_everything(served):
    status, body = served.get("/series", ("match[]", '{job=~".*"}'))
    assert status == 400
    assert "must contain at least one non-empty matcher" in body["error"]


@pytest.mark.parametrize(
    ("path", "arguments", "wanted"),
    [
        ("/series", [("match[]", "up")], [WEB]),
        ("/labels", [], ["__name__", "code", "job"]),
        ("/label/__name__/values", [], ["http_total", "up"]),
        ("/label/job/values", [("match[]", "up")], ["web"]),
    ],
)
def test_forced_matchers_hold(path, arguments, wanted):
    forced = (Matcher("job", Operator.EQUAL, "web"),)
    harness = Harness(SERIES, access=FakeAccess(forced=forced))
    assert harness.data(path, *arguments) == wanted
    harness.close()
