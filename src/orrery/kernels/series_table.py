"""Raw keys to series, and what they resolve to; used by ``ingest`` and ``store``."""

from orrery._core import ResolveBounds, Resolved, SeriesTable

__all__ = ["ResolveBounds", "Resolved", "SeriesTable"]
