"""Options that several commands take, and how they print."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from orrery.cli.reach import Target

Function = TypeVar("Function", bound=Callable[..., Any])

UNITS_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 365 * 86_400}


def data_dir_option(function: Function) -> Function:
    return click.option(
        "--data-dir",
        default="./data",
        show_default=True,
        envvar="ORRERY_DATA_DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="The server's data directory.",
    )(function)


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--data-dir``, ``--url`` and ``--token``, handed on as one ``target``."""

    @wraps(function)
    def with_target(
        *arguments: Any,  # noqa: ANN401 - handed on
        data_dir: Path,
        url: str | None,
        token: str | None,
        **more: Any,  # noqa: ANN401 - handed on
    ) -> Any:  # noqa: ANN401 - handed on
        return function(*arguments, target=Target(data_dir, url, token), **more)

    url_option = click.option("--url", envvar="ORRERY_URL", help="A server elsewhere.")
    token_option = click.option(
        "--token", envvar="ORRERY_TOKEN", help="Token for --url; better given as ORRERY_TOKEN."
    )
    return data_dir_option(url_option(token_option(with_target)))


def json_option(function: Function) -> Function:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


class Duration(click.ParamType[float]):
    """``90s``, ``12h``, ``30d``: a number of seconds."""

    name = "duration"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as click has it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdwy])", str(value))
        if match is None:
            self.fail(f"{value!r} is not a number with one of the units s m h d w y")
        return float(match[1]) * UNITS_SECONDS[match[2]]


def echo_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def echo_rows(rows: Iterable[dict[str, object]], *, as_json: bool) -> None:
    """One line a row, as they come."""
    for row in rows:
        if as_json:
            echo_json(row)
        else:
            click.echo("  ".join(f"{key}={_plain(value)}" for key, value in row.items()))


def echo_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def _plain(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
