import contextlib
import json
import socket

import pytest
from click.testing import CliRunner

from orrery.cli.main import COMMANDS, orrery
from orrery.errors import Corrupt, Unavailable
from orrery.protocols.admin import operations, wire
from orrery.server.http import Response, Route
from orrery.server.listen import TcpListener, UnixListener
from tests.server.running import Running
from tests.tenancy.parts import Parts

GET = frozenset({"GET"})


class Application:
    """``orrery.offline`` without a store."""

    def __init__(self):
        self.parts = Parts()
        self.served = None
        self.locked = False
        self.rows = [{"part": "log", "ok": True}, {"part": "block", "ok": True}]

    def serve(self, settings, ready):
        self.served = settings

    @contextlib.contextmanager
    def administration(self, data_dir):
        if self.locked:
            raise Unavailable(f"cannot open {str(data_dir)!r}: another process holds its lock")
        yield self.parts.administration

    def compact(self, data_dir):
        yield {"step": "done", "here": True}

    def inspect(self, data_dir, part):
        yield {"part": part, "ranges": [1, 2]}

    def verify(self, data_dir, target=None):
        yield from self.rows if target is None else [{"part": target, "ok": False}]

    def backup(self, data_dir, target, *, holder, bytes_per_second, keep):
        assert holder is None
        yield {"event": "backed_up", "to": target, "rate": bytes_per_second, "keep": keep}

    def backups(self, target):
        yield {"backup": target}

    def restore(self, data_dir, target, *, backup_id, bytes_per_second):
        yield {"event": "restored", "backup": backup_id, "rate": bytes_per_second}


@pytest.fixture
def application():
    return Application()


@pytest.fixture
def run(application, tmp_path):
    def invoke(*arguments, environment=None):
        on_data = arguments and arguments[0] not in ("serve", "settings", "version", "--help")
        more = ("--data-dir", str(tmp_path)) if on_data and "--help" not in arguments else ()
        return CliRunner().invoke(
            orrery, [*arguments, *more], obj=application, env=environment or {}
        )

    return invoke


@pytest.mark.parametrize("command", [*COMMANDS, "token create", "tenant limits"])
def test_help_reads_without_an_application(command):
    result = CliRunner().invoke(orrery, [*command.split(), "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_help_lists_what_each_command_says_of_itself(run):
    text = run("--help").output
    for name, (_, line) in COMMANDS.items():
        assert f"{name} " in text
        assert line in text
        own = CliRunner().invoke(orrery, [name, "--help"]).output
        assert own.split("\n\n")[1].strip().startswith(line.rstrip("."))


def test_serve_takes_settings_from_everywhere(run, application, tmp_path):
    file = tmp_path / "orrery.toml"
    file.write_text("http_threads = 3\n[limits]\nactive_series = 5\n")
    result = run(
        *("serve", "--config", str(file), "--data-dir", "/d", "--http", "127.0.0.1:1"),
        *("--auth-none-forced", "--http-allow-host", "a", "--http-allow-host", "b"),
        *("--limits-label-count", "9"),
        environment={"ORRERY_LOG_LEVEL": "debug"},
    )
    assert result.exit_code == 0, result.output
    served = application.served
    assert (served.data_dir, served.http, served.http_threads) == ("/d", "127.0.0.1:1", 3)
    assert (served.auth_none_forced, served.http_allow_host) == (True, ("a", "b"))
    assert (served.limits.active_series, served.limits.label_count) == (5, 9)
    assert served.log_level == "debug"


def test_serve_names_a_wrong_setting(run):
    result = run("serve", "--http-threads", "0")
    assert result.exit_code == 2
    assert "http_threads" in result.output


def test_token_life(run):
    created = run("token", "create", "a", "--expires", "30d", "--label", "team=x", "--json")
    secret = json.loads(created.output)["secret"]
    token = json.loads(created.output)["token"]
    assert secret.startswith("orr_")
    assert token["forced_labels"] == {"team": "x"}
    listed = run("token", "list").output
    assert token["id"] in listed
    assert secret not in listed
    assert run("token", "revoke", token["id"]).exit_code == 0
    assert json.loads(run("token", "list", "--json").output)["tokens"][0]["revoked"] is not None


def test_secret_alone_is_printed_to_stdout(run):
    result = run("token", "create", "*", "--permissions", "admin")
    assert result.stdout.startswith("orr_")
    assert result.stdout.count("\n") == 1


def test_backup_and_restore_print_each_step(run):
    made = run("backup", "/b", "--keep", "3", "--bytes-per-second", "5", "--json")
    assert json.loads(made.output) == {"event": "backed_up", "to": "/b", "rate": 5, "keep": 3}
    assert run("backup", "/b", "--list").output == "backup=/b\n"
    restored = run("restore", "/b", "--backup", "x")
    assert restored.output == "event=restored  backup=x  rate=None\n"
    assert run("backup", "/b", "--keep", "0").exit_code == 2


def test_verify_of_backups_names_damage(run):
    checked = run("verify", "/b")
    assert checked.exit_code == 6
    assert "part=/b" in checked.output


@pytest.mark.parametrize(
    ("text", "matcher"),
    [
        ('team=~"a|b"', ("team", "=~", "a|b")),
        ("team=a", ("team", "=", "a")),
        ("team!=", ("team", "!=", "")),
        ('team !~ "a=~b"', ("team", "!~", "a=~b")),
        ('team="a\\"b"', ("team", "=", 'a\\"b')),
    ],
)
def test_forced_matcher(run, text, matcher):
    created = run("token", "create", "a", "--matcher", text, "--json")
    (forced,) = json.loads(created.output)["token"]["forced_matchers"]
    assert (forced["label"], forced["operator"], forced["value"]) == matcher


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "create", "a", "--permissions", "fly"),
        ("token", "create", "a", "--expires", "soon"),
        ("token", "create", "a", "--label", "team"),
        ("token", "create", "a", "--matcher", "team"),
        ("token", "create", "a b"),
        ("token", "revoke", "../x"),
        ("tenant", "limits", "a", "active_series"),
        ("tenant", "limits", "a", "active_serie=1"),
        ("query", "up", "--start", "1"),
        ("query", "up", "--url", "ftp://x"),
        ("nonsense",),
    ],
)
def test_wrong_request_exits_with_2(run, arguments):
    assert run(*arguments).exit_code == 2


