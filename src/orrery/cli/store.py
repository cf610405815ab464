"""``orrery inspect``, ``orrery verify`` and ``orrery compact``."""

from pathlib import Path

import click

from orrery.cli.application import application
from orrery.cli.options import data_dir_option, echo_rows, json_option
from orrery.cli.reach import Target, reach
from orrery.errors import Corrupt
from orrery.protocols.admin.operations import PREFIX

PARTS = ("all", "log", "blocks", "manifest")


@click.command()
@click.argument("part", type=click.Choice(PARTS), default="all")
@json_option
@data_dir_option
@click.pass_context
def inspect(context: click.Context, *, part: str, as_json: bool, data_dir: Path) -> None:
    """Describe what a data directory holds; a server may be running."""
    echo_rows(application(context).inspect(data_dir, part), as_json=as_json)


@click.command()
@click.argument("target", required=False)
@json_option
@data_dir_option
@click.pass_context
def verify(context: click.Context, *, target: str | None, as_json: bool, data_dir: Path) -> None:
    """Check every stored byte against its checksum; a server may be running.

    With TARGET, the backups there instead. Exits with 6 where anything is damaged.
    """
    checked_count = damaged_count = 0
    for row in application(context).verify(data_dir, target):
        checked_count += 1
        damaged_count += not row["ok"]
        if as_json or not row["ok"]:
            echo_rows([row], as_json=as_json)
    click.echo(f"{checked_count} checked, {damaged_count} damaged", err=True)
    if damaged_count:
        raise Corrupt(f"cannot trust {target or str(data_dir)!r}: {damaged_count} damaged parts")


@click.command()
@json_option
@data_dir_option
@click.pass_context
def compact(context: click.Context, *, as_json: bool, data_dir: Path) -> None:
    """Compact all blocks now, in the running server where there is one; prints each step."""
    steps = reach(context, Target(data_dir, None, None)).lines("POST", f"{PREFIX}/compaction")
    echo_rows(steps, as_json=as_json)
