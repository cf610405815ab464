import asyncio
import json
import re

import msgspec
import pytest

from orrery.errors import Corrupt, Excess, Exhausted, OrreryError, Unavailable
from orrery.protocols.admin import openapi, operations, pages, wire
from orrery.server.http import UNIX_PEER, Request
from orrery.server.router import Found, Router
from tests.tenancy.parts import Parts


class Maintenance:
    async def compact(self):
        yield {"step": "block", "blocks": 3}
        yield {"step": "done"}


class Admin:
    def __init__(self, *, is_open=False, not_ready=None):
        self.parts = Parts()
        self.access = self.parts.token_access
        self.routes = [
            *operations.routes(
                access=self.access,
                administration=self.parts.administration,
                maintenance=Maintenance(),
            ),
            *pages.routes(
                access=self.access,
                telemetry=self.parts.telemetry,
                is_open=is_open,
                not_ready=lambda: not_ready,
                links=[("/api/v1/query", "PromQL <here>")],
                version="1.2.3",
            ),
        ]
        self.router = Router(self.routes)

    def ask(self, method, path, body=None, *, peer=UNIX_PEER, **headers):
        path, _, query = path.partition("?")
        found = self.router.find(method, path)
        assert isinstance(found, Found), (method, path)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(method, path, query, headers, content, peer, found.parameters)
        return asyncio.run(self._answered(found.route, request))

    async def _answered(self, route, request):
        try:
            response = await route.handler(request)
        except OrreryError as error:
            response = route.render_error(error)
        if isinstance(response.body, bytes):
            return response, response.body
        return response, b"".join([part async for part in response.body])

    def json(self, *arguments, **more):
        response, body = self.ask(*arguments, **more)
        return response.status, json.loads(body)


@pytest.fixture
def admin():
    return Admin()


def test_token_life(admin):
    status, created = admin.json(
        "POST",
        "/api/admin/v1/tokens",
        {
            "tenant": "a",
            "permissions": ["read"],
            "expires_seconds": 60,
            "forced_labels": {"team": "x"},
            "forced_matchers": [{"label": "team", "operator": "=~", "value": "x|y"}],
        },
    )
    assert status == 201
    assert created["secret"].startswith("orr_")
    token = created["token"]
    assert token["forced_matchers"] == [{"label": "team", "operator": "=~", "value": "x|y"}]
    assert admin.json("GET", "/api/admin/v1/tokens?tenant=a") == (200, {"tokens": [token]})
    assert admin.json("GET", "/api/admin/v1/tokens?tenant=b") == (200, {"tokens": []})
    status, revoked = admin.json("DELETE", f"/api/admin/v1/tokens/{token['id']}")
    assert (status, revoked["revoked"] is not None) == (200, True)


def test_tenant_life(admin):
    assert admin.json("POST", "/api/admin/v1/tenants", {"name": "a"})[0] == 201
    assert admin.json("POST", "/api/admin/v1/tenants", {"name": "a"})[0] == 400
    changes = {"active_series": 5, "acknowledgement": "memory"}
    status, facts = admin.json("PATCH", "/api/admin/v1/tenants/a/limits", changes)
    assert (status, facts["overrides"]) == (200, changes)
    assert facts["limits"]["active_series"] == 5
    assert admin.json("GET", "/api/admin/v1/tenants/a") == (200, facts)
    assert admin.json("GET", "/api/admin/v1/tenants") == (200, {"tenants": ["a", "with-data"]})


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/tokens", b"{", 400, "cannot read the request"),
        ("POST", "/tokens", b'{"tenant": "\xff"}', 400, "cannot read the request"),
        ("POST", "/tokens", b'{"tenant": ' + b"[" * 100_000, 400, "cannot read the request"),
        ("POST", "/tokens", {"tenant": "a"}, 400, "permissions"),
        ("POST", "/tokens", {"tenant": "a", "permissions": []}, 400, "permissions"),
        ("POST", "/tokens", {"tenant": "a", "permissions": ["fly"]}, 400, "fly"),
        ("POST", "/tokens", {"tenant": "a", "permissions": ["read"], "x": 1}, 400, "`x`"),
        ("POST", "/tenants", {"name": "a b"}, 400, "cannot use tenant"),
        ("PATCH", "/tenants/a/limits", {"active_serie": 1}, 400, "did you mean"),
        ("PATCH", "/tenants/a/limits", [1], 400, "object"),
        ("DELETE", "/tokens/absent", b"", 404, "cannot find token"),
    ],
)
def test_refused(admin, method, path, body, status, text):
    answered, problem = admin.json(method, "/api/admin/v1" + path, body)
    assert answered == status
    assert text in problem["error"]


