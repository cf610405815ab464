import json

import pytest

from orrery.errors import Denied
from orrery.model.selector import Matcher, Operator
from orrery.tenancy.access import Unauthenticated
from tests.protocols.prometheus.conftest import SERIES
from tests.protocols.prometheus.harness import FakeAccess, Harness

UP = {"__name__": "up", "job": "node"}
WEB = {"__name__": "up", "job": "web"}


def success(data, **more) -> dict:
    return {"status": "success", "data": data, **more}


@pytest.mark.parametrize(
    ("arguments", "data"),
    [
        (
            {"query": "up", "time": "1000"},
            {
                "resultType": "vector",
                "result": [
                    {"metric": UP, "value": [1000, "1"]},
                    {"metric": WEB, "value": [1000, "1"]},
                ],
            },
        ),
        (
            {"query": 'up{job="web"}', "time": "995.5"},
            {"resultType": "vector", "result": [{"metric": WEB, "value": [995.5, "0"]}]},
        ),
        (
            {"query": 'up{job="web"}[30s]', "time": "1000"},
            {
                "resultType": "matrix",
                "result": [{"metric": WEB, "values": [[990, "0"], [1000, "1"]]}],
            },
        ),
        ({"query": "1.5", "time": "7"}, {"resultType": "scalar", "result": [7, "1.5"]}),
        ({"query": "time()"}, {"resultType": "scalar", "result": [1000, "1000"]}),
        ({"query": '"text"', "time": "7.25"}, {"resultType": "string", "result": [7.25, "text"]}),
        ({"query": "old", "time": "1000"}, {"resultType": "vector", "result": []}),
        (
            {"query": "old", "time": "1000", "lookback_delta": "20m"},
            {
                "resultType": "vector",
                "result": [{"metric": {"__name__": "old", "job": "gone"}, "value": [1000, "1"]}],
            },
        ),
        (
            {"query": "cpu_user", "time": "1970-01-01T00:16:40Z"},
            {
                "resultType": "vector",
                "result": [
                    {
                        "metric": {"__name__": "cpu_user", "host.name": "a"},
                        "value": [1000, "0.5"],
                    }
                ],
            },
        ),
    ],
)
def test_instant_queries(served, arguments, data):
    assert served.get("/query", *arguments.items()) == (200, success(data))


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (
            {"query": 'up{job="web"}', "start": "980", "end": "1000", "step": "10"},
            [{"metric": WEB, "values": [[990, "0"], [1000, "1"]]}],
        ),
        (
            {"query": "rate(http_total[1m])", "start": "1000", "end": "1000", "step": "15s"},
            [{"metric": {"code": "200", "job": "web"}, "values": [[1000, "1.5"]]}],
        ),
        (
            {"query": "vector(2) + 0.5", "start": "0.5", "end": "1.5", "step": "0.5"},
            [{"metric": {}, "values": [[0.5, "2.5"], [1, "2.5"], [1.5, "2.5"]]}],
        ),
        ({"query": "nothing", "start": "0", "end": "10", "step": "1"}, []),
    ],
)
def test_range_queries(served, arguments, result):
    data = {"resultType": "matrix", "result": result}
    status, body = served.get("/query_range", *arguments.items())
    assert (status, body["data"]) == (200, data)


def test_a_form_and_both_prefixes_ask_the_same(served):
    asked = {"query": "up", "time": "1000"}
    responses = [
        served.respond("GET", "/api/v1/query", asked),
        served.respond("POST", "/api/v1/query", asked, form=True),
        served.respond("POST", "/prometheus/api/v1/query", asked, form=True),
    ]
    assert len({response.body for response in responses}) == 1
    assert json.loads(responses[0].body)["data"]["result"] != []


STEP_MESSAGE = (
    'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
    "Try a positive integer"
)
RANGE = {"query": "up", "start": "0", "end": "10", "step": "1"}


@pytest.mark.parametrize(
    ("path", "arguments", "status", "kind", "error"),
    [
        (
            "/query",
            {"query": "up{"},
            400,
            "bad_data",
            'invalid parameter "query": 1:4: parse error: unexpected end of input inside braces',
        ),
        (
            "/query",
            {},
            400,
            "bad_data",
            'invalid parameter "query": unknown position: '
            "parse error: no expression found in input",
        ),
        (
            "/query",
            {"query": "up", "time": "noon"},
            400,
            "bad_data",
            "invalid parameter \"time\": invalid time value for 'time': "
            'cannot parse "noon" to a valid timestamp',
        ),
        (
            "/query",
            {"query": "up", "timeout": "soon"},
            400,
            "bad_data",
            'invalid parameter "timeout": cannot parse "soon" to a valid duration',
        ),
        (
            "/query",
            {"query": "up", "lookback_delta": "far"},
            400,
            "bad_data",
            'error parsing lookback delta duration: cannot parse "far" to a valid duration',
        ),
        (
            "/query",
            {"query": "up", "limit": "-1"},
            400,
            "bad_data",
            'invalid parameter "limit": limit must be non-negative',
        ),
        (
            "/query",
            {"query": "up * on() up", "time": "1000"},
            422,
            "execution",
            "found duplicate series for the match group {} on the right hand-side of the "
            'operation: [{__name__="up", job="node"}, {__name__="up", job="web"}];'
            "many-to-many matching not allowed: matching labels must be unique on one side",
        ),
        (
            "/query_range",
            {**RANGE, "start": ""},
            400,
            "bad_data",
            'invalid parameter "start": cannot parse "" to a valid timestamp',
        ),
        (
            "/query_range",
            {**RANGE, "end": "-1"},
            400,
            "bad_data",
            'invalid parameter "end": end timestamp must not be before start time',
        ),
        ("/query_range", {**RANGE, "step": "0"}, 400, "bad_data", STEP_MESSAGE),
        ("/query_range", {**RANGE, "step": "-5"}, 400, "bad_data", STEP_MESSAGE),
        (
            "/query_range",
            {**RANGE, "step": ""},
            400,
            "bad_data",
            'invalid parameter "step": cannot parse "" to a valid duration',
        ),
        (
            "/query_range",
            {**RANGE, "end": "11001"},
            400,
            "bad_data",
            "exceeded maximum resolution of 11,000 points per timeseries. "
            "Try decreasing the query resolution (?step=XX)",
        ),
        (
            "/query_range",
            {**RANGE, "query": "up[5m]"},
            400,
            "bad_data",
            'invalid parameter "query": invalid expression type "range vector" for range query, '
            "must be Scalar or instant Vector",
        ),
    ],
)
def test_bad_questions(served, path, arguments, status, kind, error):
    assert served.get(path, *arguments.items()) == (
        status,
        {"status": "error", "errorType": kind, "error": error},
    )


