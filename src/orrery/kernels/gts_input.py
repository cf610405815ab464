"""The decoders of Warp 10's input format, called by ``protocols/warp10``."""

from orrery._core import decode_gts, decode_gts_meta

__all__ = ["decode_gts", "decode_gts_meta"]
