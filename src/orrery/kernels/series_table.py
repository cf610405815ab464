"""Raw keys to series, and what they resolve to; used by ``ingest`` and ``store``."""

from orrery._core import Definitions, ResolveBounds, Resolved, SeriesTable

__all__ = ["Definitions", "ResolveBounds", "Resolved", "SeriesTable"]
