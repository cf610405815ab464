"""The decoders of Graphite's wires, called by ``protocols/graphite``."""

from orrery._core import decode_graphite_lines, decode_graphite_pickles

__all__ = ["decode_graphite_lines", "decode_graphite_pickles"]