def test_every_operation_needs_the_admin_right(admin):
    secret, _ = admin.parts.token("a", "read write delete")
    for operation in operations.OPERATIONS:
        path = operations.PREFIX + re.sub(r"\{\w+\}", "x", operation.path)
        response, _ = admin.ask(operation.method, path, peer="1.2.3.4:5")
        assert response.status == 401
        assert response.headers[0][0] == "www-authenticate"
        bearer = {"authorization": f"Bearer {secret}"}
        assert admin.ask(operation.method, path, peer="1.2.3.4:5", **bearer)[0].status == 403


def test_one_tenants_administrator_may_not_compact(admin):
    secret, _ = admin.parts.token("a", "admin")
    bearer = {"authorization": f"Bearer {secret}"}
    response, _ = admin.ask("POST", "/api/admin/v1/compaction", peer="1.2.3.4:5", **bearer)
    assert response.status == 403


def test_compaction_streams_its_steps(admin):
    response, body = admin.ask("POST", "/api/admin/v1/compaction")
    assert response.content_type == "application/x-ndjson"
    assert [json.loads(line)["step"] for line in body.splitlines()] == ["block", "done"]


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (
            Exhausted("full", Excess("active_series", "tenant a", 5, 5, 2.4)),
            429,
            (("retry-after", "2"),),
        ),
        (Exhausted("full"), 429, ()),
        (Unavailable("later"), 503, ()),
        (Corrupt("bad"), 500, ()),
    ],
)
def test_errors_by_kind(error, status, headers):
    response = wire.render_error(error)
    assert (response.status, response.headers) == (status, headers)
    if isinstance(error, Exhausted) and error.excess:
        problem = json.loads(response.body)
        assert (problem["limit"], problem["value"]) == ("active_series", 5)


def test_description_matches_the_routes(admin):
    described = openapi.description("1.2.3")
    documented = {
        (method.upper(), path) for path, methods in described["paths"].items() for method in methods
    }
    served = {
        (method, route.path)
        for route in operations.routes(
            access=admin.access,
            administration=admin.parts.administration,
            maintenance=Maintenance(),
        )
        for method in route.methods
    }
    assert documented == served
    assert admin.json("GET", "/api/admin/v1/openapi.json") == (200, described)


def test_description_stands_by_itself():
    described = openapi.description("1.2.3")
    text = json.dumps(described)
    for reference in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert reference in described["components"]["schemas"]
    for path, methods in described["paths"].items():
        for operation in methods.values():
            named = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))


def test_answers_have_the_described_type(admin):
    admin.parts.token("a")
    msgspec.json.decode(admin.ask("GET", "/api/admin/v1/tokens")[1], type=wire.Tokens)


def test_health(admin):
    assert admin.ask("GET", "/-/healthy", peer="1.2.3.4:5")[0].status == 200
    assert admin.ask("GET", "/-/ready", peer="1.2.3.4:5")[0].status == 200
    status, problem = Admin(not_ready="replaying the log").json("GET", "/-/ready")
    assert (status, problem["error"]) == (503, "cannot serve yet: replaying the log")


def test_metrics_need_an_operators_token_unless_open(admin):
    def status(admin, **headers):
        return admin.ask("GET", "/metrics", peer="1.2.3.4:5", **headers)[0].status

    own, _ = admin.parts.token("a", "read")
    operators, _ = admin.parts.token("*", "read")
    assert status(admin) == 401
    assert status(admin, authorization=f"Bearer {own}") == 403
    assert status(admin, authorization=f"Bearer {operators}") == 200
    assert status(Admin(is_open=True)) == 200


def test_landing_page_lists_what_is_served(admin):
    _, body = admin.ask("GET", "/")
    assert b"PromQL &lt;here&gt;" in body
    assert b"/api/admin/v1/openapi.json" in body
    assert b"1.2.3" in body
