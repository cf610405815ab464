"""``orrery quarantine``: what is damaged, and what an operator decides on it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from orrery.cli.application import Row, application
from orrery.cli.options import data_dir_option, echo_rows, json_option
from orrery.cli.reach import Target, running
from orrery.protocols.admin.operations import PREFIX

PATH = f"{PREFIX}/quarantine"
OPERATIONS = {"list": ("GET", ""), "release": ("POST", "/{}/release"), "drop": ("DELETE", "/{}")}


@click.group()
def quarantine() -> None:
    """List damaged blocks, take them back or let go of them.

    They stay as they are, and a query that needs what is damaged is an error, until the file is
    whole again and released, or dropped with all its samples.
    """


@quarantine.command("list")
@json_option
@data_dir_option
@click.pass_context
def list_blocks(context: click.Context, *, as_json: bool, data_dir: Path) -> None:
    """List damaged blocks and each damaged place, and those that were dropped."""
    echo_rows(_rows(_done(context, data_dir, "list", "")), as_json=as_json)


@quarantine.command()
@click.argument("block")
@json_option
@data_dir_option
@click.pass_context
def release(context: click.Context, *, block: str, as_json: bool, data_dir: Path) -> None:
    """Take BLOCK back, once its file has been replaced by a good copy; checks every byte."""
    _done(context, data_dir, "release", block)
    echo_rows([{"block": block, "released": True}], as_json=as_json)


@quarantine.command()
@click.argument("block")
@click.confirmation_option(prompt="Every sample in this block is lost. Drop it?")
@json_option
@data_dir_option
@click.pass_context
def drop(context: click.Context, *, block: str, as_json: bool, data_dir: Path) -> None:
    """Let go of BLOCK and of every sample in it, also of those that can still be read."""
    held = _done(context, data_dir, "drop", block)
    row = {"block": block, "dropped": True, "samples": held["sample_count"]}
    echo_rows([row], as_json=as_json)


def _done(context: click.Context, data_dir: Path, action: str, block: str) -> Any:  # noqa: ANN401 - JSON
    server = running(Target(data_dir, None, None))
    if server is None:
        return application(context).quarantine(data_dir, action, block)
    method, path = OPERATIONS[action]
    return server.ask(method, PATH + path.format(quote(block, safe="")))


def _rows(book: Any) -> Iterator[Row]:  # noqa: ANN401 - JSON
    for held in book["held"]:
        places = held.pop("damage")
        yield {"state": "held", **held}
        for place in places:
            yield {"state": "damage", "block": held["block"], **place}
    for dropped in book["dropped"]:
        yield {"state": "dropped", **dropped}
