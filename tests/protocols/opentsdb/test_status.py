"""What OpenTSDB's writers ask besides, and what must not look as if it had been done."""

import json

import pytest

from orrery.errors import Denied
from orrery.protocols.opentsdb.status import routes
from tests.protocols.writing import FakeAccept, FakeAccess, answer_to, parts, request_for


def mounted(access=None):
    given = parts(access or FakeAccess(), FakeAccept(), None, size_bytes_max=1)
    return routes(given, version="9")


@pytest.mark.parametrize("path", ["/api/version", "/api/v1/version/", "/opentsdb/api/version"])
def test_the_version_says_what_is_imitated_and_who_answers(path):
    response = answer_to(mounted(), request_for("GET", path))
    assert response.status == 200
    assert json.loads(response.body) == {"version": "2.4.1-orrery-9", "repo": "orrery"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/rollup"),
        ("POST", "/api/v1/histogram"),
        ("POST", "/api/annotation"),
        ("GET", "/api/uid/assign"),
        ("POST", "/opentsdb/api/uid/assign"),
    ],
)
def test_what_is_not_served_says_so(method, path):
    response = answer_to(mounted(), request_for(method, path))
    told = json.loads(response.body)["error"]
    assert (response.status, told["code"]) == (501, 501)
    assert told["message"].startswith("cannot serve /api/")
    assert told["details"]
    stranger = answer_to(mounted(FakeAccess(Denied("no"))), request_for(method, path))
    assert stranger.status == 403
