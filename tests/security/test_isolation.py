"""No tenant sees, names or deletes what is another's, whatever the request is made of."""

import json
import subprocess
import urllib.parse

import pytest

from tests.security.serving import ORRERY, Server

READS = [
    ("query", [("query", '{__name__=~".+"}'), ("time", "1000")]),
    ("query", [("query", 'count({__name__=~".*secret.*"})'), ("time", "1000")]),
    ("query", [("query", "label_replace(secret, 'x', '$1', 'owner', '(.*)')"), ("time", "1000")]),
    ("query", [("query", "secret or vector(0)"), ("time", "1000")]),
    ("query", [("query", "secret[1h] @ 1000"), ("time", "1000")]),
    ("query", [("query", 'max_over_time({owner!=""}[1h:1m])'), ("time", "1000")]),
    ("query", [("query", '{__tenant__=~".+"}'), ("time", "1000")]),
    (
        "query_range",
        [("query", '{owner="a"}'), ("start", "900"), ("end", "1100"), ("step", "10")],
    ),
    ("series", [("match[]", '{__name__=~".+"}')]),
    ("series", [("match[]", "secret"), ("match[]", '{owner="a"}')]),
    ("labels", []),
    ("labels", [("match[]", "secret")]),
    ("label/__name__/values", []),
    ("label/owner/values", []),
    ("label/owner/values", [("match[]", '{__name__=~".+"}')]),
    ("label/__tenant__/values", []),
    ("metadata", []),
    ("metadata", [("metric", "secret")]),
    ("status/tsdb", []),
    ("status/config", []),
    ("status/flags", []),
    ("status/runtimeinfo", []),
    ("query_exemplars", [("query", "secret"), ("start", "0"), ("end", "2000")]),
    ("targets", []),
    ("rules", []),
]


def write_secrets(client):
    answer = client.write_remote({"__name__": "secret", "owner": "a"})
    assert answer.status == 204, answer.body
    assert client.write_lines("secret_lines,owner=a v=1 1000").status == 204


@pytest.fixture(scope="module", params=["none", "token"])
def strangers(request, open_server, token_server):
    """The owner of the secrets, and one who is after them."""
    if request.param == "none":
        owner, stranger = open_server.client("owner-a"), open_server.client("stranger")
    else:
        secrets = [
            token_server.token(name, "read", "write", "delete")["secret"]
            for name in ("owner-a", "stranger")
        ]
        owner, stranger = (token_server.client(token=secret) for secret in secrets)
    write_secrets(owner)
    return owner, stranger


@pytest.mark.parametrize(("path", "pairs"), READS)
def test_a_stranger_reads_nothing(strangers, path, pairs):
    _, stranger = strangers
    answer = stranger.get(path, *pairs)
    assert answer.status == 200, answer.body
    asked = urllib.parse.urlencode(pairs)
    assert b"secret" not in answer.body, asked
    assert b"owner" not in answer.body, asked


def test_the_owner_reads_the_same(strangers):
    owner, _ = strangers
    assert len(owner.query('{__name__=~"secret.*"}')) == 2
    assert owner.get("label/owner/values").data == ["a"]


def test_a_stranger_deletes_nothing(strangers):
    owner, stranger = strangers
    for method, path in [
        ("POST", "/api/v1/admin/tsdb/delete_series"),
        ("PUT", "/prometheus/api/v1/admin/tsdb/delete_series"),
    ]:
        for match in ('{__name__=~".+"}', "secret", '{owner=~"a|b"}'):
            query = urllib.parse.urlencode({"match[]": match})
            answer = stranger.ask(method, f"{path}?{query}")
            assert answer.status == 204, answer.body
    assert len(owner.query('{__name__=~"secret.*"}')) == 2


