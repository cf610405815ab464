"""The decoder of InfluxDB line protocol, called by ``protocols/influxdb``."""

from orrery._core import decode_line_protocol

__all__ = ["decode_line_protocol"]
