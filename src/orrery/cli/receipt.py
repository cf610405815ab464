"""``orrery receipt list|show``: what deletes hid, and whether it is off the disk."""

from typing import Any

import click

from orrery.cli.options import echo_json, echo_table, json_option, target_options
from orrery.cli.reach import Remote, Target, running
from orrery.errors import Unavailable

RECEIPTS = "/api/v1/admin/tsdb/receipts"
SECOND_NS = 1_000_000_000

tenant_option = click.option("--tenant", help="Whose; a token says it by itself.")


@click.group()
def receipt() -> None:
    """Show what became of deletes."""


@receipt.command("list")
@tenant_option
@json_option
@target_options
def list_(*, target: Target, tenant: str | None, as_json: bool) -> None:
    """List the receipts of a tenant, the oldest first."""
    found = _server(target, tenant).ask("GET", RECEIPTS)["data"]
    if as_json:
        echo_json(found)
        return
    rows = [
        [str(one["id"]), _moment(one["accepted_ns"]), _selector(one), _count(one), _state(one)]
        for one in found
    ]
    echo_table(("ID", "ACCEPTED", "SELECTOR", "SAMPLES", "STATE"), rows)


@receipt.command()
@click.argument("receipt_id", type=click.IntRange(min=0))
@tenant_option
@json_option
@target_options
def show(*, target: Target, receipt_id: int, tenant: str | None, as_json: bool) -> None:
    """Show one receipt, and what still holds samples that the delete hid."""
    found = _server(target, tenant).ask("GET", f"{RECEIPTS}/{receipt_id}")["data"]
    if as_json:
        echo_json(found)
        return
    held = found["held"]
    lines = {
        "receipt": found["id"],
        "tenant": found["tenant"],
        "selector": _selector(found),
        "accepted": _moment(found["accepted_ns"]),
        "hidden": f"{_count(found)} samples of {found['series']} series",
        "state": _state(found),
        "blocks": f"{held['blocks']} still hold some, {held['block_bytes']} bytes",
        "files": f"{held['files']} unused ones wait to be removed",
        "log": f"{held['log_bytes']} bytes from before the delete",
        "rewritten": _moment(found["rewritten_ns"]),
        "removed": _moment(found["removed_ns"]),
        "not covered": found["not_covered"],
    }
    for name, value in lines.items():
        click.echo(f"{name:<12} {value}")


def _server(target: Target, tenant: str | None) -> Remote:
    server = running(target)
    if server is None:
        raise Unavailable(f"cannot ask {str(target.data_dir)!r}: no server runs on it")
    return server if tenant is None else server.for_tenant(tenant)


def _state(found: dict[str, Any]) -> str:
    if found["removed_ns"] is not None:
        return "gone"
    return "hidden" if found["rewritten_ns"] is None else "rewritten"


def _count(found: dict[str, Any]) -> str:
    return f"{'' if found['is_exact'] else 'at most '}{found['samples']}"


def _selector(found: dict[str, Any]) -> str:
    return "{" + ", ".join(f'{a}{op}"{b}"' for a, op, b in found["matchers"]) + "}"


def _moment(time_ns: int | None) -> str:
    if time_ns is None:
        return "not yet"
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time_ns // SECOND_NS, tz=UTC).isoformat()
