"""The compiled core, file by file as in ``rust/src``; only ``orrery.kernels`` imports it.

Every function releases the interpreter lock while it works. Errors are those of
``orrery.errors``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# --- aggregate.rs

# --- answer.rs

# --- batch.rs

class Batch:
    """What a wire decoded a request into, on its way to the series table.

    A key stands for one series as the wire wrote it.
    """

    @property
    def sample_count(self) -> int: ...
    @property
    def key_count(self) -> int: ...
    @property
    def rejected(self) -> list[tuple[int, str]]:
        """(1-based line or series, reason) of what the decoder refused; the rest is good."""

    @property
    def metadata(self) -> list[tuple[str, str, str, str]]:
        """(name, kind, help, unit) of metrics, in Prometheus' words."""

    def columns(self) -> dict[str, Any]:
        """Copies of the columns, for tests and inspection: ``times_ns``, ``values`` (bits) and
        ``kinds`` one a sample; ``lines``, ``sample_ends`` and ``hashes`` one a key."""

    def canonical(
        self,
        key: int,
        *,
        defaults: Sequence[tuple[str, str]] = (),
        forced: Sequence[tuple[str, str]] = (),
    ) -> bytes:
        """Canonical bytes of key ``key``; ``Invalid`` with the reason where it cannot be stored."""

    def payload(self, sample: int) -> bytes | None:
        """The value of a sample whose kind is string or bytes."""

# --- block.rs

# --- checksum.rs

def crc32c(data: bytes, *, seed: int = 0) -> int:
    """CRC32C of ``data``; ``seed`` is that of the bytes before it."""

# --- columns.rs

def decode_columns(
    series: Sequence[bytes],
    offsets: NDArray[np.int64],
    times_ns: NDArray[np.int64],
    values: NDArray[np.float64]
    | NDArray[np.int64]
    | NDArray[np.uint64]
    | NDArray[np.bool_]
    | Sequence[str]
    | Sequence[bytes],
) -> Batch:
    """Series ``i`` (canonical bytes) owns samples ``offsets[i]:offsets[i + 1]``; the kind of the
    values is that of their type."""

# --- compaction.rs

# --- decompress.rs

def decompress(encoding: str, body: bytes, *, size_bytes_max: int) -> bytes:
    """Takes off an HTTP content coding: identity, gzip, deflate, snappy (blocks) or zstd.

    ``Exhausted`` where the result is larger than ``size_bytes_max``, before it is allocated;
    ``Invalid`` where the body is broken or the encoding unknown.
    """

# --- head.rs

# --- line_protocol.rs

def decode_line_protocol(
    body: bytes,
    *,
    precision_ns: int,
    now_ns: int,
    encoding: str = "identity",
    size_bytes_max: int = ...,
) -> Batch:
    """Decodes InfluxDB line protocol, after taking off ``encoding`` as ``decompress`` does.

    Times are in units of ``precision_ns``; lines without one get ``now_ns`` cut to that unit. A
    bad line is rejected, worded as InfluxDB does.
    """

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

# --- relabel.rs

def expand_matches(pattern: str, template: str, texts: list[str]) -> list[str | None]: ...
def matches_empty(pattern: str) -> bool: ...

# --- remote_write.rs

def decode_remote_write_1(
    body: bytes, *, encoding: str = "identity", size_bytes_max: int = ...
) -> Batch:
    """Decodes a ``prometheus.WriteRequest``, after taking off ``encoding``; ``Invalid`` where it
    is broken."""

def decode_remote_write_2(
    body: bytes, *, encoding: str = "identity", size_bytes_max: int = ...
) -> Batch:
    """Decodes an ``io.prometheus.write.v2.Request``, after taking off ``encoding``."""

# --- selector.rs

# --- series.rs

def encode_series(name: str, field: str, labels: Sequence[tuple[str, str]]) -> bytes:
    """Canonical bytes (docs/formats/series.md). ``field`` may be empty; labels come in any order,
    those with an empty value are left out. ``Invalid`` for an empty name or a repeated label."""

def parse_series(canonical: bytes) -> tuple[str, str, list[tuple[str, str]]]:
    """Name, field ("" for none) and sorted labels; ``Corrupt`` where the bytes are not a series."""

def series_id(canonical: bytes) -> int:
    """The 128-bit id of a series, the same on every machine."""

def shard(tenant: str, id: int) -> int:
    """The shard of a series, 0 to 1023, fixed for ever."""

# --- series_table.rs

# --- snapshot.rs

# --- source.rs

# --- window.rs
