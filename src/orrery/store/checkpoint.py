"""Checkpoints: definitions of the live series, in objects that the manifest lists.

A flush adds what was registered since the last one; now and then all is written anew. Called by
``flush`` and ``recovery``.
"""

from orrery.store.manifest import Manifest
from orrery.store.state import Checkpoint, State

DEFINED_SPARE = 10_000
"""Definitions of series that left are put up with up to this many and half of the live ones."""


def loaded(manifest: Manifest, state: State, series_defined: int) -> Checkpoint:
    """After the objects of a manifest were loaded into the table."""
    until = state.table.definitions(0).until
    return Checkpoint(manifest.checkpoints, until, series_defined)


def write_checkpoint(state: State, before: Checkpoint) -> Checkpoint:
    """Taken after the freeze: it may name series that only later records define, which is
    harmless. No more than a part is in memory at once."""
    whole = _is_due_whole(state, before)
    definitions = state.table.definitions(0 if whole else before.until)
    fresh = []
    for part in definitions:
        name = state.object_name("checkpoints", ".series")
        state.parts.objects.put(name, part)
        fresh.append(name)
    if whole:
        return Checkpoint(tuple(fresh), definitions.until, definitions.count, len(fresh))
    return Checkpoint(
        (*before.names, *fresh),
        definitions.until,
        before.series_defined + definitions.count,
        before.whole_parts,
    )


def _is_due_whole(state: State, before: Checkpoint) -> bool:
    added = len(before.names) - max(before.whole_parts - 1, 0)
    live = state.table.series_count
    return (
        not before.names
        or added >= state.parts.bounds.checkpoints_max
        or before.series_defined > live + live // 2 + DEFINED_SPARE
    )
