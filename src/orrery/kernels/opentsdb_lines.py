"""The decoder of OpenTSDB's telnet lines, called by ``protocols/opentsdb/telnet``."""

from orrery._core import decode_opentsdb_lines, opentsdb_lines_end

__all__ = ["decode_opentsdb_lines", "opentsdb_lines_end"]
