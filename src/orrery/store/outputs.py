"""Blocks on their way into the manifest: flush, compaction and roll-ups write them by this."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from orrery.errors import Corrupt, Unavailable
from orrery.store.kernels import BlockSummary
from orrery.store.manifest import BlockEntry
from orrery.store.quarantine import suspect
from orrery.store.state import Ended, OpenBlock, State

Write = Callable[[str], BlockSummary | None]
EntryOf = Callable[[str, BlockSummary], BlockEntry]


class Outputs:
    """What is written so far; to be settled whether or not it is committed."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.blocks: list[OpenBlock] = []

    def add(self, write: Write, entry_of: EntryOf) -> None:
        """A block of what ``write`` puts into the file it is named; none where it gives None."""
        made = self._state.files.create(write)
        if made is not None:
            name, summary = made
            self.blocks.append(self._state.open_output(name, entry_of(name, summary)))

    @property
    def byte_count(self) -> int:
        return sum(block.entry.byte_count for block in self.blocks)

    @property
    def sample_count(self) -> int:
        return sum(block.entry.sample_count for block in self.blocks)


@contextmanager
def replacing(state: State, inputs: Sequence[BlockEntry], *, verb: str) -> Iterator[Outputs]:
    """What is added inside takes the place of ``inputs`` in one commit at the end.

    ``Ended`` where the store is closing; blocks in which damage was met are looked over.
    """
    outputs = Outputs(state)
    try:
        yield outputs
        state.commit(add=outputs.blocks, drop=[entry.name for entry in inputs])
    except Unavailable as error:
        if state.rewrites_ended:
            raise Ended(f"cannot {verb}: the store is closing: {error}") from error
        raise
    except Corrupt as error:
        suspect(state, error)
        raise
    finally:
        state.settle(outputs.blocks)
