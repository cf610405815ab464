import gzip
import json

import pytest

from orrery.errors import SERVER, Denied, Excess, Exhausted, Unavailable
from orrery.protocols.graphite import http
from orrery.tenancy.access import Unauthenticated
from tests.protocols.writing import (
    FakeAccept,
    FakeAccess,
    FakeCaller,
    answer_to,
    executor,
    parts,
    request_for,
)

SECOND_NS = 1_000_000_000


def ask(body, *, accept=None, access=None, headers=None):
    with executor() as pool:
        routes = http.routes(
            parts(access or FakeAccess(), accept or FakeAccept(), pool, size_bytes_max=10_000)
        )
        return answer_to(
            routes, request_for("POST", "/graphite/metrics", headers=headers, body=body)
        )


def test_lines_are_stored():
    accept, access = FakeAccept(), FakeAccess(FakeCaller("t1", (("site", "x"),)))
    answer = ask(b"a.b;host=h 1.5 1\nc nan 2\n", accept=accept, access=access)
    assert (answer.status, json.loads(answer.body)) == (200, {"stored": 1})
    assert accept.stored == [("t1", "a.b", "", [("host", "h"), ("site", "x")], SECOND_NS, 1.5)]
    assert access.asked == [("write", "graphite")]
    assert ("x-orrery-acknowledgement", "fsynced") in answer.headers


def test_a_compressed_body():
    accept = FakeAccept()
    answer = ask(gzip.compress(b"a 1 1\n"), accept=accept, headers={"content-encoding": "gzip"})
    assert (answer.status, len(accept.stored)) == (200, 1)


def test_bad_lines_are_named_and_the_good_ones_kept():
    accept = FakeAccept()
    answer = ask(b"a 1 1\nbad\nb;c 1 1\nd 1 1\n", accept=accept)
    assert answer.status == 400
    assert json.loads(answer.body) == {
        "error": "cannot store 2 of the lines: cannot read line 'bad': it has no value",
        "stored": 2,
        "rejected": [
            {"line": 2, "reason": "cannot read line 'bad': it has no value"},
            {"line": 3, "reason": "cannot use name 'b;c': \"c\" is no tag with a value"},
        ],
    }
    assert [row[1] for row in accept.stored] == ["a", "d"]


def test_a_token_before_a_name_belongs_into_a_header_here():
    accept = FakeAccept()
    answer = ask(b"orr_secret01@.a 1 1\n", accept=accept)
    assert answer.status == 400
    assert accept.stored == []
    assert b"a token may not stand before a name here" in answer.body
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"content-type": "application/json"}, b"application/json"),
        ({"content-type": "rt-metric-binary; x=y"}, b"rt-metric-binary"),
        ({"content-encoding": "br"}, b"'br'"),
    ],
)
def test_what_is_no_text_is_refused_by_name(headers, named):
    answer = ask(b"[]", headers=headers)
    assert answer.status == 415
    assert named in answer.body


def limited(scope):
    return Exhausted("cannot write", Excess("samples_per_second", scope, 1, 2, 3.0))


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (limited("tenant t1"), 429, ("retry-after", "3")),
        (limited(SERVER), 503, ("retry-after", "3")),
        (Unavailable("cannot write"), 503, ("retry-after", "1")),
    ],
)
def test_errors(error, status, header):
    answer = ask(b"a 1 1\n", accept=FakeAccept(error=error))
    assert answer.status == status
    assert header in answer.headers


@pytest.mark.parametrize(("error", "status"), [(Unauthenticated("who"), 401), (Denied("no"), 403)])
def test_callers(error, status):
    assert ask(b"a 1 1\n", access=FakeAccess(error)).status == status


def test_a_body_that_is_too_large():
    answer = ask(gzip.compress(b"\n" * 100_000), headers={"content-encoding": "gzip"})
    assert answer.status == 413
