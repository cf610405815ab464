"""Threads besides those of queries and upkeep."""

from concurrent.futures import ThreadPoolExecutor

from orrery.ingest.turns import BoundedExecutor
from orrery.settings import Settings


class Executors:
    def __init__(self, settings: Settings) -> None:
        self.bodies = ThreadPoolExecutor(settings.http_threads, thread_name_prefix="bodies")
        self.ingest = BoundedExecutor(
            threads=settings.ingest_threads,
            pending_max=settings.ingest_requests_max,
            limit_name="ingest_requests_max",
        )

    def close(self) -> None:
        self.ingest.shutdown()
        self.bodies.shutdown()
