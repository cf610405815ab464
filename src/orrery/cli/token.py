"""``orrery token create|list|revoke``."""

import re
from typing import Any

import click

from orrery.cli.options import Duration, echo_json, echo_table, json_option, target_options
from orrery.cli.reach import Target, reach
from orrery.protocols.admin.operations import PREFIX
from orrery.tenancy.tokens import Permission

TOKENS = f"{PREFIX}/tokens"


@click.group()
def token() -> None:
    """Create, list and revoke tokens."""


@token.command()
@click.argument("tenant")
@click.option(
    "--permissions",
    default="read,write",
    show_default=True,
    help="Comma-separated: read, write, delete, admin.",
)
@click.option("--expires", type=Duration(), help="Such as 12h or 30d; never if not given.")
@click.option("--description", default="", help="What it is for.")
@click.option("--label", "labels", multiple=True, help="name=value forced on every write.")
@click.option("--matcher", "matchers", multiple=True, help="Forced on every read: 'team=~\"a|b\"'.")
@json_option
@target_options
@click.pass_context
def create(
    context: click.Context,
    *,
    target: Target,
    tenant: str,
    permissions: str,
    expires: float | None,
    description: str,
    labels: tuple[str, ...],
    matchers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Create a token for TENANT and print its secret, once.

    TENANT '*' makes an operator's token, which acts for the tenant named in X-Scope-OrgID. The
    first admin token is made on the machine itself: orrery token create '*' --permissions admin
    """
    body = {
        "tenant": tenant,
        "permissions": _permissions(permissions),
        "expires_seconds": expires,
        "description": description,
        "forced_labels": dict(map(_label, labels)),
        "forced_matchers": list(map(_matcher, matchers)),
    }
    created = reach(context, target).ask("POST", TOKENS, body)
    if as_json:
        echo_json(created)
        return
    click.echo(f"token {created['token']['id']}; the secret is shown this once:", err=True)
    click.echo(created["secret"])


@token.command("list")
@click.option("--tenant", help="Only this tenant's.")
@json_option
@target_options
@click.pass_context
def list_tokens(
    context: click.Context, *, target: Target, tenant: str | None, as_json: bool
) -> None:
    """List tokens, revoked and expired ones too."""
    found = reach(context, target).ask("GET", TOKENS)["tokens"]
    shown = [one for one in found if tenant is None or one["tenant"] == tenant]
    if as_json:
        echo_json({"tokens": shown})
        return
    header = ("ID", "TENANT", "PERMISSIONS", "CREATED", "EXPIRES", "REVOKED", "DESCRIPTION")
    echo_table(header, [_row(one) for one in shown])


@token.command()
@click.argument("token_id")
@target_options
@click.pass_context
def revoke(context: click.Context, *, target: Target, token_id: str) -> None:
    """Revoke a token at once; TOKEN_ID is shown by `orrery token list`."""
    if not token_id.isalnum():
        raise click.BadParameter(f"{token_id!r} is not a token's id")
    revoked = reach(context, target).ask("DELETE", f"{TOKENS}/{token_id}")
    click.echo(f"token {revoked['id']} of tenant {revoked['tenant']} is revoked")


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    return (
        one["id"],
        one["tenant"],
        ",".join(one["permissions"]),
        one["created"],
        one["expires"] or "never",
        one["revoked"] or "no",
        one["description"],
    )


def _permissions(text: str) -> list[str]:
    named = [part.strip() for part in text.split(",") if part.strip()]
    known = [permission.value for permission in Permission]
    for name in named:
        if name not in known:
            raise click.BadParameter(f"{name!r} is not one of {', '.join(known)}")
    return named


def _label(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{text!r} is not name=value")
    return name, value


def _matcher(text: str) -> dict[str, str]:
    match = re.fullmatch(r'([^=!~"\s]+)\s*(=~|!~|!=|=)\s*(?:"(.*)"|(.*))', text, re.DOTALL)
    if match is None:
        raise click.BadParameter(f'{text!r} is not a matcher such as team=~"a|b"')
    label, operator, quoted, bare = match.groups()
    return {"label": label, "operator": operator, "value": bare if quoted is None else quoted}