@pytest.mark.parametrize(
    "named",
    [
        "owner-a|stranger",
        "stranger|owner-a",
        "../owner-a",
        "owner-a/../owner-a",
        "..",
        ".",
        "*",
        "__mimir_cluster",
        "owner-a%00",
        "owner a",
        "ówner-a",
        "owner-a,stranger",
        "x" * 151,
        "{owner}",
    ],
)
def test_a_name_that_is_none_is_refused(open_server, named):
    for path in ("/api/v1/labels", "/api/v1/status/tsdb"):
        answer = open_server.ask("GET", path, X_Scope_OrgID=named.encode())
        assert answer.status == 400, answer.body
    answer = open_server.ask("POST", "/write", b"x v=1", X_Scope_OrgID=named.encode())
    assert answer.status == 400, answer.body


def test_two_headers_name_no_tenant(open_server):
    with open_server.connected() as connection:
        connection.putrequest("GET", "/api/v1/labels")
        connection.putheader("X-Scope-OrgID", "owner-a")
        connection.putheader("X-Scope-OrgID", "stranger")
        connection.endheaders()
        assert connection.getresponse().status == 400


def test_names_that_differ_in_case_are_two_tenants(open_server):
    assert open_server.client("CaseD").write_lines("m v=1 1000").status == 204
    assert open_server.client("cased").query('{__name__="m"}') == []


def test_a_token_acts_for_no_other_tenant(token_server):
    secret = token_server.token("mine", "read", "write", "delete", "admin")["secret"]
    for named in ("other", "*", "mine|other", "MINE", "mine/"):
        answer = token_server.client(named, secret).get("labels")
        assert answer.status in (400, 403), (named, answer.body)
    assert token_server.client("mine", secret).get("labels").status == 200


def test_an_administrator_of_one_tenant_reaches_no_other(token_server):
    other = token_server.token("other-team", "read")["token"]["id"]
    client = token_server.client(token=token_server.token("one-team", "admin")["secret"])
    api = "/api/admin/v1"
    attempts = [
        ("GET", f"{api}/tenants", None, 403),
        ("POST", f"{api}/tenants", {"name": "third"}, 403),
        ("GET", f"{api}/tenants/other-team", None, 403),
        ("PATCH", f"{api}/tenants/one-team/limits", {"active_series": 0}, 403),
        ("PATCH", f"{api}/tenants/other-team/limits", {"active_series": 1}, 403),
        ("GET", f"{api}/tokens?tenant=other-team", None, 403),
        ("POST", f"{api}/tokens", {"tenant": "other-team", "permissions": ["read"]}, 403),
        ("POST", f"{api}/tokens", {"tenant": "*", "permissions": ["read"]}, 403),
        ("DELETE", f"{api}/tokens/{other}", None, 404),
        ("DELETE", f"{api}/tokens/..%2Ftenants%2Fother-team", None, 404),
        ("POST", f"{api}/compaction", None, 403),
    ]
    for method, path, body, status in attempts:
        answer = client.ask(method, path, None if body is None else json.dumps(body))
        assert answer.status == status, (method, path, answer.body)
    listed = client.ask("GET", f"{api}/tokens").json["tokens"]
    assert {token["tenant"] for token in listed} == {"one-team"}


def test_only_the_server_itself_names_tenants(open_server):
    open_server.client("hidden-name").write_lines("m v=1 1000")
    open_server.client("hidden-name").query("m")
    assert b"hidden-name" not in open_server.ask("GET", "/metrics").body
    answer = open_server.ask("GET", "/api/admin/v1/tenants")
    assert answer.status == 403


@pytest.mark.parametrize("path", ["/api%2Fv1/labels", "/api/v1%2Flabels", "/api/v1/../v1/labels"])
def test_a_path_written_another_way_is_another_path(open_server, path):
    assert open_server.ask("GET", path).status == 404


def test_tenants_that_only_wrote_are_listed(tmp_path):
    directory = tmp_path / "data"
    with Server(directory) as server:
        server.client("only-wrote").write_lines("m v=1 1000")
        assert "only-wrote" in server.operate("GET", "/api/admin/v1/tenants").json["tenants"]
    listed = subprocess.run(
        [ORRERY, "tenant", "list", "--data-dir", directory], capture_output=True, text=True
    )
    assert "only-wrote" in listed.stdout, listed.stderr
    with Server(directory) as server:
        assert "only-wrote" in server.operate("GET", "/api/admin/v1/tenants").json["tenants"]