def test_tenant_life(run):
    assert run("tenant", "create", "a(b)", "--description", "x y").exit_code == 0
    assert run("tenant", "list").output.split() == ["a(b)", "with-data"]
    assert run("tenant", "limits", "a(b)", "active_series=5", "query_seconds=1.5").exit_code == 0
    shown = json.loads(run("tenant", "show", "a(b)", "--json").output)
    assert shown["overrides"] == {"active_series": 5, "query_seconds": 1.5}
    run("tenant", "limits", "a(b)", "active_series=default")
    assert "query_seconds" in run("tenant", "limits", "a(b)").output
    shown = json.loads(run("tenant", "show", "a(b)", "--json").output)
    assert shown["overrides"] == {"query_seconds": 1.5}


def test_lock_held_by_another_is_told(run, application):
    application.locked = True
    result = run("tenant", "list")
    assert (result.exit_code, "lock" in result.output) == (5, True)


def test_inspect(run):
    assert run("inspect", "log").output == "part=log  ranges=[1, 2]\n"
    assert json.loads(run("inspect", "--json").output) == {"part": "all", "ranges": [1, 2]}


def test_verify(run, application):
    assert run("verify").exit_code == 0
    application.rows.append({"part": "block b", "ok": False, "cause": "checksum"})
    result = run("verify")
    assert result.exit_code == 6
    assert "part=block b" in result.output
    assert "3 checked, 1 damaged" in result.output


def test_compact_without_a_server(run):
    assert "here=True" in run("compact").output


def test_query_needs_a_server(run):
    result = run("query", "up")
    assert (result.exit_code, "no server runs" in result.output) == (5, True)


def test_version(run):
    assert run("version").output.startswith("orrery ")


class Maintenance:
    async def compact(self):
        yield {"step": "block"}
        yield {"step": "done"}


async def answer_query(request):
    arguments = dict(request.arguments())
    if arguments["query"] == "corrupt":
        raise Corrupt("cannot read a block")
    if arguments["query"] == "boom":
        raise RuntimeError("unforeseen")
    series = {"metric": {"__name__": "up", "job": 'a"b'}}
    series |= {"values": [[1, "2"], [2, "3"]]} if "step" in arguments else {"value": [1, "2"]}
    result = {"resultType": "vector", "result": [series]}
    return Response(200, json.dumps({"status": "success", "data": result}).encode())


@pytest.fixture
def server(application, tmp_path):
    parts = application.parts
    routes = operations.routes(
        access=parts.token_access,
        administration=parts.administration,
        maintenance=Maintenance(),
    )
    for name in ("query", "query_range"):
        routes.append(Route(GET, f"/api/v1/{name}", answer_query, wire.render_error))
    listeners = [TcpListener("127.0.0.1", 0), UnixListener(tmp_path / "admin.sock")]
    application.locked = True
    with Running(routes, listeners=listeners) as running:
        yield running


def test_running_server_is_asked_through_its_socket(run, server):
    assert run("tenant", "list").output == "with-data\n"
    assert run("tenant", "create", "a").exit_code == 0
    result = run("tenant", "create", "a")
    assert (result.exit_code, "it exists" in result.output) == (2, True)
    assert "step=done" in run("compact").output


def test_server_elsewhere_needs_a_token(run, server, application):
    url = f"http://127.0.0.1:{server.port}"
    assert run("tenant", "list", "--url", url).exit_code == 3
    secret, _ = application.parts.token("*", "admin")
    with_token = {"ORRERY_TOKEN": secret}
    assert run("tenant", "list", "--url", url, environment=with_token).output == "with-data\n"


def test_query(run, server):
    assert run("query", "up").output == 'up{job="a\\"b"}  2  @1\n'
    ranged = run("query", "up", "--start", "1", "--end", "2", "--step", "1s")
    assert ranged.output.count("\n") == 2
    assert run("query", "corrupt").exit_code == 6
    unforeseen = run("query", "boom")
    assert (unforeseen.exit_code, "its log has the id" in unforeseen.output) == (5, True)


def test_server_that_is_gone_is_told(run):
    result = run("tenant", "list", "--url", "http://127.0.0.1:1")
    assert (result.exit_code, "cannot reach the server" in result.output) == (5, True)


def test_socket_file_of_a_killed_server_is_no_server(run, server, application, tmp_path):
    path = tmp_path / "admin.sock"
    server.call(server.server.stop())
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    application.locked = False
    assert run("tenant", "list").output == "with-data\n"
