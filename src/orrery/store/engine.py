"""The store of one partition: takes in what the log holds, answers reads, keeps itself in order.

``app`` builds it; ``ingest`` feeds it in offset order; ``query`` reads through ``snapshot``.
"""

import contextlib
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orrery.clock import Clock
from orrery.durable import Disk
from orrery.errors import SERVER, Corrupt, Excess, Exhausted, OrreryError, Unavailable
from orrery.log.contract import Log
from orrery.objects.contract import Objects
from orrery.store.blocks import is_name_of
from orrery.store.bounds import StoreBounds
from orrery.store.flush import flush, flush_reason, trim
from orrery.store.grace import Grace
from orrery.store.kernels import (
    AttributesRecord,
    DeleteRecord,
    Kernels,
    MetadataRecord,
    MetadataRow,
    Resolved,
    SeriesTable,
)
from orrery.store.manifest import BlockEntry, Manifest, partition_prefix
from orrery.store.metadata import Metadata
from orrery.store.pins import Pinned
from orrery.store.quarantine import Book, Held, drop, release, suspect
from orrery.store.recovery import apply_delete, recover
from orrery.store.removal import Removal
from orrery.store.retention import KEEP_ALL, TIME_MIN_NS, Retention, kept, whole_from_ns
from orrery.store.rewrite import Progress, begin_round, compact_once, end_round
from orrery.store.rollups import levels, roll_up_once
from orrery.store.state import Ended, Observe, OpenBlock, Parts, State

if TYPE_CHECKING:
    from orrery.kernels.snapshot import Snapshot


