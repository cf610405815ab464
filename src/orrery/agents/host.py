"""This host's CPU, memory, disks and network as series, every few seconds.

``app`` runs one where ``host_metrics_seconds`` is set. Names and labels are those of Prometheus'
node exporter, so that dashboards made for it fit.
"""

from collections.abc import Callable, Iterator

import numpy as np
import psutil

from orrery.agents.periodic import Periodic
from orrery.clock import Clock
from orrery.errors import OrreryError
from orrery.model.effects import Labels
from orrery.model.points import WRITE_SECONDS_MAX, Point, WritePoints
from orrery.telemetry import Event, Events

MEMORY_NAMES = {
    "total": "node_memory_MemTotal_bytes",
    "available": "node_memory_MemAvailable_bytes",
    "free": "node_memory_MemFree_bytes",
    "buffers": "node_memory_Buffers_bytes",
    "cached": "node_memory_Cached_bytes",
}
DISK_NAMES = {
    "read_count": "node_disk_reads_completed_total",
    "write_count": "node_disk_writes_completed_total",
    "read_bytes": "node_disk_read_bytes_total",
    "write_bytes": "node_disk_written_bytes_total",
}
NETWORK_NAMES = {
    "bytes_recv": "node_network_receive_bytes_total",
    "bytes_sent": "node_network_transmit_bytes_total",
    "packets_recv": "node_network_receive_packets_total",
    "packets_sent": "node_network_transmit_packets_total",
    "errin": "node_network_receive_errs_total",
    "errout": "node_network_transmit_errs_total",
    "dropin": "node_network_receive_drop_total",
    "dropout": "node_network_transmit_drop_total",
}
NOT_DISKS = ("loop", "ram", "zram", "fd")
CPU_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


class HostAgent:
    """``start`` begins on a thread of its own; ``stop`` returns when the last write is through."""

    def __init__(
        self,
        *,
        tenant: str,
        instance: str,
        period_seconds: float,
        write: WritePoints,
        clock: Clock,
        events: Events,
        collect: "Callable[[], Iterator[Point]] | None" = None,
    ) -> None:
        self._tenant = tenant
        self._instance = ("instance", instance)
        self._write = write
        self._clock = clock
        self._collect = collect or host_points
        self._turns = Periodic(
            name="host-metrics",
            period_seconds=period_seconds,
            work=self.write_once,
            expected=(OrreryError, OSError, psutil.Error),
            on_failure=lambda error: events.warning(Event.HOST_METRICS_FAILED, message=error),
            clock=clock,
        )

    def start(self) -> None:
        self._turns.start()

    def stop(self) -> None:
        self._turns.stop()

    def write_once(self) -> None:
        points = list(self._collect())
        written = self._write(
            self._tenant,
            series=[(name, self._labelled(labels)) for name, labels, _ in points],
            time_ns=self._clock.now_ns(),
            values=np.array([value for _, _, value in points], dtype=np.float64),
        )
        written.result(WRITE_SECONDS_MAX)

    def _labelled(self, labels: Labels) -> Labels:
        return tuple(sorted((*labels, self._instance)))


def host_points() -> Iterator[Point]:
    """What this host is doing now, as (name, labels without instance, value)."""
    yield from _cpu()
    yield from _memory()
    yield from _disks()
    yield from _filesystems()
    yield from _network()
    yield "node_boot_time_seconds", (), psutil.boot_time()


def _cpu() -> Iterator[Point]:
    for number, times in enumerate(psutil.cpu_times(percpu=True)):
        for mode in CPU_MODES:
            if hasattr(times, mode):
                labels = (("cpu", str(number)), ("mode", mode))
                yield "node_cpu_seconds_total", labels, getattr(times, mode)
    for name, value in zip(("1", "5", "15"), psutil.getloadavg(), strict=True):
        yield f"node_load{name}", (), value


def _memory() -> Iterator[Point]:
    memory = psutil.virtual_memory()
    for field, name in MEMORY_NAMES.items():
        if hasattr(memory, field):
            yield name, (), getattr(memory, field)
    swap = psutil.swap_memory()
    yield "node_memory_SwapTotal_bytes", (), swap.total
    yield "node_memory_SwapFree_bytes", (), swap.free


def _disks() -> Iterator[Point]:
    for device, counters in (psutil.disk_io_counters(perdisk=True) or {}).items():
        if device.startswith(NOT_DISKS):
            continue
        for field, name in DISK_NAMES.items():
            yield name, (("device", device),), getattr(counters, field)
        yield "node_disk_io_time_seconds_total", (("device", device),), counters.busy_time / 1000


def _filesystems() -> Iterator[Point]:
    seen: set[str] = set()
    for partition in psutil.disk_partitions(all=False):
        if partition.device in seen:
            continue
        seen.add(partition.device)
        try:
            usage = psutil.disk_usage(partition.mountpoint)
        except OSError:
            # A mount that went away or may not be looked at has no size.
            continue
        labels = (
            ("device", partition.device),
            ("fstype", partition.fstype),
            ("mountpoint", partition.mountpoint),
        )
        yield "node_filesystem_size_bytes", labels, usage.total
        yield "node_filesystem_avail_bytes", labels, usage.free


def _network() -> Iterator[Point]:
    for device, counters in psutil.net_io_counters(pernic=True).items():
        for field, name in NETWORK_NAMES.items():
            yield name, (("device", device),), getattr(counters, field)
