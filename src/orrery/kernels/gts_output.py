"""Series and their samples as Warp 10 shows them, called by ``protocols/warp10``."""

from orrery._core import GtsExport, GtsSeries

__all__ = ["GtsExport", "GtsSeries"]
