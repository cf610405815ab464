"""What administrators did: JSON lines in a file that only grows, synced line by line.

``Administration`` writes each action before it is done, so that nothing is done unrecorded, and a
second line where it then failed. No secret is ever among the facts.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from orrery.clock import Clock
from orrery.durable import Disk
from orrery.errors import Unavailable
from orrery.telemetry import Event, Events

MODE = 0o600


class Audit(Protocol):
    def action(
        self, action: str, *, actor: str, tenant: str, **facts: object
    ) -> contextlib.AbstractContextManager[None]:
        """Records the action, and on an exception that it failed."""


class AuditFile:
    def __init__(self, path: Path, *, clock: Clock, events: Events) -> None:
        self._path = path
        self._clock = clock
        self._events = events
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def action(self, action: str, *, actor: str, tenant: str, **facts: object) -> Iterator[None]:
        line = {"action": action, "actor": actor, "tenant": tenant, **facts}
        self._append({**line, "outcome": "begun"})
        self._events.info(Event.ADMIN_ACTION, action=action, actor=actor, tenant=tenant)
        try:
            yield
        except BaseException as failure:
            self._append({**line, "outcome": "failed", "cause": str(failure)})
            raise
        self._append({**line, "outcome": "done"})

    def _append(self, line: dict[str, object]) -> None:
        encoded = msgspec.json.encode({"time_ns": self._clock.now_ns(), **line}) + b"\n"
        try:
            with self._lock:
                self._write(encoded)
        except OSError as error:
            raise Unavailable(f"cannot record an admin action: {error}") from error

    def _write(self, encoded: bytes) -> None:
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, MODE)
        try:
            os.write(descriptor, encoded)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            Disk().sync_directory(self._path.parent)