class Store:
    """Opening it takes the partition's epoch and replays the log.

    Reads, writes and upkeep may come from any threads; ``apply*`` from one, in offset order.
    """

    def __init__(
        self,
        *,
        blocks_path: Path,
        objects: Objects,
        log: Log,
        kernels: Kernels,
        clock: Clock,
        bounds: StoreBounds | None = None,
        retention: Retention | None = None,
        observe: Observe = lambda _event, _fields: None,
        free_bytes: Callable[[], int] | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._parts = Parts(
            objects=objects,
            log=log,
            kernels=kernels,
            clock=clock,
            bounds=bounds or StoreBounds(),
            retention=retention or Retention(),
            observe=observe,
            disk=disk or Disk(),
        )
        self._free_bytes = free_bytes or (lambda: shutil.disk_usage(blocks_path).free)
        self._state: State = recover(self._parts, blocks_path)
        self._flush_lock = threading.Lock()
        self._rewrite_lock = threading.Lock()
        self._flush_wanted = threading.Event()
        self._object_grace = Grace(clock)
        self._refusal: Unavailable | None = None
        self._disk_checked_at = float("-inf")
        self._swept_at = clock.monotonic_seconds()
        self._closed = False

    # --- for ingest

    @property
    def partition(self) -> int:
        return self._parts.partition

    @property
    def epoch(self) -> int:
        return self._state.epoch

    @property
    def table(self) -> SeriesTable:
        """The series table that batches are resolved with."""
        return self._state.table

    @property
    def kernels(self) -> Kernels:
        return self._parts.kernels

    @property
    def metadata(self) -> Metadata:
        return self._state.metadata

    def check_writable(self) -> None:
        """``Unavailable`` where a write must be refused before it reaches the log."""
        state, bounds = self._state, self._parts.bounds
        cause = self.not_ready()
        if cause is not None:
            raise Unavailable(f"cannot write: {cause}")
        held = state.head.memory_bytes
        if held >= bounds.head_bytes_max:
            self._flush_wanted.set()
            raise Unavailable(
                f"cannot write: the head holds {held} of {bounds.head_bytes_max} bytes until a "
                "flush is done"
            )
        self._check_disk()

    def not_ready(self) -> str | None:
        """Why nothing can be written until it is opened anew; None where all is well."""
        return "the store is closed" if self._closed else self._state.failure

    def check_deletable(self, tenant: str) -> None:
        """Deletes go on when the disk is nearly full, but their number is bounded; one tenant
        cannot take all of it."""
        state, bounds = self._state, self._parts.bounds
        cause = self.not_ready()
        if cause is not None:
            raise Unavailable(f"cannot delete: {cause}")
        with state.lock:
            count, own = len(state.deletes), sum(d.tenant == tenant for d in state.deletes)
        if own >= bounds.tenant_deletes_max:
            raise _too_many_deletes(f"tenant {tenant}", bounds.tenant_deletes_max, own)
        if count >= bounds.deletes_max:
            raise _too_many_deletes(SERVER, bounds.deletes_max, count)

    def apply(self, resolved: Resolved, offset: int) -> None:
        """Makes the samples of a logged record readable."""
        with self._state.apply_lock:
            self._state.head.apply(resolved, offset)
            self._state.next_offset = offset + 1
        touches, tenant = self._state.touches, resolved.tenant
        if touches.is_watched(tenant):
            touches.changed(tenant, resolved.time_min_ns)
        self._ask_for_flush()

    def _ask_for_flush(self) -> None:
        """The bounds of head and replay are reached between two rounds of upkeep."""
        bounds, state = self._parts.bounds, self._state
        if not self._flush_wanted.is_set() and (
            state.head.memory_bytes >= bounds.head_bytes_flush
            or self._unflushed_log_bytes() >= bounds.log_replay_bytes_max
        ):
            self._flush_wanted.set()

    def _unflushed_log_bytes(self) -> int:
        return self._parts.log.size_bytes(self._parts.partition, self._state.frozen_through)

    def apply_delete(self, delete: DeleteRecord, offset: int) -> None:
        with self._state.apply_lock:
            apply_delete(self._state, delete, offset)
            self._state.next_offset = offset + 1
        self._state.touches.changed(delete.tenant, delete.min_ns)

    def apply_metadata(self, told: MetadataRecord | AttributesRecord, offset: int) -> None:
        with self._state.apply_lock:
            self._state.metadata.take(told)
            self._state.next_offset = offset + 1

    def fail(self, cause: str) -> None:
        """What is in the log could not be applied: nothing more is taken until reopened."""
        self._state.failure = cause

    # --- for query

    def snapshot(
        self, tenant: str | None = None, min_ns: int | None = None, max_ns: int | None = None
    ) -> "Snapshot":
        """All that is readable now, as the kernels' ``Snapshot``; blocks wholly outside the
        bounds are left out, and so are samples of ``tenant`` that are older than it keeps."""
        state = self._state
        # Retention holds on reads at once, on disk with the next compaction.
        policy = KEEP_ALL if tenant is None else self._parts.retention.of(tenant)
        rows = kept(policy, self._parts.clock.now_ns()) if policy.rules else []
        coarse = levels(state, tenant, policy) if tenant and policy.resolutions_ns else []

        def is_asked_for(block: OpenBlock) -> bool:
            entry = block.entry
            return (
                (entry.resolution_ns == 0 or entry.resolution_ns in policy.resolutions_ns)
                and (max_ns is None or entry.min_ns <= max_ns)
                and (min_ns is None or entry.max_ns >= min_ns)
            )

        with state.lock:
            blocks = [block for block in state.blocks.values() if is_asked_for(block)]
            sources = state.sources(blocks) + state.head.sources()
            sources += state.lost_sources(policy.resolutions_ns)
            # Another tenant's deletes are not parsed for this one's queries.
            hidden = state.delete_rows()
        deletes = [row for row in hidden if tenant is None or row[1] == tenant]
        return self._parts.kernels.snapshot(
            sources, deletes, tenant=tenant, keep=rows, levels=coarse
        )

    def mark(self, tenant: str) -> int:
        """Now, for :meth:`changed_from_ns`: what is read from here on has all changes before."""
        return self._state.touches.mark(tenant)

    def changed_from_ns(self, tenant: str, mark: int) -> int:
        """The earliest time of all that writes and deletes may have changed after ``mark``."""
        return self._state.touches.changed_from_ns(tenant, mark)

    def kept_from_ns(self, tenant: str) -> int:
        """From when on answers for the tenant read nothing that may be gone now."""
        policy = self._parts.retention.of(tenant)
        if policy is KEEP_ALL:
            return TIME_MIN_NS
        return whole_from_ns(policy, self._parts.clock.now_ns())

    def metadata_of(self, tenant: str, name: str | None = None) -> list[MetadataRow]:
        """Rows of (name, kind, help, unit)."""
        return self._state.metadata.of(tenant, name)

    def attributes_of(self, tenant: str) -> Mapping[bytes, tuple[tuple[str, str], ...]]:
        """What writers said of the tenant's series, by their canonical bytes; as of now."""
        return self._state.metadata.attributes.of(tenant)

    def tenants(self) -> set[str]:
        """Those with active series, or with samples in blocks."""
        with self._state.lock:
            blocks = list(self._state.blocks.values())
        return {*self._state.table.tenants(), *(name for one in blocks for name in one.tenants)}

    def manifest(self) -> Manifest:
        with self._state.lock:
            return self._state.manifest

    def blocks(self) -> tuple[BlockEntry, ...]:
        return self.manifest().blocks

    # --- upkeep

    @property
    def flush_wanted(self) -> threading.Event:
        """Set where a flush should not wait for the next round."""
        return self._flush_wanted

    def maintain_head(self) -> bool:
        """One round of the flush thread; True where it did something."""
        self._flush_wanted.clear()
        if flush_reason(self._state) is None:
            return False
        return self.flush()

    def maintain_blocks(self) -> bool:
        """One round of the compaction thread; True where there may be more to do."""
        with self._rewrite_lock:
            begin_round(self._state)
            more = self._roll_up()
            more = compact_once(self._state) is not None or more
            end_round(self._state)
        self._sweep()
        self.remove_unlisted()
        self._trim_again()
        return more

    def _roll_up(self, *, eager: bool = False) -> bool:
        """What cannot be rolled up must not keep blocks from being merged."""
        try:
            return roll_up_once(self._state, eager=eager) is not None
        except Ended:
            raise
        except OrreryError as error:
            self._parts.observe("rollup_failed", {"error": str(error)})
            return False

    def flush(self) -> bool:
        """Writes all that was applied into blocks; False where there was nothing."""
        with self._flush_lock:
            return flush(self._state)

    def compact(self, progress: Progress = lambda _what, _done, _left: None) -> int:
        """By hand: everything that is due, deletes without delay. How many rewrites it took."""
        count = done = 0
        with self._rewrite_lock:
            begin_round(self._state)
            while self._roll_up(eager=True):
                count += 1
            while (plan := compact_once(self._state, eager=True)) is not None:
                count += 1
                done += sum(entry.byte_count for entry in plan.inputs)
                left = sum(entry.byte_count for entry in self.blocks() if entry.level == 0)
                progress(plan.reason, done, left)
            end_round(self._state)
        return count

    def end_rewrites(self) -> None:
        """Stops compaction, by whomever, and waits for that; its blocks stay as they were."""
        self._state.rewrites_ended = True
        self._state.cancellation.cancel()
        with self._rewrite_lock:
            pass

    def remove_unlisted(self) -> None:
        """Removes files and objects that no manifest lists, after the grace period.

        Not where a later manifest may list them: after a commit of unknown outcome, or where
        another owner has taken over; and never those of a later owner.
        """
        state, grace_seconds = self._state, self._parts.bounds.grace_seconds
        if state.failure is not None or not state.manifests.is_latest():
            return
        removed = state.files.remove_unlisted(self._kept_blocks, grace_seconds=grace_seconds)
        prefix = partition_prefix(self.partition)
        found = {
            name
            for folder in ("checkpoints/", "metadata/")
            for name, _ in self._parts.objects.list(prefix + folder)
            if is_name_of(name.rpartition("/")[2], self.epoch)
        }
        with state.lock:
            unlisted = found - state.pending_objects - set(state.manifest.objects())
            unlisted -= state.pins.objects()
        for name in self._object_grace.expired(unlisted, grace_seconds):
            self._parts.objects.delete(name)
            removed.append(name)
        if removed:
            self._parts.observe("files_removed", {"files": len(removed)})

    def _trim_again(self) -> None:
        """What a pin or a write under way kept in the log when it was last trimmed."""
        needed = self.manifest().next_offset
        if self._parts.log.bounds(self.partition)[0] < needed and self.not_ready() is None:
            trim(self._state, needed)

    def _kept_blocks(self) -> set[str]:
        with self._state.lock:
            listed = {block.name for block in self._state.manifest.blocks}
            return listed | self._state.pins.blocks()

    @property
    def removal(self) -> Removal:
        """For receipts: where what deletes hide still is."""
        return Removal(self._state)

    # --- quarantine

    def suspect(self, error: Corrupt) -> None:
        """A read met damage; the blocks that its error names are looked over soon."""
        suspect(self._state, error)

    def quarantine(self) -> Book:
        """Blocks that are damaged, and those that were let go of for it."""
        with self._state.lock:
            held = self._state.quarantine.held.values()
            return Book(tuple(held), self._state.quarantine.dropped)

    def release_block(self, name: str) -> Held:
        """Takes a block out of quarantine that is whole again."""
        with self._rewrite_lock:
            return release(self._state, name)

    def drop_block(self, name: str) -> Held:
        """Lets go of a block in quarantine, and of all its samples."""
        with self._rewrite_lock:
            return drop(self._state, name)

    # --- for backups

    def pin(self) -> Pinned:
        """Keeps what is committed, and the log behind it, until released or not renewed."""
        return self._state.pin()

    def renew_pin(self, name: str, *, log: bool) -> None:
        with self._state.lock:
            self._state.pins.renew(name, log=log)

    def release_pin(self, name: str) -> None:
        with self._state.lock:
            self._state.pins.release(name)

    def close(self) -> None:
        """Refuses writes; the log holds what no block does. Threads of upkeep end before."""
        self._closed = True

    def _sweep(self) -> None:
        bounds, clock = self._parts.bounds, self._parts.clock
        now = clock.monotonic_seconds()
        if now - self._swept_at < bounds.sweep_interval_seconds:
            return
        self._swept_at = now
        left = self._state.table.sweep(clock.now_ns() - bounds.series_idle_ns)
        if left:
            self._parts.observe("series_swept", {"series": left})

    def _check_disk(self) -> None:
        bounds, now = self._parts.bounds, self._parts.clock.monotonic_seconds()
        if now - self._disk_checked_at >= bounds.disk_check_interval_seconds:
            self._disk_checked_at = now
            self._refusal = None
            with contextlib.suppress(OSError):
                free = self._free_bytes()
                if free < bounds.disk_reserve_bytes:
                    self._refusal = Unavailable(
                        f"cannot write: {free} bytes are free on the disk, "
                        f"{bounds.disk_reserve_bytes} are kept in reserve"
                    )
        if self._refusal is not None:
            raise Unavailable(str(self._refusal))

    def statistics(self) -> dict[str, float]:
        """Numbers for telemetry."""
        state, blocks = self._state, self.blocks()
        return {
            "head_bytes": state.head.memory_bytes,
            "head_samples": state.head.sample_count,
            "series_count": state.table.series_count,
            "series_bytes": state.table.memory_bytes,
            "block_count": len(blocks),
            "block_bytes": sum(block.byte_count for block in blocks),
            "block_samples": sum(b.sample_count for b in blocks if b.resolution_ns == 0),
            "quarantined_count": len(state.quarantine.held),
            "delete_count": len(state.deletes),
            "unflushed_log_bytes": self._unflushed_log_bytes(),
            "next_offset": state.next_offset,
            "epoch": state.epoch,
            "manifest_version": state.manifests.version,
        }


def _too_many_deletes(scope: str, value: int, current: int) -> Exhausted:
    limit = "deletes_max" if scope == SERVER else "tenant_deletes_max"
    return Exhausted(
        f"cannot delete: {current} deletes of at most {value} wait for compaction ({limit})",
        Excess(limit, scope, value, current, retry_after_seconds=60.0),
    )
