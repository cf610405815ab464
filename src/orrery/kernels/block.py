"""Block files: opening, verifying and describing (docs/formats/block.md); called by ``store``."""

from orrery._core import Block, Source

__all__ = ["Block", "Source"]
