"""Bounded decompression of request bodies, for handlers that want them plain."""

from orrery._core import decompress

ENCODINGS = frozenset({"identity", "gzip", "deflate", "snappy", "zstd"})
"""The HTTP content codings that ``decompress`` and the decoders take off."""

__all__ = ["ENCODINGS", "decompress"]
