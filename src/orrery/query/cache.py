"""Answers of range queries, kept step by step for as long as nothing they were read from changes.

The wires ask it before they evaluate, and keep what they evaluated. An answer is a table of rows
of steps. Of one query, step and phase one run of steps is held; of a question that goes further
only the missing steps are evaluated. What a late write, a delete or the end of retention may have
changed is not handed out: with or without the cache a question has the same answer.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from orrery.kernels.label_rows import LabelRows, group_rows, join_rows, order_rows, take_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from orrery.model.effects import Labels

STEPS_MAX = 11_000
"""Kept before and behind those last asked for."""

ENTRIES_MIN = 4
"""So many of the largest size fit."""

KEY_BYTES = 1024
"""About what one entry takes beside its table."""

LABELS_BYTES = 512
"""About what one label set takes that is objects of the interpreter."""


class Changes(Protocol):
    """What the store says of a tenant's data."""

    def mark(self, tenant: str) -> int: ...
    def changed_from_ns(self, tenant: str, mark: int) -> int:
        """The earliest time of all that may have changed after ``mark``."""

    def kept_from_ns(self, tenant: str) -> int:
        """From when on it keeps everything; what is earlier may go at any time."""


class Counted(Protocol):
    """Told of every question: ``hit``, ``part`` or ``miss``; and of the bytes held."""

    def __call__(self, outcome: str, bytes_held: int) -> None: ...


class Key(Struct, frozen=True):
    """Questions that differ in their times only. ``reads`` is all else that decides an answer:
    the query, its limits, what is forced on its caller."""

    tenant: str
    reads: tuple[object, ...]
    step_ns: int
    phase_ns: int


class Asked(Struct, frozen=True):
    """Steps ``first`` to ``last`` of a key, both included, at ``phase + number * step``. A step at
    t reads what lies in ``t - before_ns .. t + after_ns``."""

    key: Key
    first: int
    last: int
    before_ns: int
    after_ns: int


class Table(Struct, frozen=True, eq=False):
    """Rows in rising order of their labels, over steps ``first`` to ``last``; none is empty."""

    first: int
    last: int
    labels: "Sequence[Labels]"
    values: "NDArray[np.float64]"
    present: "NDArray[np.bool_]"

    def cut(self, first: int, last: int) -> "Table":
        """These steps, without the rows that are empty there."""
        if first == self.first and last == self.last:
            return self
        span = slice(first - self.first, last + 1 - self.first)
        values, present = self.values[:, span], self.present[:, span]
        used = present.any(axis=1)
        labels = self.labels
        if not used.all():
            places = np.flatnonzero(used)
            labels, values, present = take_rows(labels, places), values[places], present[places]
        return Table(first, last, labels, values, present)

    @property
    def byte_count(self) -> int:
        labels = self.labels
        held = labels.memory_bytes if isinstance(labels, LabelRows) else LABELS_BYTES * len(labels)
        return self.values.nbytes + self.present.nbytes + held + KEY_BYTES


class _Held(Struct, frozen=True, eq=False):
    mark: int
    kept_ns: int
    table: Table
    byte_count: int


class Look(Struct, frozen=True, eq=False):
    """What is there of a question; ``mark`` was taken before anything is read for the rest.

    Reads from ``kept_ns`` on missed nothing that had ceased to be kept."""

    asked: Asked
    mark: int
    kept_ns: int
    table: Table | None

    def missing(self) -> list[tuple[int, int]]:
        """Runs of steps to evaluate, both ends included."""
        asked, table = self.asked, self.table
        if table is None:
            return [(asked.first, asked.last)]
        runs = [(asked.first, table.first - 1), (table.last + 1, asked.last)]
        return [(first, last) for first, last in runs if first <= last]


