"""A series' identity as bytes (docs/formats/series.md), for whoever builds or shows series."""

from orrery._core import encode_series, parse_series, series_id, shard

__all__ = ["encode_series", "parse_series", "series_id", "shard"]
