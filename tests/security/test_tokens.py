"""Tokens at every door of the assembled server: no route is forgotten, no secret is told."""

import base64
import itertools
import json
import logging
import stat
import time

import pytest

from orrery.app import open_engine, wires
from orrery.app.executors import Executors
from orrery.clock import SystemChance, SystemClock
from orrery.settings import Settings
from orrery.telemetry import Events, Telemetry
from tests.security.serving import asked

OPEN = {
    "/",
    "/-/healthy",
    "/-/ready",
    "/api/admin/v1/openapi.json",
    "/ping",
    "/influxdb/ping",
    "/health",
    "/influxdb/health",
    *(
        f"{prefix}/version{end}"
        for prefix in ("/api", "/api/v1", "/opentsdb/api", "/opentsdb/api/v1")
        for end in ("", "/")
    ),
}
"""What anybody may ask; it tells nothing of any tenant."""

DELETES = "/admin/tsdb/"
WRITES = (
    "/write",
    "/graphite/metrics",
    "/v1/metrics",
    "/put",
    "/put/",
    "/rollup",
    "/histogram",
    "/annotation",
    "/uid/assign",
)
WARP10 = {"update": "write", "meta": "write", "find": "read", "fetch": "read", "delete": "delete"}
WARP10_PREFIX = "/api/v0/"
numbers = itertools.count()


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    """(method, path) of all that the server serves."""
    settings = Settings(auth="token")
    clock = SystemClock()
    with_engine = open_engine(tmp_path_factory.mktemp("routes") / "data", settings=settings)
    executors = Executors(settings)
    events = Events(logging.getLogger("orrery"))
    try:
        found = wires.routes(
            with_engine, executors, settings, Telemetry(), events, clock, SystemChance()
        )
    finally:
        executors.close()
        with_engine.close()
    return [
        (
            method,
            route.path.replace("{name}", "job")
            .replace("{tenant}", "t")
            .replace("{token_id}", "0" * 24)
            .replace("{pin_id}", "1-1")
            .replace("{id}", "1"),
        )
        for route in found
        for method in sorted(route.methods)
    ]


def needed(path):
    if path.startswith("/api/admin/"):
        return "admin"
    if path.startswith(WARP10_PREFIX):
        return WARP10[path.removeprefix(WARP10_PREFIX)]
    if DELETES in path:
        return "delete"
    return "write" if path.endswith(WRITES) else "read"


def unknown(path):
    """The status for somebody whom nobody knows: Warp 10 has one for both refusals."""
    return 403 if path.startswith(WARP10_PREFIX) else 401


@pytest.fixture(scope="module")
def tokens(token_server):
    """For each permission, one that has it alone and one that has all others, of tenant ``*``."""
    every = ("read", "write", "delete", "admin")
    return {
        name: (
            token_server.token("*", name)["secret"],
            token_server.token("*", *(set(every) - {name}))["secret"],
        )
        for name in every
    }


def test_every_route_asks_for_its_permission(token_server, routes, tokens):
    assert len(routes) > 50
    with token_server.connected() as connection:

        def status(method, path, secret=None):
            headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
            return asked(connection, method, path, b"", headers).status

        for method, path in routes:
            if path in OPEN:
                assert status(method, path) < 300, path
                continue
            alone, others = tokens[needed(path)]
            assert status(method, path) == unknown(path), (method, path)
            assert status(method, path, "orr_" + "0" * 43) == unknown(path), (method, path)
            assert status(method, path, others) == 403, (method, path)
            assert status(method, path, alone) not in (401, 403), (method, path)


def test_a_stranger_is_refused_before_the_body_is_sent(token_server, routes):
    """What nobody may send must not be held in memory meanwhile."""
    for method, path in routes:
        if method not in ("POST", "PUT", "PATCH"):
            continue
        with token_server.connected() as connection:
            connection.putrequest(method, path)
            connection.putheader("Content-Length", "1000000")
            connection.putheader("Expect", "100-continue")
            connection.endheaders()
            assert connection.getresponse().status == unknown(path), path


@pytest.fixture
def client(token_server):
    """A token of a tenant of its own, and what carries it."""
    tenant = f"tokens-{next(numbers)}"
    made = token_server.token(tenant)
    return made, token_server.client(token=made["secret"])


