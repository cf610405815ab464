"""Block files on the local disk: unique names, durable publication, removal after a grace period.

Called by the engine.
"""

import re
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from orrery.clock import Clock
from orrery.durable import Disk
from orrery.errors import Unavailable
from orrery.store.grace import Grace
from orrery.store.kernels import BlockSummary

_NAME = re.compile(r"[0-9]{10}-[0-9]{10}\.block")
_TEMPORARY = "~"


def is_name_of(name: str, epoch: int) -> bool:
    """Whether an owner up to ``epoch`` gave a block, checkpoint or metadata object its name."""
    return name[:10].isdigit() and int(name[:10]) <= epoch


class BlockFiles:
    """Names are ``<epoch>-<counter>.block``: an epoch is taken once, so no name comes twice."""

    def __init__(self, directory: Path, *, epoch: int, clock: Clock, disk: Disk) -> None:
        self._directory = directory
        self._disk = disk
        self._epoch = epoch
        self._lock = threading.Lock()
        self._counter = 0
        self._pending: set[str] = set()
        self._grace = Grace(clock)
        try:
            disk.make_directory(directory)
            for leftover in directory.glob(f"{_TEMPORARY}*"):
                disk.unlink(leftover)
        except OSError as error:
            raise Unavailable(f"cannot open blocks in {str(directory)!r}: {error}") from error

    def path(self, name: str) -> Path:
        return self._directory / name

    def create(
        self, write: Callable[[str], BlockSummary | None]
    ) -> tuple[str, BlockSummary] | None:
        """Gives ``write`` a temporary path; what it wrote (and synced) gets a durable name.

        None where ``write`` returned None: there was nothing to keep. The new file is safe from
        removal until ``settle``.
        """
        with self._lock:
            self._counter += 1
            name = f"{self._epoch:010d}-{self._counter:010d}.block"
            self._pending.add(name)
        temporary = self._directory / f"{_TEMPORARY}{name}"
        try:
            summary = write(str(temporary))
            if summary is None:
                self._disk.unlink(temporary)
                self.settle([name])
                return None
            self._disk.rename(temporary, self.path(name))
            self._disk.sync_directory(self._directory)
        except BaseException as error:
            self._disk.unlink(temporary)
            self.settle([name])
            if isinstance(error, OSError):
                raise Unavailable(f"cannot write block {name!r}: {error}") from error
            raise
        return name, summary

    def settle(self, names: Collection[str]) -> None:
        """From now on the manifest alone says whether these are live."""
        with self._lock:
            self._pending.difference_update(names)

    def names(self) -> set[str]:
        """Of the files that are there, live or not."""
        return {path.name for path in self._directory.iterdir() if _NAME.fullmatch(path.name)}

    def remove_unlisted(
        self, live: Callable[[], Collection[str]], *, grace_seconds: float
    ) -> list[str]:
        """Removes files that were in no manifest for ``grace_seconds``; returns their names."""
        found = {name for name in self.names() if is_name_of(name, self._epoch)}
        # In this order: what is no longer pending stands in the manifest that is read after.
        with self._lock:
            pending = set(self._pending)
        old = self._grace.expired(found - pending - set(live()), grace_seconds)
        for name in old:
            self._disk.unlink(self.path(name))
        return old
