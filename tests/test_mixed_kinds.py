"""The table of docs/reading-mixed-kinds.md, row by row."""

import numpy as np
import pytest

import orrery

SECOND_NS = 1_000_000_000
START_S = 1_700_000_000


@pytest.fixture
def database(tmp_path):
    with orrery.open(tmp_path) as opened:
        yield opened


def write(database, *values, at=0):
    """One sample each 10 s, each of its own kind, into one series."""
    for step, value in enumerate(values):
        time_ns = np.array([(START_S + at + 10 * step) * SECOND_NS])
        column = np.array([value], dtype=object) if isinstance(value, str) else np.array([value])
        database.write({"time": time_ns, "value": column}, name="mixed")


def read(database):
    result = database.read("mixed", START_S, START_S + 600)
    return [values.tolist() for _, _, values in result], result.warnings


def value(database, query, at):
    result = database.query(query, at=START_S + at)
    return [values.tolist() for _, _, values in result], result.warnings


TOLD = ('series {__name__="mixed"} holds text, which is left out',)
KINDS = [
    (np.float64(1.5), [1.5], ()),
    (np.int64(-5), [-5.0], ()),
    (np.int64(2**53 + 1), [float(2**53)], ()),
    (np.uint64(2**64 - 1), [float(2**64)], ()),
    (np.bool_(True), [1.0], ()),
    (np.bool_(False), [0.0], ()),
    ("on", [], TOLD),
]


@pytest.mark.parametrize(("written", "shown", "warnings"), KINDS, ids=lambda one: repr(one)[:20])
def test_a_kind_is_shown_as_the_table_says(database, written, shown, warnings):
    write(database, written)
    rows = [shown] if shown else []
    assert read(database) == (rows, warnings)
    assert value(database, "mixed", 5) == (rows, warnings)
    assert value(database, "sum_over_time(mixed[1m])", 5) == (rows, warnings)
    assert database.series("mixed") == [{"__name__": "mixed"}]


def test_all_kinds_in_one_series(database):
    write(database, 1.5, np.int64(2), "off", np.uint64(3), np.bool_(True))
    assert read(database) == ([[1.5, 2.0, 3.0, 1.0]], TOLD)
    assert value(database, "count_over_time(mixed[1m])", 45) == ([[4.0]], TOLD)
    assert value(database, "sum_over_time(mixed[1m])", 45) == ([[7.5]], TOLD)


def test_a_lookback_goes_past_text(database):
    write(database, 7.0, "off")
    assert value(database, "mixed", 15) == ([[7.0]], TOLD)


def test_a_later_write_wins_whatever_its_kind(database):
    write(database, 7.0)
    write(database, "off")
    assert read(database) == ([], TOLD)
    write(database, np.int64(8))
    assert read(database) == ([[8.0]], ())


def test_a_counter_may_change_its_kind(database):
    write(database, np.int64(10), 20.0, np.uint64(30), 40.0)
    assert value(database, "increase(mixed[30s])", 30)[0] == [[30.0]]


def test_it_holds_after_a_flush_too(database):
    write(database, 1.5, "off", np.bool_(True))
    database.flush()
    write(database, np.int64(4), at=30)
    assert read(database) == ([[1.5, 1.0, 4.0]], TOLD)
