"""Side columns go where their sample goes: through record, head, flush, merge, delete, replay."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orrery.errors import Corrupt, Invalid
from orrery.kernels.block import Block
from orrery.kernels.columns import decode_columns
from orrery.kernels.compaction import Delete, write_block
from orrery.kernels.head import Head
from orrery.kernels.record import describe_record, encode_delete
from orrery.kernels.series import encode_series, parse_series
from orrery.kernels.series_table import ResolveBounds, SeriesTable
from orrery.kernels.sides import NO_ELEVATION, NO_POSITION, NO_START_TIME
from orrery.kernels.snapshot import Snapshot
from tests.kernels.test_snapshot import unlimited

WHOLE = {"min_ns": -(2**63), "max_ns": 2**63 - 1}
BOUNDS = ResolveBounds(
    time_min_ns=-1000,
    time_max_ns=2**62,
    active_series_max=1000,
    new_series_allowed=True,
    label_count_max=30,
    label_bytes_max=1000,
)
NONE = (NO_START_TIME, NO_POSITION, NO_ELEVATION)
DTYPES = {float: np.float64, int: np.int64, bool: np.bool_, str: None, bytes: None}
KEYWORDS = ("start_times_ns", "positions", "elevations_mm")


def batch_of(rows):
    """A batch of (host, time, value, side) rows, whose values are of one type."""
    by_host = {}
    for host, time, value, side in rows:
        by_host.setdefault(host, []).append((time, value, side))
    samples = [sample for found in by_host.values() for sample in found]
    values = [value for _, value, _ in samples]
    dtype = DTYPES[type(values[0])]
    sides = {}
    for at, (keyword, kind) in enumerate(zip(KEYWORDS, "quq", strict=True)):
        column = [side[at] for _, _, side in samples]
        if any(bits != NONE[at] for bits in column):
            sides[keyword] = np.array(column, dtype=np.uint64 if kind == "u" else np.int64)
    return decode_columns(
        [encode_series("m", "", [("host", host)]) for host in by_host],
        np.cumsum([0, *map(len, by_host.values())]),
        np.array([time for time, _, _ in samples], dtype=np.int64),
        values if dtype is None else np.array(values, dtype=dtype),
        **sides,
    )


@dataclass
class Store:
    """As ``store`` puts the kernels together, with everything in reach."""

    directory: Path
    log: list = field(default_factory=list)
    blocks: list = field(default_factory=list)
    deletes: list = field(default_factory=list)
    files_count: int = 0

    def __post_init__(self):
        self.start()

    def start(self):
        self.table = SeriesTable()
        self.head = Head(self.table)

    def write(self, rows):
        resolved = self.table.resolve("t", batch_of(rows), defaults=[], forced=[], bounds=BOUNDS)
        self.log.append(resolved.record(1))
        self.head.apply(resolved, len(self.log) - 1)
        return resolved

    def delete(self, host, min_ns, max_ns):
        matchers = [("host", "=", host)]
        self.log.append(encode_delete("t", 1, matchers, min_ns, max_ns))
        offset = len(self.log) - 1
        self.head.delete("t", matchers, min_ns, max_ns, offset)
        self.deletes.append((offset, "t", matchers, min_ns, max_ns))

    def flush(self):
        generation = self.head.freeze(len(self.log))
        if generation is not None:
            self.put([generation.source()], generation.order, effort="fast")
            self.head.release(generation)

    def compact(self):
        if self.blocks:
            sources = [source for _, source in self.blocks]
            orders = [source.order for source in sources]
            self.blocks.clear()
            self.put(sources, max(orders), through=len(self.log) - 1, effort="small")

    def put(self, sources, order, *, effort, through=None):
        path = self.directory / str(self.files_count)
        self.files_count += 1
        deletes = [Delete(*row) for row in self.deletes]
        if write_block(sources, deletes, path, keep={}, effort=effort, **WHOLE) is not None:
            block = Block.open(path)
            block.verify()
            self.blocks.append((block, block.source(order, order if through is None else through)))

    def restart(self):
        """All of the log again, into an empty store."""
        self.start()
        self.blocks.clear()
        self.deletes.clear()
        for offset, record in enumerate(self.log):
            self.head.replay(record, offset)

    def read(self, **bounds):
        bounds = WHOLE | bounds
        sources = [source for _, source in self.blocks] + self.head.sources()
        snapshot = Snapshot(sources, self.deletes)
        meter = unlimited()
        found = snapshot.select("t", [], bounds["min_ns"], bounds["max_ns"], meter)
        out = {}
        columns = found.columns(0, len(found), bounds["min_ns"], bounds["max_ns"], meter)
        for kind, series, times, values, *sides in columns:
            for at in range(len(times)):
                _, _, labels = parse_series(found.canonical(int(series[at])))
                key = (dict(labels)["host"], int(times[at]))
                assert key not in out
                out[key] = (value_at(kind, values, at), side_at(sides, at))
        return out


def value_at(kind, values, at):
    if kind in ("string", "bytes"):
        offsets, heap = values
        payload = heap[offsets[at] : offsets[at + 1]]
        return payload.decode() if kind == "string" else payload
    return values[at].item()


def side_at(sides, at):
    bits = (
        none if column is None else int(column[at])
        for column, none in zip(sides, NONE, strict=True)
    )
    return tuple(bits)


SIDES = st.one_of(
    st.just(NONE),
    st.tuples(
        st.sampled_from([NO_START_TIME, 0, -1, 2**63 - 1]),
        st.sampled_from([NO_POSITION, 0, 2**64 - 1, 0xC000_1234_5678_9ABC]),
        st.sampled_from([NO_ELEVATION, 0, -5, 8_848_860]),
    ),
)
VALUES = [
    st.sampled_from(found) for found in ([0.5, 1.0, 2.5], [1, -2], [True, False], ["a", "bc"])
]
WRITES = st.sampled_from(VALUES).flatmap(
    lambda values: st.lists(
        st.tuples(st.sampled_from("xy"), st.integers(0, 9), values, SIDES), min_size=1, max_size=6
    )
)
STEPS = st.one_of(
    st.tuples(st.just("write"), WRITES),
    st.tuples(st.just("delete"), st.sampled_from("xy"), st.integers(0, 9), st.integers(0, 3)),
    st.tuples(st.sampled_from(["flush", "compact", "restart"])),
)


@given(st.lists(STEPS, max_size=12), st.integers(0, 9), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_a_store_answers_as_a_dict_does(steps, min_ns, max_ns):
    expected = {}
    with TemporaryDirectory() as directory:
        store = Store(Path(directory))
        for step, *arguments in steps:
            if step == "write":
                store.write(*arguments)
                # A batch is told series by series: so is the order in which its samples win.
                expected |= {(host, time): (v, side) for host, time, v, side in arguments[0]}
            elif step == "delete":
                host, first, length = arguments
                store.delete(host, first, first + length)
                gone = {(host, time) for time in range(first, first + length + 1)}
                expected = {key: found for key, found in expected.items() if key not in gone}
            else:
                getattr(store, step)()
            assert store.read() == expected
        inside = {key: v for key, v in expected.items() if min_ns <= key[1] <= max_ns}
        assert store.read(min_ns=min_ns, max_ns=max_ns) == inside


def long_rows(count, sided_every):
    return [
        (
            "x",
            time,
            time % 97 / 4,
            (time - 7, 2**40 + time * 3, time * 10) if time % sided_every == 0 else NONE,
        )
        for time in range(count)
    ]


@pytest.mark.parametrize("sided_every", [1, 3, 3000])
def test_merges_copy_pages_with_their_side_columns(tmp_path, sided_every):
    store = Store(tmp_path)
    rows = long_rows(4200, sided_every)
    expected = {(host, time): (value, side) for host, time, value, side in rows}
    for part in range(3):
        store.write(rows[part::3])
        store.flush()
    for _ in range(2):
        store.compact()
        assert store.read() == expected
    store.write([("x", 3210, 1.0, NONE), ("x", 20_000, 2.0, (1, 2, 3))])
    store.flush()
    store.compact()
    expected |= {("x", 3210): (1.0, NONE), ("x", 20_000): (2.0, (1, 2, 3))}
    assert store.read() == expected
    store.delete("x", 100, 2_500)
    store.compact()
    left = {key: found for key, found in expected.items() if not 100 <= key[1] <= 2_500}
    assert store.read() == left
    few = {("x", time): left["x", time] for time in (2_501, 2_502)}
    assert store.read(min_ns=100, max_ns=2_502) == few


def test_samples_without_side_columns_take_no_room(tmp_path):
    sizes = []
    for sided_every in (5000, 9001):
        directory = tmp_path / str(sided_every)
        directory.mkdir()
        store = Store(directory)
        store.write(long_rows(9000, sided_every)[1:])
        store.flush()
        store.compact()
        sizes.append((directory / "1").stat().st_size)
    assert 0 < sizes[0] - sizes[1] < 1_000


def test_numbers_are_read_past_side_columns(tmp_path):
    store = Store(tmp_path)
    rows = long_rows(5000, 2)
    store.write(rows)
    for step in (lambda: None, store.flush, store.compact):
        step()
        sources = [source for _, source in store.blocks] + store.head.sources()
        found = Snapshot(sources, []).select("t", [], 0, 9_000, unlimited())
        _, times, values = found.samples(0, 1, 10, 4_000, unlimited())
        assert values.tolist() == [value for _, time, value, _ in rows if 10 <= time <= 4_000]
        assert times.tolist() == list(range(10, 4_001))
        assert found.count(0, 9_000, unlimited()) == (1, 5000)
        matrix, _ = found.window(
            0,
            1,
            function="count_over_time",
            start_ns=4999,
            step_ns=1,
            step_count=1,
            range_ns=5000,
            offset_ns=0,
            parameters=[],
            meter=unlimited(),
        )
        assert matrix.tolist() == [[5000.0]]


def test_refused_samples_take_their_side_columns_along(tmp_path):
    store = Store(tmp_path)
    resolved = store.write(
        [("x", -2000, 1.0, (1, 2, 3)), ("x", 5, 2.0, (4, 5, 6)), ("y", 6, 3.0, NONE)]
    )
    assert len(resolved.rejected) == 1
    expected = {("x", 5): (2.0, (4, 5, 6)), ("y", 6): (3.0, NONE)}
    assert store.read() == expected
    store.restart()
    assert store.read() == expected


def test_a_record_has_the_columns_that_its_samples_need(tmp_path):
    store = Store(tmp_path)
    store.write([("x", 1, 1.0, NONE)])
    store.write([("x", 2, 1.0, (NO_START_TIME, 7, NO_ELEVATION)), ("x", 3, 1.0, NONE)])
    columns = [
        {column["name"]: column["optional"] for column in describe_record(record)["columns"]}
        for record in store.log
    ]
    assert columns[1].keys() - columns[0].keys() == {"positions"}
    # A release that does not know it has to stop there, not to drop it.
    assert columns[1]["positions"] is False


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_columns_that_are_not_as_long_as_the_values_are_refused(keyword):
    series = [encode_series("m", "", [])]
    with pytest.raises(Invalid, match="must be 2"):
        decode_columns(
            series,
            np.array([0, 2]),
            np.array([1, 2]),
            np.ones(2),
            **{keyword: np.ones(3, np.int64)},
        )


def verify(path):
    Block.open(path).verify()


def test_any_flipped_bit_in_a_block_is_found(tmp_path):
    store = Store(tmp_path)
    store.write(long_rows(40, 1))
    store.flush()
    store.compact()
    content = (tmp_path / "1").read_bytes()
    path = tmp_path / "bad"
    for at in range(16, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        with pytest.raises((Corrupt, Invalid)):
            verify(path)
