import contextlib
import json
import logging
import resource
import signal
import stat

import pytest

from orrery.errors import Invalid, Unavailable
from orrery.telemetry import Events
from orrery.tenancy.audit import AuditFile
from tests.tenancy.parts import FakeClock


def audit(path):
    return AuditFile(path, clock=FakeClock(), events=Events(logging.Logger("orrery")))


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_actions_are_appended(tmp_path):
    path = tmp_path / "audit.jsonl"
    for tenant in ("a", "b"):
        with audit(path).action("tenant.create", actor="operator", tenant=tenant, why="x"):
            pass
    assert [(line["tenant"], line["outcome"]) for line in lines(path)] == [
        ("a", "begun"),
        ("a", "done"),
        ("b", "begun"),
        ("b", "done"),
    ]
    assert lines(path)[0]["why"] == "x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_failure_is_recorded_and_goes_on(tmp_path):
    path = tmp_path / "audit.jsonl"
    with pytest.raises(Invalid), audit(path).action("x", actor="operator", tenant="a"):
        raise Invalid("cannot do it")
    assert [line["outcome"] for line in lines(path)] == ["begun", "failed"]
    assert lines(path)[1]["cause"] == "cannot do it"


def test_nothing_is_done_unrecorded(tmp_path):
    done = []
    with (
        pytest.raises(Unavailable, match="cannot do 'x': it cannot be recorded"),
        audit(tmp_path / "absent" / "audit.jsonl").action("x", actor="o", tenant="a"),
    ):
        done.append(1)
    assert done == []


@contextlib.contextmanager
def full_at(byte_count):
    """No file of this process grows past so many bytes meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (byte_count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def act(path, done, **options):
    with audit(path).action("x", actor="operator", tenant="a", **options):
        done.append(1)


@pytest.mark.parametrize("room", [0, 1, 30])
def test_a_disk_without_room_for_the_line_refuses_the_action_and_leaves_no_half_line(
    tmp_path, room
):
    path, done = tmp_path / "audit.jsonl", []
    act(path, done)
    whole = path.read_bytes()
    with full_at(len(whole) + room), pytest.raises(Unavailable, match="cannot do 'x'"):
        act(path, done)
    assert (path.read_bytes(), done) == (whole, [1])
    act(path, done)
    assert [line["outcome"] for line in lines(path)] == ["begun", "done"] * 2


def test_what_relieves_the_disk_is_done_without_a_record(tmp_path):
    path, done = tmp_path / "audit.jsonl", []
    with full_at(0):
        act(path, done, relieves=True)
    assert done == [1]
    assert path.read_bytes() == b""


def test_what_was_done_is_not_called_failed_for_want_of_the_last_line(tmp_path):
    path = tmp_path / "audit.jsonl"
    with (
        contextlib.ExitStack() as stack,
        audit(path).action("x", actor="operator", tenant="a"),
    ):
        stack.enter_context(full_at(path.stat().st_size + 5))
    assert lines(path)[0]["outcome"] == "begun"


def test_a_line_that_a_power_cut_tore_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b'{"action":"to')
    act(path, [])
    torn, *whole = path.read_bytes().splitlines()
    assert torn == b'{"action":"to'
    assert [json.loads(line)["outcome"] for line in whole] == ["begun", "done"]
