"""The store's own bounds and intervals, with their defaults. Built by ``app`` from the settings."""

from dataclasses import dataclass

MINUTE_NS = 60 * 1_000_000_000
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
WINDOW_NS = 2 * HOUR_NS


@dataclass(frozen=True, slots=True)
class StoreBounds:
    """``head_bytes_flush`` begins a flush; at ``head_bytes_max`` writes are refused until one is
    done. ``log_replay_bytes_max`` bounds what a restart replays. Flushes cut at multiples of
    ``window_ns``; compaction merges no windows longer than ``block_range_ns_max``. Below
    ``disk_reserve_bytes`` of free space writes are refused."""

    head_bytes_flush: int = 256 * 1024 * 1024
    head_bytes_max: int = 768 * 1024 * 1024
    log_replay_bytes_max: int = 256 * 1024 * 1024
    window_ns: int = WINDOW_NS
    window_close_margin_ns: int = 10 * MINUTE_NS
    blocks_per_flush_max: int = 10
    block_bytes_max: int = 4 * 1024 * 1024 * 1024
    block_range_ns_max: int = 8192 * DAY_NS
    checkpoints_max: int = 64
    grace_seconds: float = 300.0
    series_idle_ns: int = 4 * HOUR_NS
    sweep_interval_seconds: float = 600.0
    delete_rewrite_after_ns: int = HOUR_NS
    disk_reserve_bytes: int = 512 * 1024 * 1024
    disk_check_interval_seconds: float = 1.0
    metadata_per_tenant_max: int = 20_000
    deletes_max: int = 10_000
    tenant_deletes_max: int = 2_500
