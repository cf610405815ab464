"""Reads every live block now and then, so that damage is known while a backup still has the bytes.

``app`` calls :meth:`Scrub.step` every ``TICK_SECONDS``; a round over all blocks takes ``days``.
"""

from collections.abc import Callable

from orrery.clock import Clock
from orrery.errors import Corrupt, OrreryError
from orrery.store.kernels import Kernels
from orrery.store.manifest import BlockEntry
from orrery.store.state import Observe

TICK_SECONDS = 10.0
DAY_SECONDS = 86_400


class Scrub:
    """Blocks in the order of their names, each as a whole once so many bytes are due."""

    def __init__(
        self,
        *,
        blocks: Callable[[], tuple[BlockEntry, ...]],
        path_of: Callable[[str], str],
        kernels: Kernels,
        clock: Clock,
        observe: Observe,
        suspect: Callable[[Corrupt], None],
        days: float,
    ) -> None:
        self._blocks = blocks
        self._path_of = path_of
        self._kernels = kernels
        self._clock = clock
        self._observe = observe
        self._suspect = suspect
        self._round_seconds = days * DAY_SECONDS
        self._checked_name = ""
        self._due_bytes = 0.0
        self._seen_seconds = clock.monotonic_seconds()

    def step(self) -> str | None:
        """The name of the block that was read, where one was due."""
        entries = sorted(self._blocks(), key=lambda entry: entry.name)
        if not entries:
            return None
        now = self._clock.monotonic_seconds()
        total = sum(entry.byte_count for entry in entries)
        self._due_bytes += (now - self._seen_seconds) * total / self._round_seconds
        self._seen_seconds = now
        later = [entry for entry in entries if entry.name > self._checked_name]
        entry = (later or entries)[0]
        if self._due_bytes < entry.byte_count:
            return None
        # What a sleep or a large block left over is not made up for at once.
        self._due_bytes = min(self._due_bytes - entry.byte_count, entry.byte_count)
        self._checked_name = entry.name
        self._check(entry)
        return entry.name

    def _check(self, entry: BlockEntry) -> None:
        path = self._path_of(entry.name)
        try:
            block, _ = self._kernels.open_block(path)
            block.verify()
        except OrreryError as error:
            if entry not in self._blocks():
                return
            if isinstance(error, Corrupt):
                self._suspect(error)
            event = "damage_found" if isinstance(error, Corrupt) else "scrub_failed"
            self._observe(event, {"file": path, "error": str(error)})
        else:
            self._observe("block_scrubbed", {"file": path, "bytes": entry.byte_count})
