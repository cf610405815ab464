"""Writing a block from any sources: flush and compaction alike; called by ``store``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orrery import _core
from orrery._core import Cancellation, Source

__all__ = ["BlockSummary", "Cancellation", "Delete", "Source", "TenantSummary", "write_block"]

Matchers = Sequence[tuple[str, str, str]]

KeepRow = tuple[Matchers, int, Sequence[tuple[int, int]]]
"""(matchers, from when on samples are kept, [(resolution, from when on)]): the first rule whose
matchers a series meets is its own."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Samples that a log record hides: of smaller offsets, times inclusive, all matchers met."""

    offset: int
    tenant: str
    matchers: Matchers
    min_ns: int
    max_ns: int


@dataclass(frozen=True, slots=True)
class TenantSummary:
    series_count: int
    sample_count: int
    page_bytes: int
    min_ns: int
    max_ns: int


@dataclass(frozen=True, slots=True)
class BlockSummary:
    """What a written block holds; ``bytes_by_section`` names every part of the file but the
    header, the footer and the sections' checksums."""

    sample_count: int
    series_count: int
    min_ns: int
    max_ns: int
    file_bytes: int
    tenants: Mapping[str, TenantSummary]
    bytes_by_section: Mapping[str, int]


def write_block(
    sources: Sequence[Source],
    deletes: Sequence[Delete],
    path: Path,
    *,
    min_ns: int,
    max_ns: int,
    keep: Mapping[str, Sequence[KeepRow]],
    effort: Literal["fast", "small"],
    offset_first: int = 0,
    offset_last: int = 0,
    cancellation: Cancellation | None = None,
) -> BlockSummary | None:
    """Merges the sources' samples in ``min_ns..max_ns`` (inclusive) into one durable file.

    ``path`` must not exist; the caller links the file into place. At an equal time the source of
    the greater order wins. Where nothing is left, there is no file and the answer is None.
    ``keep`` is retention: what a tenant's rules no longer keep is left out.
    ``Unavailable`` where the disk fails or ``cancellation`` was used; no file is left then.
    """
    found = _core.write_block(
        list(sources),
        delete_rows(deletes),
        path,
        min_ns=min_ns,
        max_ns=max_ns,
        keep=keep_rows(keep),
        effort=effort,
        offset_first=offset_first,
        offset_last=offset_last,
        cancellation=cancellation,
    )
    return summary_of(found)


PlainDelete = tuple[int, str, list[tuple[str, str, str]], int, int]
PlainKeep = tuple[list[tuple[str, str, str]], int, list[tuple[int, int]]]


def delete_rows(deletes: Sequence[Delete]) -> list[PlainDelete]:
    return [(d.offset, d.tenant, list(d.matchers), d.min_ns, d.max_ns) for d in deletes]


def keep_rows(keep: Mapping[str, Sequence[KeepRow]]) -> dict[str, list[PlainKeep]]:
    return {
        tenant: [(list(matchers), from_ns, list(coarse)) for matchers, from_ns, coarse in rows]
        for tenant, rows in keep.items()
    }


def summary_of(found: dict[str, Any] | None) -> BlockSummary | None:
    if found is None:
        return None
    tenants = {name: TenantSummary(**row) for name, row in found.pop("tenants").items()}
    return BlockSummary(tenants=tenants, **found)
