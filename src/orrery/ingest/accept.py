"""Accepts writes: limits, names, the log, the head, and then the acknowledgement.

Every wire's write side calls it, and so does an embedded database. Calls may come from any
thread; they return as soon as the record is queued, with a future for the rest.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from orrery.clock import Clock
from orrery.errors import SERVER, Excess, Exhausted, Unavailable
from orrery.ingest.apply import Follower, Step
from orrery.ingest.contract import Limits, Written
from orrery.kernels.batch import Batch
from orrery.log.contract import Log
from orrery.model.selector import Selector
from orrery.store.engine import Store
from orrery.store.kernels import (
    AttributesRecord,
    AttributesRow,
    DeleteRecord,
    MetadataRecord,
    MetadataRow,
    Resolved,
)
from orrery.tenancy.admission import Bounds

BYTES_IN_FLIGHT_MAX = 96 * 1024 * 1024
DURABLE, MEMORY = "fsynced", "memory"

Labels = Sequence[tuple[str, str]]
Answer = TypeVar("Answer")


class Unlimited:
    """For what the server writes by itself."""

    def admit(self, tenant: str, sample_count: int) -> None:
        pass

    def give_back(self, tenant: str, sample_count: int) -> None:
        pass

    def bounds(self, tenant: str, now_ns: int) -> Bounds:
        most = 2**63 - 1
        return Bounds(
            time_min_ns=-most,
            time_max_ns=most,
            active_series_max=most,
            new_series_allowed=True,
            label_count_max=1024,
            label_bytes_max=64 * 1024,
        )

    def registered(self, tenant: str, series_count: int) -> None:
        pass

    def new_series_exhausted(self, tenant: str) -> Exhausted:
        raise AssertionError(f"new series of tenant {tenant!r} are not limited")

    def accepted(self, tenant: str, sample_count: int) -> None:
        pass

    def refused(self, tenant: str, reason: str, sample_count: int) -> None:
        pass


UNLIMITED = Unlimited()


class Accept:
    """The one way in. Resolving and queueing happen under one lock per partition: a series'
    definition must stand in the log before the first record that relies on it."""

    def __init__(
        self,
        *,
        store: Store,
        log: Log,
        limits: Limits,
        clock: Clock,
        durable_class: str = DURABLE,
        bytes_in_flight_max: int = BYTES_IN_FLIGHT_MAX,
    ) -> None:
        self._store = store
        self._log = log
        self._limits = limits
        self._clock = clock
        self._durable_class = durable_class
        self._bytes_max = bytes_in_flight_max
        self._lock = threading.Lock()
        self._follower = Follower(fail_store=store.fail, bytes_max=bytes_in_flight_max)
        self._closed = False
        self._log_failed = False

    def write(
        self,
        tenant: str,
        batch: Batch,
        *,
        defaults: Labels = (),
        forced: Labels = (),
        durable: bool = True,
    ) -> "Future[Written]":
        """Completes once the samples are logged and readable.

        ``defaults`` are labels added where a series lacks them, ``forced`` replace what it has.
        ``durable=False`` is a tenant's knowing choice of the acknowledgement class ``memory``.
        ``Exhausted`` and ``Unavailable`` are raised here, with nothing written; ``Unavailable``
        in the future leaves open whether it was.
        """
        return self._write(tenant, batch, self._limits, defaults, forced, durable=durable)

    def write_own(self, tenant: str, batch: Batch) -> "Future[Written]":
        """What the server tells a tenant of itself: neither limited nor counted as its usage."""
        return self._write(tenant, batch, UNLIMITED, (), (), durable=True)

    def write_metadata(self, tenant: str, rows: Sequence[MetadataRow]) -> "Future[int | None]":
        """Rows of (name, kind, help, unit); what is known already is not logged again.

        The offset, or None where nothing was new.
        """
        news = self._store.metadata.news(tenant, rows)
        metadata = MetadataRecord(tenant, news)

        def encode() -> bytes:
            return self._store.kernels.encode_metadata(metadata, self._store.epoch)

        def apply(offset: int) -> int:
            self._store.apply_metadata(metadata, offset)
            return offset

        return self._write_news(news, encode, apply)

    def write_attributes(self, tenant: str, rows: Sequence[AttributesRow]) -> "Future[int | None]":
        """Rows of (canonical bytes, pairs), which replace what was said of the series before; else
        as :meth:`write_metadata`. ``Exhausted`` where the tenant has no room for them."""
        news = self._store.metadata.attributes.news(tenant, rows)
        attributes = AttributesRecord(tenant, news)

        def encode() -> bytes:
            return self._store.kernels.encode_attributes(attributes, self._store.epoch)

        def apply(offset: int) -> int:
            self._store.apply_metadata(attributes, offset)
            return offset

        return self._write_news(news, encode, apply)

    def _write_news(
        self, news: Sequence[object], encode: Callable[[], bytes], apply: Callable[[int], int]
    ) -> "Future[int | None]":
        answer: Future[int | None] = Future()
        answer.set_running_or_notify_cancel()
        if not news:
            answer.set_result(None)
            return answer
        self._store.check_writable()
        record = encode()
        with self._lock:
            self._check_open()
            self._enter(record, apply, answer, durable=True)
        return answer

    def delete(self, tenant: str, selector: Selector, *, min_ns: int, max_ns: int) -> "Future[int]":
        """Hides what was accepted before this call; ends are inclusive. The record's offset."""
        self._store.check_deletable(tenant)
        matchers = tuple((m.label, str(m.operator), m.value) for m in selector.matchers)
        delete = DeleteRecord(tenant, matchers, min_ns, max_ns)
        # Once it is in the log every replay meets it: what cannot be parsed must not get there.
        self._store.kernels.snapshot([], [(0, tenant, matchers, min_ns, max_ns)])
        record = self._store.kernels.encode_delete(delete, self._store.epoch)
        answer: Future[int] = Future()
        answer.set_running_or_notify_cancel()

        def apply(offset: int) -> int:
            self._store.apply_delete(delete, offset)
            return offset

        with self._lock:
            self._check_open()
            self._enter(record, apply, answer, durable=True)
        return answer

    @property
    def is_busy(self) -> bool:
        """Whether another thread is writing, so that a call now would wait for it."""
        return self._lock.locked()

    @property
    def bytes_in_flight(self) -> int:
        return self._follower.byte_count

    def close(self) -> None:
        """Refuses further calls and waits until what was accepted is answered."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._follower.close()

    def _write(
        self,
        tenant: str,
        batch: Batch,
        limits: Limits,
        defaults: Labels,
        forced: Labels,
        *,
        durable: bool,
    ) -> "Future[Written]":
        count = batch.sample_count
        limits.admit(tenant, count)
        try:
            self._store.check_writable()
            with self._lock:
                return self._resolve_and_enter(
                    tenant, batch, limits, defaults, forced, durable=durable
                )
        except BaseException as error:
            limits.give_back(tenant, count)
            is_own = isinstance(error, Exhausted) and not error.is_of_the_server
            limits.refused(tenant, "rate" if is_own else "pressure", count)
            raise

    def _resolve_and_enter(
        self,
        tenant: str,
        batch: Batch,
        limits: Limits,
        defaults: Labels,
        forced: Labels,
        *,
        durable: bool,
    ) -> "Future[Written]":
        self._check_open()
        resolved = self._resolve(tenant, batch, limits, defaults, forced)
        limits.registered(tenant, resolved.new_series_count)
        answer: Future[Written] = Future()
        answer.set_running_or_notify_cancel()
        if resolved.sample_count > 0:
            self._enter_samples(tenant, resolved, limits, answer, durable=durable)
        else:
            answer.set_result(self._written(resolved, None, durable=durable))
        if resolved.samples_rejected_count:
            limits.give_back(tenant, resolved.samples_rejected_count)
            limits.refused(tenant, "rejected", resolved.samples_rejected_count)
        return answer

    def _resolve(
        self, tenant: str, batch: Batch, limits: Limits, defaults: Labels, forced: Labels
    ) -> Resolved:
        bounds = limits.bounds(tenant, self._clock.now_ns())
        try:
            return self._store.table.resolve(
                tenant,
                batch,
                defaults=list(defaults),
                forced=list(forced),
                bounds=self._store.kernels.resolve_bounds(bounds),
            )
        except Exhausted:
            if bounds.new_series_allowed:
                raise
            # The table does not know the rate, only that it is used up.
            raise limits.new_series_exhausted(tenant) from None

    def _enter_samples(
        self,
        tenant: str,
        resolved: Resolved,
        limits: Limits,
        answer: "Future[Written]",
        *,
        durable: bool,
    ) -> None:
        def apply(offset: int) -> Written:
            self._store.apply(resolved, offset)
            limits.accepted(tenant, resolved.sample_count)
            return self._written(resolved, offset, durable=durable)

        def failed(_error: BaseException) -> None:
            self._store.table.forget_definitions()
            limits.give_back(tenant, resolved.sample_count)
            limits.refused(tenant, "failed", resolved.sample_count)

        try:
            record = resolved.record(self._store.epoch)
            self._enter(record, apply, answer, failed=failed, durable=durable)
        except BaseException:
            # Series count as defined though no record in the log defines them.
            self._store.table.forget_definitions()
            raise

    def _enter(
        self,
        record: bytes,
        apply: Callable[[int], Answer],
        answer: "Future[Answer]",
        *,
        failed: Callable[[BaseException], None] = lambda _error: None,
        durable: bool,
    ) -> None:
        self._follower.reserve(len(record))
        try:
            logged = self._log.append(self._store.partition, record, durable=durable)
        except BaseException as error:
            self._follower.release(len(record))
            self._log_failed |= isinstance(error, Unavailable)
            raise

        def lost(error: BaseException) -> None:
            self._log_failed = True
            failed(error)

        self._follower.enter(logged, Step(apply, lost, answer, len(record)))

    def _check_open(self) -> None:
        """Under the lock: what has room now still has it when its record is made."""
        if self._closed:
            raise Unavailable("cannot write: the server is stopping")
        if not self._follower.has_room():
            raise Exhausted(
                f"cannot write: {self._follower.byte_count} of {self._bytes_max} bytes are on "
                "their way into the log",
                Excess(
                    "bytes_in_flight_max",
                    SERVER,
                    self._bytes_max,
                    self._follower.byte_count,
                    retry_after_seconds=1.0,
                ),
            )
        if self._log_failed:
            self._recover_log()

    def _recover_log(self) -> None:
        """Under the lock, so that no record is made that relies on a definition that failed."""
        if self._follower.byte_count:
            raise Unavailable("cannot write: the log failed, and writes before it are under way")
        self._store.table.forget_definitions()
        try:
            self._log.recover(self._store.partition)
        except Unavailable as error:
            self._store.fail(f"the log failed: {error}")
            raise
        self._log_failed = False

    def _written(self, resolved: Resolved, offset: int | None, *, durable: bool) -> Written:
        return Written(
            sample_count=resolved.sample_count,
            samples_rejected_count=resolved.samples_rejected_count,
            series_rejected_count=resolved.series_rejected_count,
            new_series_count=resolved.new_series_count,
            rejected=tuple(resolved.rejected),
            acknowledgement=self._durable_class if durable else MEMORY,
            offset=offset,
            lines_rejected_count=resolved.lines_rejected_count,
            histogram_count=resolved.histogram_count,
        )
