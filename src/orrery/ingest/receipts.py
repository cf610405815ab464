"""Deletes with a receipt: what was hidden, and when it is physically gone.

Every wire that deletes calls :meth:`Receipts.delete`; ``app`` calls :meth:`Receipts.follow` now and
then. A receipt is an object of its own (docs/formats/receipt.md), written once the delete is
durable and before it is answered.
"""

import threading
from concurrent.futures import Future
from typing import Protocol

import msgspec

from orrery.clock import Clock
from orrery.errors import SERVER, Excess, Exhausted, Invalid, OrreryError, Unavailable
from orrery.kernels.meter import Meter
from orrery.model.receipts import Held, Receipt
from orrery.model.selector import Selector
from orrery.objects.contract import Objects
from orrery.store.documents import decode_document, encode_document
from orrery.store.engine import Store
from orrery.store.kernels import DeleteRow
from orrery.store.state import Observe
from orrery.tenancy.names import object_part

FORMAT = 1
PREFIX = "receipts/"
RECEIPTS_MAX = 10_000
"""Of one tenant: the oldest finished one goes for a new one."""
COUNTED_SAMPLES_MAX = 50_000_000
"""More than so many are not counted one by one, which would take seconds."""
COUNTED_SECONDS_MAX = 10.0
_LAST_OFFSET = 2**63 - 1
_NO_LIMIT = 2**62


class Delete(Protocol):
    def __call__(
        self, tenant: str, selector: Selector, *, min_ns: int, max_ns: int
    ) -> "Future[int]": ...


