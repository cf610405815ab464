"""CRC32C of files that Python writes itself; called by ``store``."""

from orrery import _core


def crc32c(data: bytes, *, seed: int = 0) -> int:
    """The checksum of ``data``; ``seed`` is that of the bytes before it."""
    return _core.crc32c(data, seed=seed)
