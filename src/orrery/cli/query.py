"""``orrery query``: asks a running server."""

from typing import Any
from urllib.parse import urlencode

import click

from orrery.cli.options import echo_json, json_option, target_options
from orrery.cli.reach import Target, running
from orrery.errors import Unavailable


@click.command()
@click.argument("promql")
@click.option("--time", "at", help="Evaluation time, RFC 3339 or seconds; now if not given.")
@click.option("--start", help="First step of a range.")
@click.option("--end", help="Last step of a range.")
@click.option("--step", help="Distance of the steps, such as 30s.")
@json_option
@target_options
def query(
    *,
    target: Target,
    promql: str,
    at: str | None,
    start: str | None,
    end: str | None,
    step: str | None,
    as_json: bool,
) -> None:
    """Ask a PromQL question, at one moment or over --start --end --step."""
    ranged = (start, end, step)
    if any(ranged) and not all(ranged):
        raise click.UsageError("--start, --end and --step are given together")
    if at and any(ranged):
        raise click.UsageError("--time is for one moment, --start for a range")
    server = running(target)
    if server is None:
        raise Unavailable(f"cannot query {str(target.data_dir)!r}: no server runs on it")
    arguments = {"query": promql, "time": at, "start": start, "end": end, "step": step}
    path = "query_range" if any(ranged) else "query"
    text = urlencode({name: value for name, value in arguments.items() if value is not None})
    answer = server.ask("GET", f"/api/v1/{path}?{text}")
    if as_json:
        echo_json(answer)
        return
    for warning in answer.get("warnings", ()):
        click.echo(f"warning: {warning}", err=True)
    _echo(answer["data"])


def _echo(data: dict[str, Any]) -> None:
    if data["resultType"] in ("scalar", "string"):
        click.echo(data["result"][1])
        return
    for series in data["result"]:
        name = _named(series["metric"])
        for at, value in series.get("values") or [series["value"]]:
            click.echo(f"{name}  {value}  @{at}")


def _named(labels: dict[str, str]) -> str:
    pairs = ", ".join(
        f"{name}={_quoted(value)}" for name, value in labels.items() if name != "__name__"
    )
    return labels.get("__name__", "") + "{" + pairs + "}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
