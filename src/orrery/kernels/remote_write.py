"""The decoders of Prometheus remote write 1.0 and 2.0, called by ``protocols/prometheus``."""

from orrery._core import decode_remote_write_1, decode_remote_write_2

__all__ = ["decode_remote_write_1", "decode_remote_write_2"]
