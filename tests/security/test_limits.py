"""Each named limit of a tenant over HTTP, on both write protocols and on queries."""

import itertools
import time

import pytest

from tests.security.serving import Server

numbers = itertools.count()


@pytest.fixture
def tenant(open_server):
    """(client, set limits) of a tenant of its own."""
    name = f"limited-{next(numbers)}"
    return open_server.client(name), lambda **limits: open_server.limit(name, **limits)


def samples(count, *, name="m", first_ms=1_000_000):
    return [({"__name__": name}, [(first_ms + at, 1.0) for at in range(count)])]


def lines(count, first=1000):
    return "\n".join(f"m v=1 {first + at}" for at in range(count))


def write(client, wire, count):
    if wire == "remote":
        return client.write_remote(*samples(count))
    path = {"lines": "/write", "lines2": "/api/v2/write?bucket=metrics"}[wire]
    return client.write_lines(lines(count), f"{path}{'&' if '?' in path else '?'}precision=s")


WIRES = pytest.mark.parametrize("wire", ["remote", "lines", "lines2"])


@WIRES
@pytest.mark.parametrize(
    ("limit", "fitting", "value"),
    [("samples_per_second", 10, 1), ("samples_per_day", 10, 10)],
)
def test_a_rate_refuses_the_whole_request(tenant, wire, limit, fitting, value):
    client, set_limits = tenant
    set_limits(**{limit: value})
    answer = write(client, wire, fitting)
    assert answer.status == 204, answer.body
    before = client.query("count_over_time({__name__=~'m.*'}[1h])")
    answer = write(client, wire, 5)
    assert answer.status == 429, answer.body
    assert int(answer.headers["retry-after"]) >= 1
    told = answer.json["limit"]
    assert told["name"] == limit
    assert told["value"] == value
    assert told["scope"].startswith("tenant limited-")
    assert isinstance(told["current"], int | float)
    assert client.query("count_over_time({__name__=~'m.*'}[1h])") == before


def refused_lines(answer):
    return [(row.get("line", row.get("series")), row["reason"]) for row in answer.json["rejected"]]


def now():
    return int(time.time())


@pytest.mark.parametrize(
    ("limits", "seconds", "reason"),
    [
        ({"sample_age_seconds": 100}, -1000, "sample_age_seconds"),
        ({"sample_future_seconds": 100}, 1000, "sample_future_seconds"),
    ],
)
@pytest.mark.parametrize("wire", ["remote", "lines"])
def test_samples_out_of_time_are_left_out(tenant, wire, limits, seconds, reason):
    client, set_limits = tenant
    set_limits(**limits)
    good, bad = now(), now() + seconds
    if wire == "remote":
        answer = client.write_remote(
            ({"__name__": "good"}, [(good * 1000, 1.0)]),
            ({"__name__": "bad"}, [(bad * 1000, 1.0)]),
        )
    else:
        answer = client.write_lines(f"good value=1 {good}\nbad value=1 {bad}")
    partial(answer, 2, reason)
    found = client.get("label/__name__/values").data
    assert found == ["good"]


def partial(answer, line, reason):
    """The good ones are kept, the bad one is named, and nobody tries again."""
    assert answer.status == 400, answer.body
    assert "retry-after" not in answer.headers
    assert "partial write" in answer.body.decode()
    [(named, told)] = refused_lines(answer)
    assert named == line
    assert reason in told, told


@pytest.mark.parametrize(
    ("limits", "bad", "reason"),
    [
        ({"active_series": 1}, {"a": "2"}, "active_series"),
        ({"label_count": 2}, {"a": "1", "b": "1", "c": "1"}, "label_count"),
        ({"label_bytes": 10}, {"a": "x" * 11}, "label_bytes"),
        ({"label_bytes": 10}, {"x" * 11: "a"}, "label_bytes"),
    ],
)
@pytest.mark.parametrize("wire", ["remote", "lines"])
def test_series_beyond_a_limit_are_left_out(tenant, wire, limits, bad, reason):
    client, set_limits = tenant
    set_limits(**limits)
    if wire == "remote":
        answer = client.write_remote({"__name__": "m", "a": "1"}, {"__name__": "m", **bad})
    else:
        tags = ",".join(f"{key}={value}" for key, value in bad.items())
        answer = client.write_lines(f"m,a=1 value=1 1000\nm,{tags} value=1 1000")
    partial(answer, 2, reason)
    assert len(client.query('{__name__=~".+"}')) == 1


