"""Orrery: popular time-series APIs in front of one storage, for many tenants at once.

``open`` and ``connect`` are imported when first used, so that ``import orrery`` is quick.
"""

from typing import TYPE_CHECKING

from orrery import errors

if TYPE_CHECKING:
    from orrery.api import Database, PartlyWritten, Result, Written, connect, open

__all__ = ["Database", "PartlyWritten", "Result", "Written", "connect", "errors", "open"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'orrery' has no attribute {name!r}")
    from orrery import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
