"""What the command line asks of ``orrery.offline``, which is such an object as a module."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import click

if TYPE_CHECKING:
    from orrery.settings import Settings
    from orrery.tenancy.administration import Administration
    from orrery.transfer.source import Holder

Row = dict[str, object]
"""One finding or step: printed as ``key=value`` pairs, or as a line of JSON."""


class Application(Protocol):
    def serve(self, settings: "Settings", ready: "Callable[[str], None]") -> None:
        """Runs the server until SIGTERM or SIGINT; ``ready`` is told its URL."""

    def administration(self, data_dir: Path) -> "AbstractContextManager[Administration]":
        """Takes the data directory's lock, with no server running."""

    def compact(self, data_dir: Path) -> Iterator[Row]:
        """Takes the lock and compacts everything; a row a step."""

    def quarantine(self, data_dir: Path, action: str, block: str) -> Row:
        """Takes the lock and does one of ``list``, ``release`` and ``drop``: the answer of the
        admin API's operation."""

    def inspect(self, data_dir: Path, part: str) -> Iterator[Row]:
        """Describes ``log``, ``blocks``, ``manifest`` or ``all``; reads only, needs no lock."""

    def verify(self, data_dir: Path, target: str | None = None) -> Iterator[Row]:
        """Reads every stored byte, or every byte of the backups at ``target``; each row says what
        was read, whether it is ``ok``, and why not. Needs no lock."""

    def backup(
        self,
        data_dir: Path,
        target: str,
        *,
        holder: "Holder | None",
        bytes_per_second: int | None,
        keep: int | None,
    ) -> Iterator[Row]:
        """Copies everything to ``target``; ``holder`` is the server that runs, or None."""

    def backups(self, target: str) -> Iterator[Row]:
        """What there is at ``target``, the oldest first."""

    def restore(
        self, data_dir: Path, target: str, *, backup_id: str | None, bytes_per_second: int | None
    ) -> Iterator[Row]:
        """Brings a backup, the newest where none is named, into an empty directory."""


def application(context: click.Context) -> Application:
    """What the caller of ``main`` handed in, else ``orrery.offline``."""
    given = context.find_root().obj
    return cast(Application, given or importlib.import_module("orrery.offline"))
