"""Frames of log segments (docs/formats/log_segment.md); called by ``log`` and ``store.inspect``."""

from orrery import _core

FRAME_HEADER_BYTES = 20


def encode_frames(records: list[bytes], *, offset: int, synced: int) -> bytes:
    """Frames for ``records``, numbered from ``offset``; an empty record makes a seal."""
    return _core.encode_frames(records, offset=offset, synced=synced)


def scan_frames(
    data: bytes, *, position: int, offset: int
) -> tuple[list[tuple[int, int]], int, int]:
    """Payload spans of the good frames from ``position`` on, where they stop, the next offset."""
    return _core.scan_frames(data, position=position, offset=offset)


def find_witness(data: bytes, *, position: int, offset: int) -> int | None:
    """Where a good frame behind ``position`` says that the bytes there had been durable."""
    return _core.find_witness(data, position=position, offset=offset)
