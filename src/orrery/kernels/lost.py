"""What stands for a block that cannot be read: an error wherever it might have had a part."""

from collections.abc import Iterable

from orrery import _core


def lost_source(
    message: str,
    *,
    min_ns: int,
    max_ns: int,
    tenants: Iterable[str] | None,
    order: int,
    deletes_through: int,
) -> _core.Source:
    """Reads of ``tenants`` (None: of whoever) that meet the range, inclusive, are ``Corrupt``."""
    return _core.lost_source(
        message,
        min_ns=min_ns,
        max_ns=max_ns,
        tenants=None if tenants is None else list(tenants),
        order=order,
        deletes_through=deletes_through,
    )
