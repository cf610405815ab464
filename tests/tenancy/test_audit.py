import json
import logging
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
        pytest.raises(Unavailable, match="cannot record"),
        audit(tmp_path / "absent" / "audit.jsonl").action("x", actor="o", tenant="a"),
    ):
        done.append(1)
    assert done == []
