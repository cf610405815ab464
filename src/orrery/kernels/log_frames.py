"""Frames of log segments (docs/formats/log_segment.md); called by ``log`` and ``store.inspect``."""

from orrery import _core

FRAME_HEADER_BYTES = 20


def frame_headers(records: list[bytes], *, offset: int, synced: int) -> list[bytes]:
    """What stands before each of ``records`` in the log, numbered from ``offset``; the header of
    an empty record is a seal."""
    return _core.frame_headers(records, offset=offset, synced=synced)


def scan_frames(
    data: bytes, *, position: int, offset: int
) -> tuple[list[tuple[int, int]], int, int]:
    """Payload spans of the good frames from ``position`` on, where they stop, the next offset."""
    return _core.scan_frames(data, position=position, offset=offset)


def find_witness(data: bytes, *, position: int, offset: int) -> int | None:
    """Where a good frame behind ``position`` says that the bytes there had been durable."""
    return _core.find_witness(data, position=position, offset=offset)