@pytest.mark.parametrize("wire", ["remote", "lines"])
def test_new_series_a_second(tenant, wire):
    client, set_limits = tenant
    set_limits(new_series_per_second=1)

    def write(first, count):
        numbers = range(first, first + count)
        if wire == "remote":
            return client.write_remote(*({"__name__": "m", "a": str(at)} for at in numbers))
        return client.write_lines("\n".join(f"m,a={at} value=1 1000" for at in numbers))

    assert write(0, 300).status in (200, 204)
    answer = write(299, 2)
    assert answer.status == 429, answer.body
    assert "new_series_per_second" in answer.body.decode()
    assert int(answer.headers["retry-after"]) > 200
    assert len(client.query("m")) == 300
    assert write(0, 300).status in (200, 204)


@pytest.mark.parametrize(
    ("limits", "status", "name"),
    [
        ({"query_series": 2}, 422, "query_series"),
        ({"query_samples": 50}, 422, "query_samples"),
        ({"query_seconds": 0.000001}, 503, None),
    ],
)
@pytest.mark.parametrize("promql", ["sum(rate({__name__=~'m.*'}[1h]))", "{__name__=~'m.*'}[1h]"])
def test_a_query_beyond_its_budget_ends(tenant, promql, limits, status, name):
    client, set_limits = tenant
    for at in range(5):
        client.write_remote(*samples(100, name=f"m{at}"))
    set_limits(**limits)
    answer = client.get("query", ("query", promql), ("time", "1000.2"))
    assert answer.status == status, answer.body
    if name is not None:
        assert answer.json["limit"]["name"] == name
        assert answer.json["limit"]["value"] == limits[name]
    else:
        assert answer.json["errorType"] == "timeout"


def test_label_calls_keep_within_the_budget(tenant):
    client, set_limits = tenant
    samples_now = [(now() * 1000, 1.0)]
    client.write_remote(*(({"__name__": "m", "a": str(at)}, samples_now) for at in range(10)))
    set_limits(query_series=5)
    for path, pairs in [
        ("series", [("match[]", "m")]),
        ("labels", [("match[]", "m")]),
        ("label/a/values", [("match[]", "m")]),
        ("status/tsdb", []),
    ]:
        answer = client.get(path, *pairs)
        assert answer.status == 422, (path, answer.body)


def test_usage_and_refusals_are_series_of_the_tenant(tmp_path):
    with Server(tmp_path / "data", "--usage-seconds", "0.2") as server:
        client = server.client("used")
        server.limit("used", active_series=1_000_000, samples_per_day=100)
        assert write(client, "lines", 5).status == 204
        assert write(client, "lines", 200).status == 429
        client.write_lines(f"m value=1 {now() + 10_000}")
        client.query("m")
        wanted = {
            "orrery_tenant_samples_accepted_total": {},
            "orrery_tenant_samples_today": {},
            "orrery_tenant_samples_refused_total": {"reason": "rejected"},
            "orrery_tenant_requests_refused_total": {"limit": "samples_per_day"},
            "orrery_tenant_queries_total": {"outcome": "answered"},
            "orrery_tenant_limit": {"limit": "samples_per_day"},
            "orrery_tenant_active_series": {},
        }
        deadline = time.monotonic() + 15
        while True:
            missing = [
                name
                for name, labels in wanted.items()
                if not client.get("query", ("query", selector(name, labels))).data["result"]
            ]
            if not missing:
                break
            assert time.monotonic() < deadline, missing
        accepted = client.get("query", ("query", "orrery_tenant_samples_accepted_total"))
        assert accepted.data["result"][0]["value"][1] == "5"
        other = server.client("other").get("query", ("query", "orrery_tenant_samples_today"))
        assert other.data["result"] == []


def selector(name, labels):
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def test_the_day_is_counted_across_a_restart(tmp_path):
    directory = tmp_path / "data"
    with Server(directory) as server:
        server.limit("daily", samples_per_day=10)
        assert write(server.client("daily"), "lines", 8).status == 204
    with Server(directory) as server:
        answer = write(server.client("daily"), "lines", 8)
        assert answer.status == 429, answer.body
        assert answer.json["limit"]["current"] == 8