def test_revoking_holds_on_a_connection_that_is_open(token_server, client):
    made, _ = client
    headers = {"Authorization": f"Bearer {made['secret']}"}
    with token_server.connected() as connection:
        assert asked(connection, "GET", "/api/v1/labels", None, headers).status == 200
        token_server.operate("DELETE", f"/api/admin/v1/tokens/{made['token']['id']}")
        answer = asked(connection, "GET", "/api/v1/labels", None, headers)
        assert answer.status == 401
        assert "www-authenticate" in answer.headers


def test_an_expired_token_is_unknown(token_server):
    secret = token_server.token("expiring", "read", expires_seconds=0.3)["secret"]
    client = token_server.client(token=secret)
    assert client.get("labels").status == 200
    deadline = time.monotonic() + 10
    while client.get("labels").status != 401:
        assert time.monotonic() < deadline


def carried(secret):
    basic = base64.b64encode(f"anyone:{secret}".encode()).decode()
    return {
        "bearer": ("/api/v1/labels", {"Authorization": f"Bearer {secret}"}),
        "basic": ("/api/v1/labels", {"Authorization": f"Basic {basic}"}),
        "token": ("/write", {"Authorization": f"Token {secret}"}),
        "user:token": ("/write", {"Authorization": f"Token me:{secret}"}),
        "u/p": (f"/write?u=me&p={secret}", {}),
        "u/p of 2.x": (f"/api/v2/write?bucket=b&u=me&p={secret}", {}),
    }


@pytest.mark.parametrize("way", list(carried("")))
def test_each_way_of_carrying_a_token(token_server, client, way):
    path, headers = carried(client[0]["secret"])[way]
    method = "GET" if path.startswith("/api/v1") else "POST"
    assert token_server.ask(method, path, b"m v=1", **headers).status in (200, 204)
    path, headers = carried("orr_" + "1" * 43)[way]
    assert token_server.ask(method, path, b"m v=1", **headers).status == 401


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer orr_",
        "Bearer \xff" + "x" * 50,
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"\xff\xfe").decode(),
        "Basic " + base64.b64encode(b"no-colon").decode(),
        "Token x",
        "Digest x",
        "Bearer ../../tenants/x",
        "Bearer orr_" + "../" * 14 + "a",
    ],
)
def test_what_is_no_token_is_unknown(token_server, value):
    for path in ("/api/v1/labels", "/api/admin/v1/tokens", "/metrics"):
        answer = token_server.ask("GET", path, Authorization=value.encode("latin-1"))
        assert answer.status == 401, (path, answer.body)
    assert (
        token_server.ask("POST", "/write", b"", Authorization=value.encode("latin-1")).status == 401
    )


def test_prometheus_reads_no_token_from_the_url(token_server, client):
    secret = client[0]["secret"]
    assert token_server.ask("GET", f"/api/v1/labels?u=x&p={secret}").status == 401


def test_secrets_are_shown_once_and_kept_as_hashes(token_server, client):
    secret = client[0]["secret"]
    listed = token_server.operate("GET", "/api/admin/v1/tokens").body
    assert client[0]["token"]["id"].encode() in listed
    assert secret.encode() not in listed
    for path in token_server.directory.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_no_log_line_holds_a_secret(token_server, client):
    """The log of a server at its most talkative, with secrets at each place that has some."""
    secret = client[0]["secret"]
    wrong = "orr_" + "WRONG" * 8 + "abc"
    for text in (secret, wrong):
        for path, headers in carried(text).values():
            token_server.ask("GET", path, **headers)
            token_server.ask("POST", path, b"m v=1", **headers)
        for name in ("p", "%70", "token", "password", "access_token"):
            token_server.ask("POST", f"/write?a=1&{name}={text}&b=2", b"bad line")
            token_server.ask("GET", f"/nowhere?{name}={text}")
        token_server.ask("POST", "/api/v1/query", f"query=up&p={text}".encode())
    log = token_server.log.read_text()
    assert "/nowhere" in log
    assert secret not in log
    assert wrong not in log


def test_a_line_break_in_a_url_starts_no_line(token_server):
    token_server.ask("GET", "/x%0Atime=forged%20level=error%20event=forged")
    assert "\ntime=forged" not in token_server.log.read_text()


def test_the_socket_and_the_audit_log_are_the_owners_alone(token_server):
    for name in ("admin.sock", "audit.log"):
        mode = stat.S_IMODE((token_server.directory / name).stat().st_mode)
        assert mode == 0o600, name


