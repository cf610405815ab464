"""Pins: what one version of the manifest lists, and the log behind it, is kept while it is copied.

A backup takes one through ``Store.pin`` and renews it; one that is not renewed in time is gone, so
that a backup that was killed holds nothing up. Called with the state's lock held.
"""

from dataclasses import dataclass, replace

import msgspec

from orrery.clock import Clock
from orrery.errors import SERVER, Excess, Exhausted, Invalid
from orrery.store.manifest import Manifest

LEASE_SECONDS = 60.0
PINS_MAX = 8


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """A consistent view: the blocks and objects of ``manifest``, and the log's records from its
    ``next_offset`` up to, without, ``end_offset``. All that was acknowledged before is in it."""

    id: str
    partition: int
    manifest_version: int
    manifest: Manifest
    end_offset: int


@dataclass(frozen=True, slots=True)
class _Pin:
    manifest: Manifest
    until_seconds: float
    holds_log: bool = True


class Pins:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pins: dict[str, _Pin] = {}
        self._counter = 0

    def add(self, manifest: Manifest) -> str:
        self._expire()
        if len(self._pins) >= PINS_MAX:
            raise Exhausted(
                f"cannot pin the store: {len(self._pins)} of {PINS_MAX} pins are held",
                Excess("pins_max", SERVER, PINS_MAX, len(self._pins), retry_after_seconds=60.0),
            )
        self._counter += 1
        name = f"{manifest.epoch}-{self._counter}"
        self._pins[name] = _Pin(manifest, self._clock.monotonic_seconds() + LEASE_SECONDS)
        return name

    def renew(self, name: str, *, log: bool) -> None:
        """For ``LEASE_SECONDS`` more; without ``log`` the log may be trimmed again, for good."""
        self._expire()
        pin = self._pins.get(name)
        if pin is None:
            raise Invalid(f"cannot renew pin {name!r}: it is not held, or was not renewed in time")
        until_seconds = self._clock.monotonic_seconds() + LEASE_SECONDS
        self._pins[name] = replace(
            pin, until_seconds=until_seconds, holds_log=log and pin.holds_log
        )

    def release(self, name: str) -> None:
        self._pins.pop(name, None)

    def blocks(self) -> set[str]:
        self._expire()
        return {block.name for pin in self._pins.values() for block in pin.manifest.blocks}

    def objects(self) -> set[str]:
        self._expire()
        return {name for pin in self._pins.values() for name in pin.manifest.objects()}

    def log_offset(self, offset: int) -> int:
        """Up to where the log may be trimmed, of ``offset`` at most."""
        self._expire()
        held = [pin.manifest.next_offset for pin in self._pins.values() if pin.holds_log]
        return min([offset, *held])

    def _expire(self) -> None:
        now = self._clock.monotonic_seconds()
        self._pins = {name: pin for name, pin in self._pins.items() if pin.until_seconds > now}
