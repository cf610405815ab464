"""What one query has used and may use; made by ``query``, shared by every kernel of the query."""

from orrery._core import Meter

__all__ = ["Meter"]
