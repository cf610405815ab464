"""The bounds a server keeps its clients within; ``app`` fills them from the settings."""

import threading
from dataclasses import dataclass, fields

from orrery.errors import SERVER, Excess, Exhausted
from orrery.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Named as the settings are, without their ``http_``: docs/configuration.md explains each."""

    header_bytes_max: int
    header_seconds_max: float
    body_bytes_max: int
    body_decompressed_bytes_max: int
    body_seconds_max: float
    bodies_bytes_max: int
    connections_max: int
    requests_max: int
    keep_alive_seconds: float
    stall_seconds_max: float
    gzip_bytes_min: int
    grace_seconds: float
    slow_seconds: float
    log_requests: bool = False


def http_limits(settings: Settings) -> HttpLimits:
    """Each from the setting of its name."""
    names = [field.name for field in fields(HttpLimits)]
    return HttpLimits(**{name: getattr(settings, f"http_{name}") for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Named as the settings are, without their ``stream_``."""

    connections_max: int
    held_bytes_max: int
    first_seconds_max: float
    frame_seconds_max: float
    idle_seconds_max: float
    stall_seconds_max: float
    grace_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DatagramLimits:
    """Named as the settings are, without their ``datagram_``."""

    queue_bytes_max: int
    queue_count_max: int
    socket_bytes: int
    grace_seconds: float


def stream_limits(settings: Settings) -> StreamLimits:
    names = [field.name for field in fields(StreamLimits)]
    return StreamLimits(**{name: getattr(settings, f"stream_{name}") for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcLimits:
    """Those of HTTP, which gRPC keeps to as well."""

    body_bytes_max: int
    body_seconds_max: float
    header_bytes_max: int
    grace_seconds: float


def grpc_limits(settings: Settings) -> GrpcLimits:
    names = [field.name for field in fields(GrpcLimits)]
    return GrpcLimits(**{name: getattr(settings, f"http_{name}") for name in names})


def datagram_limits(settings: Settings) -> DatagramLimits:
    names = [field.name for field in fields(DatagramLimits)]
    return DatagramLimits(**{name: getattr(settings, f"datagram_{name}") for name in names})


class Budget:
    """Bytes of request bodies in memory, all requests together; and how many these are."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_held = 0
        self.requests_active = 0
        self._lock = threading.Lock()

    def hold(self, count: int) -> None:
        """``Exhausted`` where ``count`` more bytes would be too many; from any thread."""
        with self._lock:
            fits = self.bytes_held + count <= self.bytes_max
            self.bytes_held += count if fits else 0
        if not fits:
            raise Exhausted(
                f"cannot hold a body of {count} more bytes: "
                f"{self.bytes_held} of {self.bytes_max} bytes are in use (http_bodies_bytes_max)",
                Excess(
                    limit="http_bodies_bytes_max",
                    # What is too much by itself is so at any time: it is not to be sent again.
                    scope=SERVER if count <= self.bytes_max else "request",
                    value=self.bytes_max,
                    current=self.bytes_held,
                    retry_after_seconds=1.0,
                ),
            )

    def release(self, count: int) -> None:
        with self._lock:
            self.bytes_held -= count