class Receipts:
    """Calls may come from any thread, and wait for the disk."""

    def __init__(
        self,
        *,
        store: Store,
        delete: Delete,
        objects: Objects,
        clock: Clock,
        observe: Observe = lambda _event, _fields: None,
        receipts_max: int = RECEIPTS_MAX,
    ) -> None:
        self._store = store
        self._delete = delete
        self._objects = objects
        self._clock = clock
        self._observe = observe
        self._receipts_max = receipts_max
        self._lock = threading.Lock()
        self._open: dict[tuple[str, int], Receipt] | None = None
        self._leftovers: dict[tuple[str, int], set[str]] = {}

    def delete(self, tenant: str, selector: Selector, *, min_ns: int, max_ns: int) -> Receipt:
        """Hides what was accepted before, and tells what that was."""
        self._make_room(tenant)
        matchers = tuple((m.label, str(m.operator), m.value) for m in selector.matchers)
        delete = (_LAST_OFFSET, tenant, matchers, min_ns, max_ns)
        series, samples, is_exact = self._count(delete)
        accepted_ns = self._clock.now_ns()
        offset = self._delete(tenant, selector, min_ns=min_ns, max_ns=max_ns).result()
        receipt = Receipt(
            id=offset,
            tenant=tenant,
            matchers=matchers,
            min_ns=min_ns,
            max_ns=max_ns,
            accepted_ns=accepted_ns,
            series=series,
            samples=samples,
            is_exact=is_exact,
        )
        try:
            self._keep(receipt)
        except Unavailable as error:
            # A full disk takes no receipt; the delete that frees it holds all the same.
            told = {"receipt": offset, "tenant": tenant, "samples": samples, "error": str(error)}
            self._observe("receipt_unkept", told)
        return receipt

    def of(self, tenant: str) -> list[Receipt]:
        """The oldest first."""
        names = [name for name, _ in self._objects.list(_folder(tenant))]
        found = [self._read(name) for name in names]
        return [receipt for receipt in found if receipt is not None]

    def show(self, tenant: str, receipt_id: int) -> tuple[Receipt, Held] | None:
        """As of now; None where the tenant has none of that id."""
        if not 0 <= receipt_id < 10**20:
            return None
        receipt = self._read(_name(tenant, receipt_id))
        return None if receipt is None else self._follow(receipt)

    def follow(self) -> int:
        """Notes what has gone meanwhile; how many receipts wait for something."""
        for receipt in self._unfinished().values():
            self._follow(receipt)
        return len(self._unfinished())

    def _count(self, delete: DeleteRow) -> tuple[int, int, bool]:
        """(series, samples, whether that is exact)"""
        _, tenant, matchers, min_ns, max_ns = delete
        meter = Meter(
            samples_max=COUNTED_SAMPLES_MAX,
            series_max=_NO_LIMIT,
            deadline_seconds=COUNTED_SECONDS_MAX,
        )
        unlimited = Meter(samples_max=_NO_LIMIT, series_max=_NO_LIMIT, deadline_seconds=None)
        snapshot = self._store.snapshot(tenant, min_ns, max_ns)
        found = snapshot.select(tenant, list(matchers), min_ns, max_ns, unlimited)
        try:
            series, samples = found.count(min_ns, max_ns, meter)
        except Invalid:
            raise
        except OrreryError:
            # Too many, or damaged: what the files say of themselves bounds it. The head is first,
            # so that what is flushed in between is counted twice and not at all missed.
            head = self._store.removal.head_snapshot(tenant)
            recent = head.select(tenant, list(matchers), min_ns, max_ns, unlimited)
            at_most = recent.count(min_ns, max_ns, unlimited)[1]
            return len(found), at_most + self._store.removal.samples_at_most(delete), False
        return series, samples, True

    def _follow(self, receipt: Receipt) -> tuple[Receipt, Held]:
        key = (receipt.tenant, receipt.id)
        delete = (
            receipt.id,
            receipt.tenant,
            receipt.matchers,
            receipt.min_ns,
            receipt.max_ns,
        )
        look = self._store.removal.look(delete)
        unlisted = self._store.removal.unlisted_files()
        with self._lock:
            if look.committed_ns is not None:
                # Those of now, at the first look after a start: some of them are not concerned.
                left = self._leftovers.setdefault(key, unlisted) & unlisted
                self._leftovers[key] = left
                unlisted = left
        held = Held(
            blocks=look.block_count,
            block_bytes=look.block_bytes,
            files=0 if receipt.removed_ns is not None else len(unlisted),
            log_bytes=look.log_bytes,
        )
        changes: dict[str, int] = {}
        if receipt.rewritten_ns is None and look.committed_ns is not None:
            changes["rewritten_ns"] = look.committed_ns
        if receipt.removed_ns is None and look.committed_ns is not None and held.is_nothing:
            changes["removed_ns"] = self._clock.now_ns()
        if changes:
            receipt = msgspec.structs.replace(receipt, **changes)
            self._keep(receipt)
        return receipt, held

    def _keep(self, receipt: Receipt) -> None:
        name = _name(receipt.tenant, receipt.id)
        self._objects.put(name, encode_document(receipt, format_version=FORMAT))
        key = (receipt.tenant, receipt.id)
        with self._lock:
            unfinished = self._waiting()
            if receipt.removed_ns is None:
                unfinished[key] = receipt
            else:
                unfinished.pop(key, None)
                self._leftovers.pop(key, None)

    def _unfinished(self) -> dict[tuple[str, int], Receipt]:
        with self._lock:
            return dict(self._waiting())

    def _waiting(self) -> dict[tuple[str, int], Receipt]:
        """Of all tenants, under the lock; read from the disk once."""
        if self._open is None:
            names = [name for name, _ in self._objects.list(PREFIX)]
            found = [self._read(name) for name in names]
            waiting = [one for one in found if one is not None and one.removed_ns is None]
            self._open = {(one.tenant, one.id): one for one in waiting}
        return self._open

    def _make_room(self, tenant: str) -> None:
        names = [name for name, _ in self._objects.list(_folder(tenant))]
        if len(names) < self._receipts_max:
            return
        waiting = {_name(*key) for key in self._unfinished()}
        finished = next((name for name in names if name not in waiting), None)
        if finished is None:
            raise Exhausted(
                f"cannot delete: {len(names)} receipts of at most {self._receipts_max} wait for "
                "compaction (receipts_max)",
                Excess("receipts_max", SERVER, self._receipts_max, len(names), 60.0),
            )
        self._objects.delete(finished)

    def _read(self, name: str) -> Receipt | None:
        content = self._objects.get(name)
        if content is None:
            return None
        return decode_document(content, Receipt, name=name, format_version=FORMAT)


def _folder(tenant: str) -> str:
    return f"{PREFIX}{object_part(tenant)}/"


def _name(tenant: str, receipt_id: int) -> str:
    return f"{_folder(tenant)}{receipt_id:020d}"
