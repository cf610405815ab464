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
        self, action: str, *, actor: str, tenant: str, relieves: bool = False, **facts: object
    ) -> contextlib.AbstractContextManager[None]:
        """Records the action, and on an exception that it failed.

        ``relieves``: it frees space or saves data, so it is done even where the disk takes no
        record of it (decision 0063).
        """


class AuditFile:
    def __init__(self, path: Path, *, clock: Clock, events: Events) -> None:
        self._path = path
        self._clock = clock
        self._events = events
        self._disk = Disk()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def action(
        self, action: str, *, actor: str, tenant: str, relieves: bool = False, **facts: object
    ) -> Iterator[None]:
        line = {"action": action, "actor": actor, "tenant": tenant, **facts}
        try:
            self._append({**line, "outcome": "begun"})
        except OSError as error:
            if not relieves:
                raise Unavailable(
                    f"cannot do {action!r}: it cannot be recorded: {error}"
                ) from error
            self._unrecorded(action, actor, tenant, error)
        self._events.info(Event.ADMIN_ACTION, action=action, actor=actor, tenant=tenant)
        outcome: dict[str, object] = {"outcome": "done"}
        try:
            yield
        except BaseException as failure:
            outcome = {"outcome": "failed", "cause": str(failure)}
            raise
        finally:
            # What was done is done: its caller is not told otherwise for want of this line.
            try:
                self._append({**line, **outcome})
            except OSError as error:
                self._unrecorded(action, actor, tenant, error)

    def _unrecorded(self, action: str, actor: str, tenant: str, error: OSError) -> None:
        self._events.warning(
            Event.AUDIT_FAILED, action=action, actor=actor, tenant=tenant, error=error
        )

    def _append(self, line: dict[str, object]) -> None:
        encoded = msgspec.json.encode({"time_ns": self._clock.now_ns(), **line}) + b"\n"
        with self._lock:
            self._write(encoded)

    def _write(self, encoded: bytes) -> None:
        """The whole line or nothing of it."""
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                # A power cut left half a line.
                encoded = b"\n" + encoded
            try:
                self._disk.write(descriptor, encoded)
                self._disk.sync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        if is_new:
            self._disk.sync_directory(self._path.parent)
