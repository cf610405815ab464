"""Whole expressions in one call of the core.

Languages build a :class:`Fused` for the parts of a query that have such a shape; ``query.reader``
runs it over a snapshot. What it answers is what the language's own evaluation would.
"""

from orrery._core import Fused

__all__ = ["SLOT", "Fused"]

SLOT = "\ue000"
"""Begins a text of a :class:`Fused` that is to be filled in; a number follows."""
