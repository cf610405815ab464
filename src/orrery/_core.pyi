"""The compiled core, file by file as in ``rust/src``; only ``orrery.kernels`` imports it.

Every function releases the interpreter lock while it works. Errors are those of
``orrery.errors``.
"""

# --- aggregate.rs

# --- answer.rs

# --- batch.rs

# --- block.rs

# --- checksum.rs

def crc32c(data: bytes, *, seed: int = 0) -> int:
    """CRC32C of ``data``; ``seed`` is that of the bytes before it."""

# --- compaction.rs

# --- decompress.rs

# --- head.rs

# --- line_protocol.rs

# --- log_frames.rs

def encode_frames(records: list[bytes], *, offset: int, synced: int) -> bytes:
    """Frames for ``records``, numbered from ``offset``; an empty record makes a seal."""

def scan_frames(
    data: bytes, *, position: int, offset: int
) -> tuple[list[tuple[int, int]], int, int]:
    """(payload spans of the good frames from ``position`` on, where they stop, next offset)."""

def find_witness(data: bytes, *, position: int, offset: int) -> int | None:
    """Where a good frame behind ``position`` says that the bytes there had been durable."""

# --- merge.rs

# --- meter.rs

# --- pages.rs

# --- record.rs

# --- remote_write.rs

# --- selector.rs

# --- series.rs

def encode_series(name: str, field: str, labels: list[tuple[str, str]]) -> bytes:
    """Canonical bytes (docs/formats/series.md). ``field`` may be empty; labels come in any order,
    those with an empty value are left out. ``Invalid`` for an empty name or a repeated label."""

def parse_series(canonical: bytes) -> tuple[str, str, list[tuple[str, str]]]:
    """Name, field ("" for none) and sorted labels; ``Corrupt`` where the bytes are not a series."""

# --- series_table.rs

# --- snapshot.rs

# --- source.rs

# --- window.rs
