"""Writing coarse blocks from samples and from the rows there are; called by ``store``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from orrery import _core
from orrery._core import Cancellation, Source
from orrery.kernels.compaction import (
    BlockSummary,
    Delete,
    KeepRow,
    delete_rows,
    keep_rows,
    summary_of,
)


def write_rollup(
    raw: Sequence[Source],
    old: Sequence[Source],
    deletes: Sequence[Delete],
    path: Path,
    *,
    resolution_ns: int,
    days: Sequence[tuple[int, int]],
    keep: Mapping[str, Sequence[KeepRow]],
    offset_last: int = 0,
    cancellation: Cancellation | None = None,
) -> BlockSummary | None:
    """Writes buckets of ``resolution_ns``: inside ``days`` (inclusive, whole buckets) from the
    samples of ``raw``, elsewhere the rows of ``old``, which do not overlap.

    Tenants whose rules name the resolution become part of the block, with rows or without. A row
    that a delete touches is made anew or left out.
    """
    found = _core.write_rollup(
        list(raw),
        list(old),
        delete_rows(deletes),
        path,
        resolution_ns=resolution_ns,
        days=list(days),
        keep=keep_rows(keep),
        offset_last=offset_last,
        cancellation=cancellation,
    )
    return summary_of(found)