def test_a_limit_cuts_and_warns(served):
    _, body = served.get("/query", ("query", "up"), ("limit", "1"))
    assert [row["metric"] for row in body["data"]["result"]] == [UP]
    assert body["warnings"] == ["results truncated due to limit"]
    _, body = served.get("/query", ("query", "up[1m]"), ("limit", "1"))
    assert [row["metric"] for row in body["data"]["result"]] == [UP]
    _, body = served.get("/query", ("query", "up"), ("limit", "2"))
    assert "warnings" not in body


def test_infos_of_the_language_come_along(served):
    _, body = served.get("/query", ("query", "rate(up[1m])"), ("time", "1000"))
    assert body["infos"] == [
        "PromQL info: metric might not be a counter, name does not end in "
        '_total/_sum/_count/_bucket: "up" (1:6)'
    ]


def test_statistics_tell_what_was_read(served):
    data = served.data("/query", ("query", "up"), ("time", "1000"), ("stats", "all"))
    assert data["stats"]["samples"]["totalQueryableSamples"] > 0
    assert set(data["stats"]["timings"]) == {
        "evalTotalTime",
        "resultSortTime",
        "queryPreparationTime",
        "innerEvalTime",
        "execQueueTime",
        "execTotalTime",
    }


def test_too_many_samples_name_the_limit():
    harness = Harness(SERIES, samples_max=1)
    status, body = harness.get("/query", ("query", "up"), ("time", "1000"))
    harness.close()
    assert (status, body["errorType"]) == (422, "execution")
    assert body["limit"]["value"] == 1


def test_a_client_that_leaves_is_told_it_was_canceled(served):
    served.respond("GET", "/api/v1/query", {"query": "up * up"})
    assert len(served.left) == 1
    served.left = Leaver()
    status, body = served.get("/query", ("query", "up * up"))
    assert status == 503
    assert body["errorType"] == "canceled"


class Leaver(list):
    """A client that is gone by the time it is asked."""

    def append(self, callback) -> None:
        callback()


@pytest.mark.parametrize(
    ("refusal", "status", "kind"),
    [
        (Unauthenticated("cannot serve the request: it carries no token"), 401, "unauthorized"),
        (Denied("cannot read: token x lacks the permission 'read'"), 403, "forbidden"),
    ],
)
def test_callers_without_a_right(refusal, status, kind):
    harness = Harness(SERIES, access=FakeAccess(refusal=refusal))
    for path in ("/query", "/labels", "/metadata", "/status/buildinfo", "/rules"):
        response = harness.respond("GET", "/api/v1" + path, {"query": "up"})
        assert response.status == status
        assert json.loads(response.body)["errorType"] == kind
        assert ("www-authenticate" in dict(response.headers)) == (status == 401)
    harness.close()


def test_forced_matchers_hold_in_queries():
    forced = (Matcher("job", Operator.EQUAL, "web"),)
    harness = Harness(SERIES, access=FakeAccess(forced=forced))
    asked = (("query", 'count({__name__=~".+"})'), ("time", "1000"))
    (row,) = harness.data("/query", *asked)["result"]
    harness.close()
    assert row["value"] == [1000, "2"]


def test_two_series_of_one_name_are_an_error_naming_the_way_out():
    series = {("a_b", "", ()): {1000: 1.0}, ("a", "b", ()): {1000: 2.0}}
    harness = Harness(series)
    status, body = harness.get("/query", ("query", "a_b"), ("time", "1000"))
    assert (status, body["errorType"]) == (422, "execution")
    assert body["error"].startswith("cannot tell two series apart: ")
    for matcher, value in (('__field__="b"', "2"), ('__field__=""', "1")):
        asked = (("query", f"a_b{{{matcher}}}"), ("time", "1000"))
        assert harness.data("/query", *asked)["result"][0]["value"] == [1000, value]
    harness.close()


def test_queries_are_laid_out(served):
    assert served.data("/format_query", ("query", "sum( up )by(job)")) == "sum by (job) (up)"
    status, body = served.get("/format_query", ("query", "sum("))
    assert (status, body["errorType"]) == (400, "bad_data")


def test_exemplars_are_none_and_the_question_is_checked(served):
    assert served.data("/query_exemplars", ("query", "up")) == []
    assert served.get("/query_exemplars", ("query", "up{"))[0] == 400
    _, body = served.get("/query_exemplars", ("query", "up"), ("start", "9"), ("end", "1"))
    assert body["error"].startswith("end timestamp must not be before")
