"""The decoder of OpenTSDB's JSON, and what it echoes of it beside errors; ``protocols/opentsdb``
calls both."""

from orrery._core import decode_opentsdb, echo_opentsdb

__all__ = ["decode_opentsdb", "echo_opentsdb"]
