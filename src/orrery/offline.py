"""What the command line does on a data directory by itself, put together; ``cli`` calls it.

Beside ``app`` the only module that constructs parts. ``serve`` is here so that the command line
has all it asks for in one module.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec

from orrery.app import build_administration, open_engine, serve
from orrery.clock import SystemChance, SystemClock
from orrery.errors import Invalid
from orrery.kernels.block import Block
from orrery.objects.contract import Objects
from orrery.objects.local import LocalObjects
from orrery.protocols.admin.maintenance import compacting
from orrery.settings import of_environment
from orrery.store.inspect import Inspection
from orrery.store.layout import DataDirectory
from orrery.store.native import NativeKernels
from orrery.store.verify import Verification
from orrery.telemetry import Events
from orrery.tenancy.administration import OPERATOR, Administration
from orrery.tenancy.documents import Documents
from orrery.tenancy.limits import TenantLimits
from orrery.transfer.backup import Backups
from orrery.transfer.restore import restore as restored
from orrery.transfer.source import Holder, StoppedHolder
from orrery.transfer.throttle import Throttle
from orrery.transfer.verify import verify as verified

__all__ = [
    "administration",
    "backup",
    "backups",
    "compact",
    "inspect",
    "quarantine",
    "restore",
    "serve",
    "verify",
]

Row = dict[str, object]


@contextlib.contextmanager
def administration(data_dir: Path) -> Iterator[Administration]:
    """Tenants and tokens of a directory that no server has open."""
    clock, events = SystemClock(), Events(logging.getLogger("orrery"))
    with DataDirectory(data_dir).open() as directory:
        documents = Documents(objects=LocalObjects(directory.objects_path), clock=clock)
        limits = TenantLimits(documents=documents, defaults=of_environment(os.environ).limits)
        found = (
            directory,
            documents,
            limits,
            Inspection(data_dir, kernels=NativeKernels()).tenants,
        )
        yield build_administration(*found, events, clock, SystemChance())


def compact(data_dir: Path) -> Iterator[Row]:
    """Flushes and compacts a directory that no server has open; a row a step."""
    if not data_dir.is_dir():
        raise Invalid(f"cannot compact {str(data_dir)!r}: there is no such directory")
    engine = open_engine(data_dir)
    try:
        yield from compacting(engine.store)
    finally:
        engine.close()


def quarantine(data_dir: Path, action: str, block: str) -> Row:
    """One action on the damaged blocks of a directory that no server has open."""
    if not data_dir.is_dir():
        raise Invalid(f"cannot open {str(data_dir)!r}: there is no such directory")
    engine = open_engine(data_dir)
    try:
        if action == "list":
            return to_row(engine.store.quarantine())
        found = (engine.directory, engine.documents, engine.limits, engine.store.tenants)
        events = Events(logging.getLogger("orrery"))
        recorded = build_administration(*found, events, engine.clock, SystemChance())
        change = engine.store.release_block if action == "release" else engine.store.drop_block
        with recorded.quarantine(OPERATOR, action, block):
            return to_row(change(block))
    finally:
        engine.close()


def to_row(answer: object) -> Row:
    return cast(Row, msgspec.to_builtins(answer))


def inspect(data_dir: Path, part: str) -> Iterator[Row]:
    return Inspection(data_dir, kernels=NativeKernels()).describe(part)


def verify(data_dir: Path, target: str | None = None) -> Iterator[Row]:
    """The directory, or the backups at ``target``."""
    if target is not None:
        return verified(_target(target))
    return Verification(data_dir, kernels=NativeKernels()).rows()


# --- backups


def backup(
    data_dir: Path,
    target: str,
    *,
    holder: Holder | None,
    bytes_per_second: int | None,
    keep: int | None,
) -> Iterator[Row]:
    """``holder`` is a running server; without one the directory's lock is taken."""
    directory = DataDirectory(data_dir)
    objects = LocalObjects(directory.objects_path, owned=False)
    with contextlib.ExitStack() as stack:
        if holder is None:
            stack.enter_context(directory.owned())
            holder = StoppedHolder(directory, objects)
        yield from _backups(_target(target, owned=True)).make(
            directory,
            objects,
            holder,
            verify_block=lambda path: Block.open(Path(path)).verify(),
            bytes_per_second=bytes_per_second,
            keep=keep,
        )


def backups(target: str) -> Iterator[Row]:
    return _backups(_target(target)).rows()


def restore(
    data_dir: Path, target: str, *, backup_id: str | None, bytes_per_second: int | None
) -> Iterator[Row]:
    return restored(
        _target(target),
        DataDirectory(data_dir),
        backup_id=backup_id,
        throttle=Throttle(SystemClock(), bytes_per_second),
    )


def _backups(target: Objects) -> Backups:
    return Backups(target, clock=SystemClock(), chance=SystemChance())


def _target(place: str, *, owned: bool = False) -> Objects:
    """A directory, also as ``file://``, or a URL of an object store."""
    if "://" in place and not place.startswith("file://"):
        from orrery.objects.cloud import CloudObjects

        return CloudObjects(place)
    path = Path(place.removeprefix("file://"))
    if not owned and not path.is_dir():
        raise Invalid(f"cannot read backups in {place!r}: there is no such directory")
    return LocalObjects(path, owned=owned)