def test_every_admin_action_is_recorded(token_server):
    api = "/api/admin/v1"
    made = token_server.token("audited", "read", description="for the audit")
    admin = token_server.token("*", "admin")
    client = token_server.client(token=admin["secret"])
    client.ask("DELETE", f"{api}/tokens/{made['token']['id']}")
    client.ask("POST", f"{api}/tenants", json.dumps({"name": f"audited-{next(numbers)}"}))
    client.ask("PATCH", f"{api}/tenants/audited/limits", json.dumps({"active_series": 7}))
    client.ask("POST", f"{api}/compaction")
    text = (token_server.directory / "audit.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    mine = [line for line in lines if line["actor"] == f"token {admin['token']['id']}"]
    actions = [(line["action"], line["outcome"]) for line in mine]
    for action in ("token.revoke", "tenant.create", "tenant.limits", "compaction"):
        assert (action, "begun") in actions, action
        assert (action, "done") in actions, action
    assert made["secret"] not in text
    assert admin["secret"] not in text


# --- browsers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 204),
        ({}, 204),
    ],
)
def test_a_page_cannot_use_what_a_browser_remembers(token_server, headers, status):
    """A browser adds the basic credentials it was once given to a form of any page."""
    secret = token_server.token("browser", "delete", "write")["secret"]
    basic = base64.b64encode(f"me:{secret}".encode()).decode()
    for path, body in [
        ("/api/v1/admin/tsdb/delete_series", b"match[]=up"),
        ("/write", b"m v=1 1000"),
    ]:
        answer = token_server.ask(
            "POST",
            path,
            body,
            Authorization=f"Basic {basic}",
            Content_Type="application/x-www-form-urlencoded",
            **headers,
        )
        assert answer.status == status, answer.body


def test_a_page_of_the_server_itself_may(token_server):
    secret = token_server.token("browser", "write")["secret"]
    basic = base64.b64encode(f"me:{secret}".encode()).decode()
    answer = token_server.ask(
        "POST",
        "/write",
        b"m v=1 1000",
        Authorization=f"Basic {basic}",
        Origin=f"http://127.0.0.1:{token_server.port}",
    )
    assert answer.status == 204, answer.body


def test_what_no_browser_adds_by_itself_may_come_from_anywhere(token_server):
    secret = token_server.token("browser", "write")["secret"]
    client = token_server.client(token=secret)
    answer = client.ask("POST", "/write", b"m v=1 1000", Origin="https://elsewhere.example")
    assert answer.status == 204, answer.body


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "file://"},
        {"Origin": "http://localhost.evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
    ],
)
def test_an_open_server_serves_no_page_of_others(open_server, method, headers):
    if method in ("GET", "HEAD", "OPTIONS") and "Sec_Fetch_Site" in headers:
        pytest.skip("a link from another page may lead here, it changes nothing")
    for path in ("/api/v1/query", "/write", "/api/v1/admin/tsdb/delete_series", "/nowhere", "/"):
        body = b"query=up" if method in ("POST", "PUT") else None
        assert open_server.ask(method, path, body, **headers).status == 403


def test_warp10s_ways_of_carrying_a_token(token_server):
    secret = token_server.token("warp10", "write", "read")["secret"]
    header = {"X-Warp10-Token": secret}
    with token_server.connected() as connection:
        update = "/api/v0/update"
        assert asked(connection, "POST", update, b"// c{} 1", header).status == 200
        assert asked(connection, "POST", f"{update}?token={secret}", b"// c{} 1", {}).status == 200
        found = asked(connection, "GET", f"/api/v0/find?selector=c%7B%7D&token={secret}", None, {})
        assert (found.status, found.body) == (200, b"c{}\n")
        refused = asked(connection, "POST", update, b"// c{} 1", {"X-Warp10-Token": "orr_nobody"})
        assert refused.status == 403
        assert refused.body.startswith(b"Invalid token")
        deleted = asked(
            connection, "GET", "/api/v0/delete?deleteall&selector=c%7B%7D", None, header
        )
        assert deleted.status == 403
        assert asked(connection, "GET", f"/api/v1/labels?token={secret}", None, {}).status == 401


def test_forced_labels_hold_for_warp10(token_server):
    made = token_server.token("warp10-forced", "write", forced_labels={"team": "a"})
    reader = token_server.token("warp10-forced", "read")
    header = {"X-Warp10-Token": made["secret"]}
    with token_server.connected() as connection:
        body = b"// c{team=b}{unit=x} 1"
        assert asked(connection, "POST", "/api/v0/update", body, header).status == 200
        path = f"/api/v0/find?showattr&selector=~.*%7B%7D&token={reader['secret']}"
        assert asked(connection, "GET", path, None, {}).body == b"c{team=a}{unit=x}\n"
