"""``orrery backup`` and ``orrery restore``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from orrery.cli.application import application
from orrery.cli.options import data_dir_option, echo_rows, json_option
from orrery.cli.reach import Remote, Target, running
from orrery.errors import Unavailable
from orrery.protocols.admin.operations import PREFIX

PINS = f"{PREFIX}/pins"


def rate_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--bytes-per-second",
        type=click.IntRange(min=1),
        help="Copy no faster than this.",
    )(function)


@click.command()
@click.argument("target")
@click.option("--list", "listed", is_flag=True, help="List the backups there; make none.")
@click.option(
    "--keep", type=click.IntRange(min=1), help="Remove older backups until so many are left."
)
@rate_option
@json_option
@data_dir_option
@click.pass_context
def backup(
    context: click.Context,
    *,
    target: str,
    listed: bool,
    keep: int | None,
    bytes_per_second: int | None,
    as_json: bool,
    data_dir: Path,
) -> None:
    """Back everything up to TARGET: a directory, or s3://, gs:// or az://.

    A server may be running. What TARGET has already is not copied again.
    """
    if listed:
        echo_rows(application(context).backups(target), as_json=as_json)
        return
    here = Target(data_dir, None, None)
    server = running(here)
    rows = application(context).backup(
        data_dir,
        target,
        holder=None if server is None else ServerHolder(here, server),
        bytes_per_second=bytes_per_second,
        keep=keep,
    )
    echo_rows(rows, as_json=as_json)


@click.command()
@click.argument("target")
@click.option("--backup", "backup_id", help="Which one; the newest where not given.")
@rate_option
@json_option
@data_dir_option
@click.pass_context
def restore(
    context: click.Context,
    *,
    target: str,
    backup_id: str | None,
    bytes_per_second: int | None,
    as_json: bool,
    data_dir: Path,
) -> None:
    """Restore a backup at TARGET into a data directory that is empty or not there."""
    rows = application(context).restore(
        data_dir, target, backup_id=backup_id, bytes_per_second=bytes_per_second
    )
    echo_rows(rows, as_json=as_json)


class ServerHolder:
    """The running server keeps its state from going away, as long as it is asked again."""

    def __init__(self, target: Target, server: Remote) -> None:
        self._target = target
        self._server: Remote | None = server

    def pin(self) -> Any:  # noqa: ANN401 - imported only where a backup is made
        import msgspec

        from orrery.store.pins import Pinned

        return msgspec.convert(self._ask("POST", PINS), Pinned)

    def renew(self, pin_id: str, *, log: bool) -> None:
        self._ask("PATCH", f"{PINS}/{quote(pin_id)}", {"log": log})

    def release(self, pin_id: str) -> None:
        self._ask("DELETE", f"{PINS}/{quote(pin_id)}")

    def _ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        # A connection a call: the pin is renewed on a thread of its own.
        server, self._server = self._server or running(self._target), None
        if server is None:
            raise Unavailable("cannot back up: the server has stopped")
        return server.ask(method, path, body)
