"""A series' identity as bytes: what the log, the head and blocks know it by."""

from orrery._core import encode_series, parse_series

__all__ = ["encode_series", "parse_series"]
