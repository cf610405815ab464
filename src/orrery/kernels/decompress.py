"""Bounded decompression of request bodies, called by wires that read a body before they decode it."""

from orrery._core import decompress

ENCODINGS = frozenset({"identity", "gzip", "deflate", "snappy", "zstd"})
"""The HTTP content codings that ``decompress`` and the decoders take off."""

__all__ = ["ENCODINGS", "decompress"]
