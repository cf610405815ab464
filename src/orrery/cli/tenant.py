"""``orrery tenant create|list|show|limits``."""

from typing import Any
from urllib.parse import quote

import click

from orrery.cli.options import echo_json, echo_table, json_option, target_options
from orrery.cli.reach import Target, reach
from orrery.protocols.admin.operations import PREFIX

TENANTS = f"{PREFIX}/tenants"


@click.group()
def tenant() -> None:
    """Create and list tenants, set their limits."""


@tenant.command()
@click.argument("name")
@click.option("--description", default="", help="Who or what it is.")
@json_option
@target_options
@click.pass_context
def create(
    context: click.Context, *, target: Target, name: str, description: str, as_json: bool
) -> None:
    """Create a tenant. Writing to one that nobody created works as well."""
    body = {"name": name, "description": description}
    created = reach(context, target).ask("POST", TENANTS, body)
    if as_json:
        echo_json(created)
    else:
        click.echo(f"tenant {created['name']} is created")


@tenant.command("list")
@json_option
@target_options
@click.pass_context
def list_tenants(context: click.Context, *, target: Target, as_json: bool) -> None:
    """List the tenants that were created, have limits of their own, or have data."""
    found = reach(context, target).ask("GET", TENANTS)
    if as_json:
        echo_json(found)
        return
    for name in found["tenants"]:
        click.echo(name)


@tenant.command()
@click.argument("name")
@json_option
@target_options
@click.pass_context
def show(context: click.Context, *, target: Target, name: str, as_json: bool) -> None:
    """Show a tenant and its limits."""
    _echo(reach(context, target).ask("GET", _path(name)), as_json=as_json)


@tenant.command()
@click.argument("name")
@click.argument("changes", nargs=-1, metavar="[LIMIT=VALUE]...")
@json_option
@target_options
@click.pass_context
def limits(
    context: click.Context, *, target: Target, name: str, changes: tuple[str, ...], as_json: bool
) -> None:
    """Set limits of tenant NAME, such as active_series=50000; LIMIT=default gives one back.

    Without changes, shows them.
    """
    if not changes:
        _echo(reach(context, target).ask("GET", _path(name)), as_json=as_json)
        return
    body = dict(map(_change, changes))
    _echo(reach(context, target).ask("PATCH", f"{_path(name)}/limits", body), as_json=as_json)


def _path(name: str) -> str:
    return f"{TENANTS}/{quote(name, safe='')}"


def _change(text: str) -> tuple[str, int | float | str | None]:
    limit, separator, value = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{text!r} is not LIMIT=VALUE")
    if value == "default":
        return limit, None
    for kind in (int, float):
        try:
            return limit, kind(value)
        except ValueError:
            continue
    return limit, value


def _echo(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        echo_json(facts)
        return
    click.echo(f"tenant {facts['name']}  {facts['description']}".rstrip())
    rows = [
        (name, str(value), "set" if name in facts["overrides"] else "default")
        for name, value in facts["limits"].items()
    ]
    echo_table(("LIMIT", "VALUE", "FROM"), rows)
