"""The group of commands. A command's help line stands here, so that ``--help`` loads none."""

import importlib
import sys
from typing import Any, NoReturn

import click

from orrery.errors import Corrupt, Denied, Exhausted, Invalid, OrreryError, Unavailable

COMMANDS = {
    "serve": ("orrery.cli.serve:serve", "Run the server."),
    "query": ("orrery.cli.query:query", "Ask a PromQL question."),
    "tenant": ("orrery.cli.tenant:tenant", "Create and list tenants, set their limits."),
    "token": ("orrery.cli.token:token", "Create, list and revoke tokens."),
    "inspect": ("orrery.cli.store:inspect", "Describe what a data directory holds."),
    "verify": ("orrery.cli.store:verify", "Check every stored byte against its checksum."),
    "quarantine": (
        "orrery.cli.quarantine:quarantine",
        "List damaged blocks, take them back or let go of them.",
    ),
    "compact": ("orrery.cli.store:compact", "Compact all blocks now."),
    "backup": ("orrery.cli.backup:backup", "Back everything up to TARGET."),
    "restore": ("orrery.cli.backup:restore", "Restore a backup at TARGET."),
    "receipt": ("orrery.cli.receipt:receipt", "Show what became of deletes."),
    "settings": ("orrery.cli.serve:settings", "List every setting with its default."),
    "version": ("orrery.cli.version:version", "Print the version."),
}

EXIT_CODES: tuple[tuple[type[OrreryError], int], ...] = (
    (Invalid, 2),
    (Denied, 3),
    (Exhausted, 4),
    (Unavailable, 5),
    (Corrupt, 6),
)


class LazyGroup(click.Group):
    """Loads a command's module when that command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click has it
        try:
            return super().invoke(ctx)
        except OrreryError as error:
            _fail(error)


def _fail(error: OrreryError) -> NoReturn:
    raise Failure(error) from error


class Failure(click.ClickException):
    """Shown as ``Error: ...``; the exit code says what kind of error it was."""

    def __init__(self, error: OrreryError) -> None:
        super().__init__(str(error))
        codes = (code for kind, code in EXIT_CODES if isinstance(error, kind))
        self.exit_code = next(codes, 1)  # type: ignore[misc]


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 2 wrong request, 3 no right, 4 a limit, 5 try again, "
    "6 stored data is damaged.",
)
def orrery() -> None:
    """Orrery: popular time-series APIs in front of one storage, for many tenants.

    `orrery serve` runs it; every other command reaches the running server through the socket in
    its data directory, or works on the directory itself where no server runs.
    """


def main() -> None:
    sys.exit(orrery())
