"""The compiled core in plain Python: slow, simple, and easy to break on purpose."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from orrery.errors import Corrupt, Invalid, Unavailable
from orrery.store.kernels import BlockSummary, DeleteRecord, MetadataRecord


@dataclass
class FakeBatch:
    rows: list[tuple[str, int, float]]

    @property
    def sample_count(self):
        return len(self.rows)


@dataclass
class FakeResolved:
    tenant: str
    rows: list[tuple[str, int, float]]
    table: "FakeSeriesTable"
    rejected: tuple = ()
    samples_rejected_count: int = 0
    series_rejected_count: int = 0
    lines_rejected_count: int = 0
    histogram_count: int = 0
    new_series_count: int = 0

    @property
    def sample_count(self):
        return len(self.rows)

    def record(self, epoch):
        """Names series by number; those without a definition in this epoch are defined."""
        numbers = [self.table.numbers[self.tenant, name] for name, _, _ in self.rows]
        fresh = {
            str(number): [self.tenant, row[0]]
            for number, row in zip(numbers, self.rows, strict=True)
            if number not in self.table.defined
        }
        self.table.defined.update(numbers)
        samples = [[n, t, v] for n, (_, t, v) in zip(numbers, self.rows, strict=True)]
        return json.dumps(
            {"kind": "samples", "epoch": epoch, "define": fresh, "samples": samples}
        ).encode()


@dataclass
class FakeDefinitions:
    rows: list
    until: int

    @property
    def count(self):
        return len(self.rows)

    def __iter__(self):
        return iter([json.dumps(self.rows).encode()] if self.rows else [])


class FakeSeriesTable:
    """A number is a hash of the name here as the id is in the core."""

    def __init__(self):
        self.numbers = {}
        self.names = {}
        self.order = []
        self.defined = set()

    def register(self, tenant, name):
        key = (tenant, name)
        if key in self.numbers:
            return False
        number = sum(ord(c) * 31**at for at, c in enumerate(tenant + "/" + name)) % 2**48
        self.numbers[key] = number
        self.names[number] = key
        self.order.append(number)
        return True

    def resolve(self, tenant, batch, *, defaults, forced, bounds):
        del defaults, forced, bounds
        fresh = sum(self.register(tenant, name) for name, _, _ in batch.rows)
        return FakeResolved(tenant, list(batch.rows), self, new_series_count=fresh)

    def definitions(self, since):
        rows = [self.names[number] for number in self.order[since:]]
        return FakeDefinitions(rows, len(self.order))

    def load_definitions(self, content):
        rows = json.loads(content)
        for tenant, name in rows:
            self.register(tenant, name)
        return len(rows)

    def forget_definitions(self):
        self.defined.clear()

    def sweep(self, idle_before_ns):
        del idle_before_ns
        return 0

    @property
    def series_count(self):
        return len(self.order)

    @property
    def memory_bytes(self):
        return 100 * len(self.order)

    def active_series(self, tenant):
        return sum(key[0] == tenant for key in self.numbers)

    def tenants(self):
        return [tenant for tenant, _ in self.numbers]


@dataclass
class FakeSource:
    order: int
    deletes_through: int
    samples: dict = field(default_factory=dict)

    @property
    def tenants(self):
        return {tenant for tenant, _, _ in self.samples}

    @property
    def time_range(self):
        times = [time for _, _, time in list(self.samples)]
        return (min(times), max(times)) if times else None

    def source(self):
        return self


class FakeHead:
    def __init__(self, table):
        self._table = table
        self._active = FakeSource(0, 0)
        self._frozen = []

    @property
    def sample_count(self):
        return sum(len(source.samples) for source in self.sources())

    @property
    def memory_bytes(self):
        return 100 * self.sample_count

    def _begin(self, offset):
        if not self._active.samples:
            # Deletes that came before hide nothing of what comes now.
            self._active.deletes_through = max(self._active.deletes_through, offset - 1)

    def apply(self, resolved, offset):
        self._begin(offset)
        for name, time, value in resolved.rows:
            self._active.samples[resolved.tenant, name, time] = value
        self._active.order = offset

    def replay(self, record, offset):
        self._begin(offset)
        content = json.loads(record)
        for tenant, name in content["define"].values():
            self._table.register(tenant, name)
        for number, time, value in content["samples"]:
            tenant, name = self._table.names[number]
            self._active.samples[tenant, name, time] = value
        self._active.order = offset

    def replay_run(self, records, first_offset):
        for count, record in enumerate(records):
            if json.loads(record)["kind"] != "samples":
                return count
            self.replay(record, first_offset + count)
        return len(records)

    def delete(self, tenant, matchers, min_ns, max_ns, offset):
        row = (offset, tenant, matchers, min_ns, max_ns)
        for source in self.sources():
            source.samples = {k: v for k, v in source.samples.items() if not hides(row, k)}
            source.deletes_through = offset

    def freeze(self, next_offset):
        if not self._active.samples:
            return None
        frozen = self._active
        frozen.order = next_offset - 1
        self._frozen.append(frozen)
        self._active = FakeSource(0, next_offset - 1)
        return frozen

    def release(self, generation):
        self._frozen.remove(generation)

    def sources(self):
        return [*self._frozen, self._active]


def hides(delete, key):
    _, tenant, matchers, min_ns, max_ns = delete
    of, name, time = key
    return of == tenant and min_ns <= time <= max_ns and all(m[2] == name for m in matchers)


def merged(sources, deletes):
    out = {}
    for source in sorted(sources, key=lambda source: source.order):
        rows = [row for row in deletes if row[0] > source.deletes_through]
        out.update(
            {k: v for k, v in list(source.samples.items()) if not any(hides(d, k) for d in rows)}
        )
    return out


@dataclass
class FakeLost:
    message: str
    order: int = 0
    deletes_through: int = 0

    @property
    def samples(self):
        raise Corrupt(self.message)


@dataclass
class FakeBlock:
    samples: dict

    def source(self, order, deletes_through):
        return FakeSource(order, deletes_through, self.samples)

    def verify(self):
        pass

    def damage(self):
        return []


class FakeCancellation:
    cancelled = False

    def cancel(self):
        self.cancelled = True


def from_ns(rows):
    """Of rules without selectors."""
    return rows[0][1] if rows else -(2**63)


class FakeKernels:
    """``before_write`` is called with the path of every block about to be written."""

    def __init__(self, before_write=lambda _path: None):
        self.before_write = before_write

    def series_table(self):
        return FakeSeriesTable()

    def resolve_bounds(self, bounds):
        return bounds

    def head(self, table):
        return FakeHead(table)

    def open_block(self, path):
        rows = json.loads(Path(path).read_text())
        samples = {(tenant, name, time): value for tenant, name, time, value in rows}
        return FakeBlock(samples), self._summary(samples, path)

    def fills_pages(self, block):
        return False

    def write_block(
        self,
        sources,
        deletes,
        path,
        *,
        min_ns,
        max_ns,
        keep,
        small,
        offsets,
        cancellation=None,
    ):
        del small, offsets
        self.before_write(path)
        if cancellation is not None and cancellation.cancelled:
            raise Unavailable("cannot write a block: cancelled")
        samples = {
            key: value
            for key, value in merged(sources, deletes).items()
            if max(min_ns, from_ns(keep.get(key[0], ()))) <= key[2] <= max_ns
        }
        if not samples:
            return None
        Path(path).write_text(json.dumps([[*key, value] for key, value in samples.items()]))
        return self._summary(samples, path)

    def cancellation(self):
        return FakeCancellation()

    def snapshot(self, sources, deletes, *, tenant=None, keep=(), levels=()):
        assert not levels, "there is no coarse data here"
        if any(
            operator == "=~" and value == "(" for *_, m, _, _ in deletes for _, operator, value in m
        ):
            raise Invalid("cannot read a matcher")
        shown = merged(sources, deletes)
        return {
            key: value
            for key, value in shown.items()
            if key[0] != tenant or key[2] >= from_ns(keep)
        }

    def lost_source(self, message, **_):
        return FakeLost(message)

    def encode_delete(self, delete, epoch):
        rows = [delete.tenant, delete.matchers, delete.min_ns, delete.max_ns]
        return json.dumps({"kind": "delete", "epoch": epoch, "delete": rows}).encode()

    def encode_metadata(self, metadata, epoch):
        rows = [metadata.tenant, metadata.rows]
        return json.dumps({"kind": "metadata", "epoch": epoch, "metadata": rows}).encode()

    def decode_control(self, record):
        content = json.loads(record)
        if content["kind"] == "delete":
            tenant, matchers, min_ns, max_ns = content["delete"]
            return DeleteRecord(tenant, tuple(map(tuple, matchers)), min_ns, max_ns)
        if content["kind"] == "metadata":
            tenant, rows = content["metadata"]
            return MetadataRecord(tenant, tuple(map(tuple, rows)))
        return None

    def describe_record(self, record):
        return {"kind": json.loads(record)["kind"]}

    @staticmethod
    def _summary(samples, path):
        times = [time for _, _, time in samples]
        return BlockSummary(
            min_ns=min(times),
            max_ns=max(times),
            sample_count=len(samples),
            byte_count=Path(path).stat().st_size,
            tenants=frozenset(tenant for tenant, _, _ in samples),
        )
