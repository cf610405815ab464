"""``orrery tenant create|list|show|limits``."""

from typing import Any
from urllib.parse import quote

import click

from orrery.cli.options import echo_json, echo_table, json_option, target_options
from orrery.cli.reach import Target, reach
from orrery.languages.promql.parse import parse_selector
from orrery.protocols.admin.operations import PREFIX
from orrery.tenancy.retention import DAY_SECONDS, duration_seconds

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


@tenant.group()
def retention() -> None:
    """How long samples and buckets are kept, by selector."""


@retention.command("show")
@click.argument("name")
@json_option
@target_options
@click.pass_context
def show_retention(context: click.Context, *, target: Target, name: str, as_json: bool) -> None:
    """Show the rules of tenant NAME; what none matches is kept by its limits."""
    _echo_rules(reach(context, target).ask("GET", f"{_path(name)}/retention"), as_json=as_json)


@retention.command("set")
@click.argument("name")
@click.argument("rules", nargs=-1, metavar="[RULE]...")
@json_option
@target_options
@click.pass_context
def set_retention(
    context: click.Context, *, target: Target, name: str, rules: tuple[str, ...], as_json: bool
) -> None:
    """Set the rules of tenant NAME in place of those before; the first that matches holds.

    A RULE is a selector, how long samples are kept and how long buckets are:
    '{job="debug"} raw=2d 5m=30d 1h=2y 1d=ever'. Without rules its limits alone hold.
    """
    body = {"rules": [_rule(text) for text in rules]}
    answer = reach(context, target).ask("PUT", f"{_path(name)}/retention", body)
    _echo_rules(answer, as_json=as_json)


def _rule(text: str) -> dict[str, Any]:
    selector, brace, rest = text.rpartition("}")
    matchers = parse_selector(selector + brace) if brace else ()
    rule: dict[str, Any] = {
        "matchers": [[one.label, str(one.operator), one.value] for one in matchers],
        "raw_days": None,
        "resolutions": {},
    }
    for word in rest.split():
        name, separator, kept = word.partition("=")
        if not separator:
            raise click.BadParameter(f"{word!r} is not raw=TIME or RESOLUTION=TIME")
        days = None if kept == "ever" else duration_seconds(kept) / DAY_SECONDS
        if name == "raw":
            rule["raw_days"] = days
        else:
            rule["resolutions"][name] = days
    return rule


def _echo_rules(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        echo_json(answer)
        return
    rows = [
        (
            "{" + ", ".join("{}{}{!r}".format(*matcher) for matcher in rule["matchers"]) + "}",
            _kept(rule["raw_days"]),
            " ".join(f"{name}={_kept(days)}" for name, days in rule["resolutions"].items()),
        )
        for rule in answer["rules"]
    ]
    echo_table(("SELECTOR", "SAMPLES", "BUCKETS"), rows)


def _kept(days: float | None) -> str:
    return "ever" if days is None else f"{days:g}d"


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
