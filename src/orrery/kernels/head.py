"""Recent samples in memory, until a flush makes them a block; used by ``store``."""

from orrery._core import Generation, Head

__all__ = ["Generation", "Head"]
