import json

import pytest

from orrery.model.selector import Matcher, Operator
from orrery.protocols.prometheus.arguments import TIME_MAX_NS, TIME_MIN_NS
from orrery.tenancy.tokens import Permission
from tests.protocols.prometheus.conftest import SERIES
from tests.protocols.prometheus.harness import FakeAccess, Harness

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/rules", {"groups": []}),
        ("/alerts", {"alerts": []}),
        ("/alertmanagers", {"activeAlertmanagers": [], "droppedAlertmanagers": []}),
        ("/targets", {"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}}),
        ("/targets/metadata", []),
        ("/scrape_pools", {"scrapePools": []}),
        ("/status/config", {"yaml": ""}),
        ("/status/flags", {}),
    ],
)
def test_what_orrery_has_none_of(served, path, wanted):
    assert served.data(path) == wanted


def test_the_version_is_the_level_of_the_api_and_our_own(served):
    assert served.data("/status/buildinfo")["version"] == "3.5.0+orrery.0.1.0"


def test_runtime_information(served):
    assert served.data("/status/runtimeinfo") == {
        "startTime": "1970-01-01T00:15:00.000000000Z",
        "serverTime": "1970-01-01T00:16:40.000000000Z",
        "reloadConfigSuccess": True,
        "lastConfigTime": "1970-01-01T00:15:00.000000000Z",
        "corruptionCount": 0,
        "storageRetention": "0s",
    }


def test_statistics_count_series_of_the_last_hour(served):
    data = served.data("/status/tsdb", ("limit", "2"))
    assert data["headStats"]["numSeries"] == 5
    assert data["seriesCountByMetricName"] == [
        {"name": "up", "value": 2},
        {"name": "cpu_user", "value": 1},
    ]
    assert data["labelValueCountByLabelName"] == [
        {"name": "__name__", "value": 4},
        {"name": "job", "value": 3},
    ]
    assert data["seriesCountByLabelValuePair"][0] == {"name": "__name__=up", "value": 2}


UP = {"type": "gauge", "help": "is it up", "unit": ""}
HTTP = {"type": "counter", "help": "requests", "unit": ""}


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], {"up": [UP], "http_total": [HTTP]}),
        ([("metric", "up")], {"up": [UP]}),
        ([("metric", "down")], {}),
        ([("limit", "1")], {"up": [UP]}),
        ([("limit_per_metric", "1")], {"up": [UP], "http_total": [HTTP]}),
    ],
)
def test_metadata(served, arguments, wanted):
    assert served.data("/metadata", *arguments) == wanted


def test_metadata_of_series_a_caller_may_not_see_is_hidden():
    forced = (Matcher("job", Operator.EQUAL, "node"),)
    harness = Harness(SERIES, access=FakeAccess(forced=forced))
    assert harness.data("/metadata") == {"up": [UP]}
    harness.close()


DELETE = "/api/v1/admin/tsdb/delete_series"
JOB = Matcher("job", Operator.EQUAL, "web")
NAME = Matcher("__name__", Operator.EQUAL, "up")


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_series_are_deleted_by_selector_and_time(served, method):
    arguments = [("match[]", "up"), ("match[]", '{job="web"}'), ("start", "5")]
    response = served.respond(method, DELETE, arguments)
    assert (response.status, response.body) == (204, b"")
    assert served.deleted == [
        ("acme", (NAME,), 5 * SECOND, TIME_MAX_NS),
        ("acme", (JOB,), 5 * SECOND, TIME_MAX_NS),
    ]
    assert served.access.asked == [(Permission.DELETE, "prometheus")]


def test_a_delete_is_answered_with_its_receipts(served):
    arguments = [("match[]", "up"), ("match[]", '{job="web"}')]
    response = served.respond("POST", DELETE, arguments)
    assert dict(response.headers)["x-orrery-receipts"] == "1,2"
    response = served.respond("POST", DELETE, [*arguments, ("receipt", "true")])
    assert response.status == 200
    first, second = json.loads(response.body)["data"]
    assert (first["id"], first["matchers"]) == (3, [["__name__", "=", "up"]])
    assert (second["id"], second["samples"], second["is_exact"]) == (4, 3, True)


def test_receipts_are_listed_and_shown(served):
    served.respond("POST", DELETE, [("match[]", "up")])
    status, answer = served.get("/admin/tsdb/receipts")
    assert (status, [one["id"] for one in answer["data"]]) == (200, [1])
    status, answer = served.get("/admin/tsdb/receipts/1")
    assert (status, answer["data"]["tenant"]) == (200, "acme")
    assert answer["data"]["held"] == {"blocks": 1, "block_bytes": 2, "files": 3, "log_bytes": 4}
    assert "backups" in answer["data"]["not_covered"]
    assert served.access.asked[-1] == (Permission.DELETE, "prometheus")


@pytest.mark.parametrize("receipt_id", ["2", "x", "-1", "9" * 40])
def test_a_receipt_that_is_not_there_is_not_found(served, receipt_id):
    served.respond("POST", DELETE, [("match[]", "up")])
    assert served.get(f"/admin/tsdb/receipts/{receipt_id}")[0] == 404


def test_who_sees_a_part_sees_the_receipts_of_that_part_only():
    harness = Harness(SERIES, access=FakeAccess(forced=(JOB,)))
    harness.respond("POST", DELETE, [("match[]", "up")])
    harness.access.forced = ()
    harness.respond("POST", DELETE, [("match[]", "up")])
    harness.access.forced = (JOB,)
    assert [one["id"] for one in harness.get("/admin/tsdb/receipts")[1]["data"]] == [1]
    assert harness.get("/admin/tsdb/receipts/2")[0] == 404
    harness.close()


def test_nobody_deletes_what_they_may_not_see():
    harness = Harness(SERIES, access=FakeAccess(forced=(JOB,)))
    harness.respond("POST", DELETE, [("match[]", "up")])
    assert harness.deleted == [("acme", (NAME, JOB), TIME_MIN_NS, TIME_MAX_NS)]
    harness.close()


@pytest.mark.parametrize("arguments", [[], [("match[]", "up{")], [("match[]", "up"), ("end", "x")]])
def test_a_bad_delete_deletes_nothing(served, arguments):
    assert served.respond("POST", DELETE, arguments).status == 400
    assert served.deleted == []
