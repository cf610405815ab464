"""What the write side of every wire is handed; ``app`` fills it."""

from concurrent.futures import Executor
from dataclasses import dataclass

from orrery.clock import Clock
from orrery.ingest.contract import Accept
from orrery.tenancy.access import Access


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteParts:
    """``size_bytes_max`` bounds a body with its encoding taken off; ``decode_executor`` runs what
    is too long for the event loop."""

    access: Access
    accept: Accept
    decode_executor: Executor
    clock: Clock
    size_bytes_max: int
