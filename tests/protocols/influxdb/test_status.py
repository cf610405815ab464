"""What clients ask before they write."""

import json

import pytest

from orrery.protocols.influxdb.status import routes
from tests.protocols.writing import answer_to, request_for


@pytest.mark.parametrize("prefix", ["", "/influxdb"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping_names_who_answers(prefix, method):
    response = answer_to(routes(version="0.1.0"), request_for(method, prefix + "/ping"))
    assert (response.status, response.body) == (204, b"")
    assert dict(response.headers) == {
        "x-influxdb-build": "orrery",
        "x-influxdb-version": "1.8-orrery-0.1.0",
    }


@pytest.mark.parametrize(("query", "status"), [("verbose=true", 200), ("verbose=false", 204)])
def test_a_verbose_ping_has_a_body(query, status):
    response = answer_to(routes(version="0.1.0"), request_for("GET", "/ping", query=query))
    assert response.status == status
    if status == 200:
        assert json.loads(response.body) == {"version": "1.8-orrery-0.1.0"}


def test_health_passes():
    response = answer_to(routes(version="0.1.0"), request_for("GET", "/influxdb/health"))
    body = json.loads(response.body)
    assert (response.status, body["status"], body["name"]) == (200, "pass", "orrery")