class ResultCache:
    """Safe to use from any threads; what was asked longest ago goes first."""

    def __init__(self, *, changes: Changes, bytes_max: int, counted: Counted) -> None:
        self._changes = changes
        self._bytes_max = bytes_max
        self._counted = counted
        self._lock = threading.Lock()
        self._held: OrderedDict[Key, _Held] = OrderedDict()
        self._bytes_held = 0

    @property
    def is_on(self) -> bool:
        return self._bytes_max > 0

    def look(self, asked: Asked) -> Look:
        """Its steps that are held and still right, where these meet those asked for."""
        mark = self._changes.mark(asked.key.tenant)
        kept_ns = self._changes.kept_from_ns(asked.key.tenant)
        with self._lock:
            held = self._held.get(asked.key)
            if held is not None:
                self._held.move_to_end(asked.key)
        table = None
        if held is not None:
            kept_ns = max(kept_ns, held.kept_ns)
            table = self._sound(held, asked, kept_ns)
        if table is not None and (table.first > asked.last + 1 or table.last < asked.first - 1):
            table = None
        found = Look(asked, mark, kept_ns, table)
        missing = found.missing()
        outcome = "miss" if table is None else "part" if missing else "hit"
        self._counted(outcome, self._bytes_held)
        return found

    def _sound(self, held: _Held, asked: Asked, kept_ns: int) -> Table | None:
        """The steps of a table that read nothing which has changed, or has ceased to be kept."""
        key, table = asked.key, held.table
        changed_ns = self._changes.changed_from_ns(key.tenant, held.mark)
        # Steps at phase + number * step: the last with t + after < changed, the first with
        # t - before >= kept.
        last = (changed_ns - 1 - asked.after_ns - key.phase_ns) // key.step_ns
        first = -((key.phase_ns - asked.before_ns - kept_ns) // key.step_ns)
        first, last = max(first, table.first), min(last, table.last)
        return table.cut(first, last) if first <= last else None

    def keep(self, look: Look, parts: Sequence[Table]) -> Table:
        """Joins what was there and what was evaluated since ``look``; the question's own steps."""
        asked, key = look.asked, look.asked.key
        tables = [*parts] if look.table is None else [look.table, *parts]
        tables.sort(key=lambda table: table.first)
        whole = joined(tables)
        answer = whole.cut(asked.first, asked.last)
        # As much again on either side: who pans back and forth finds it, and no run grows for ever.
        count = min(asked.last + 1 - asked.first, STEPS_MAX)
        bounds = max(whole.first, asked.first - count), min(whole.last, asked.last + count)
        for table in (whole.cut(*bounds), answer):
            byte_count = table.byte_count
            if byte_count <= self._bytes_max // ENTRIES_MIN:
                # Retention may have gone on while the rest was read.
                kept_ns = max(look.kept_ns, self._changes.kept_from_ns(key.tenant))
                self._put(key, _Held(look.mark, kept_ns, table, byte_count))
                break
        return answer

    def _put(self, key: Key, held: _Held) -> None:
        with self._lock:
            old = self._held.pop(key, None)
            self._held[key] = held
            self._bytes_held += held.byte_count - (old.byte_count if old else 0)
            while self._bytes_held > self._bytes_max:
                self._bytes_held -= self._held.popitem(last=False)[1].byte_count


def joined(tables: Sequence[Table]) -> Table:
    """Tables of neighbouring steps as one."""
    if len(tables) == 1:
        return tables[0]
    index, labels = group_rows(join_rows([table.labels for table in tables]))
    first, last = tables[0].first, tables[-1].last
    shape = (len(labels), last + 1 - first)
    values, present = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
    row = 0
    for table in tables:
        rows = index[row : row + len(table.labels)]
        span = slice(table.first - first, table.last + 1 - first)
        values[rows, span], present[rows, span] = table.values, table.present
        row += len(table.labels)
    order = order_rows(labels)
    whole = Table(first, last, labels, values, present)
    return replace(
        whole, labels=take_rows(labels, order), values=values[order], present=present[order]
    )
