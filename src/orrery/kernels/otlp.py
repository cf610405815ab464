"""The decoder of OTLP metrics and how it names series, called by ``protocols/otlp``."""

from orrery._core import OtlpOptions, decode_otlp

__all__ = ["OtlpOptions", "decode_otlp"]
