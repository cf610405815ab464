"""Roll-ups against a plain-Python model: whatever happened before, an answer from buckets is the
one that the samples would give."""

import itertools
import random

import pytest

from orrery.errors import Corrupt
from orrery.kernels.meter import Meter
from orrery.store.bounds import DAY_NS, HOUR_NS, MINUTE_NS, StoreBounds
from orrery.store.manifest import BlockEntry, DeleteEntry
from orrery.store.retention import KeepRule, Retention, policy_of
from orrery.store.rollup_plan import Block, Wishes, pick_rollup
from tests.store.cores import NativeCore
from tests.store.harness import NOW_NS, TENANT, FakeClock, Running

MIDNIGHT_NS = NOW_NS // DAY_NS * DAY_NS
FIVE_NS = 5 * MINUTE_NS
LADDER = ((FIVE_NS, None), (HOUR_NS, None), (DAY_NS, None))
SPAN_DAYS = 24
ENTRY = {
    "offset_first": 0,
    "offset_last": 40,
    "deletes_through": 0,
    "level": 1,
    "sample_count": 24,
    "byte_count": 1000,
    "resolution_ns": HOUR_NS,
    "tenant_count": 1,
}


def seeds(quick, all_of_them):
    """A few of them each time; ``make soak`` takes all."""
    return [
        seed if seed < quick else pytest.param(seed, marks=pytest.mark.soak)
        for seed in range(all_of_them)
    ]


# --- the model


def seen(samples, at_ns, range_ns):
    inside = sorted(time for time in samples if at_ns - range_ns < time <= at_ns)
    return [(time, samples[time]) for time in inside]


def increase(window, at_ns, range_ns):
    """As Prometheus extrapolates it."""
    if len(window) < 2:
        return None
    (first_ns, first), (last_ns, last) = window[0], window[-1]
    values = [value for _, value in window]
    pairs = itertools.pairwise(values)
    rise = last - first + sum(before for before, after in pairs if after < before)
    sampled = (last_ns - first_ns) / 1e9
    interval = sampled / (len(window) - 1)
    to_start = (first_ns - (at_ns - range_ns)) / 1e9
    to_end = (at_ns - last_ns) / 1e9
    to_start = interval / 2 if to_start >= 1.1 * interval else to_start
    if rise > 0 and first >= 0:
        to_start = min(to_start, sampled * first / rise)
    to_end = interval / 2 if to_end >= 1.1 * interval else to_end
    return rise * (sampled + to_start + to_end) / sampled


MODEL = {
    "count_over_time": lambda window, *_: len(window) or None,
    "sum_over_time": lambda window, *_: sum(v for _, v in window) if window else None,
    "min_over_time": lambda window, *_: min((v for _, v in window), default=None),
    "max_over_time": lambda window, *_: max((v for _, v in window), default=None),
    "last_over_time": lambda window, *_: window[-1][1] if window else None,
    "resets": lambda window, *_: (
        sum(b < a for (_, a), (_, b) in itertools.pairwise(window)) if window else None
    ),
    "increase": increase,
}


# --- the store


def options(*rules, clock=None):
    policy = policy_of(*rules)
    bounds = StoreBounds(grace_seconds=0.0, disk_reserve_bytes=0, delete_rewrite_after_ns=0)
    return {
        "retention": Retention(lambda _tenant: policy),
        "bounds": bounds,
        "clock": clock or FakeClock(),
    }


def opened(path, *rules, clock=None):
    return Running(path, NativeCore(), **options(*rules, clock=clock))


def meter():
    return Meter(samples_max=0, series_max=0, deadline_seconds=None)


def ask(db, name, function, *, start_ns, step_ns, count, range_ns, finest_ns, measured=None):
    """One row: a value or None a step."""
    measured = measured or meter()
    low_ns, high_ns = start_ns - range_ns + 1, start_ns + step_ns * (count - 1)
    snapshot = db.store.snapshot(TENANT)
    matchers = [("__name__", "=", name)]
    found = snapshot.select(TENANT, matchers, low_ns, high_ns, measured, finest_ns)
    if not len(found):
        return [None] * count, ([], False)
    values, present = found.window(
        0,
        len(found),
        function=function,
        start_ns=start_ns,
        step_ns=step_ns,
        step_count=count,
        range_ns=range_ns,
        offset_ns=0,
        parameters=[],
        meter=measured,
    )
    row = [v if p else None for v, p in zip(values[0].tolist(), present[0], strict=True)]
    return row, found.coarse_used()


def shown(row):
    """No answer of the model is below zero."""
    return [-1.0 if value is None else value for value in row]


def check(db, model, resolution_ns, from_ns=MIDNIGHT_NS - SPAN_DAYS * DAY_NS):
    """Windows of whole buckets over all that was ever written, at every function."""
    range_ns = 3 * resolution_ns
    step_ns = max(resolution_ns, DAY_NS) if resolution_ns != FIVE_NS else 7 * HOUR_NS
    count = (NOW_NS + 2 * DAY_NS - from_ns) // step_ns
    for name, samples in model.items():
        for function, expected_of in MODEL.items():
            row, _ = ask(
                db,
                name,
                function,
                start_ns=from_ns,
                step_ns=step_ns,
                count=count,
                range_ns=range_ns,
                finest_ns=resolution_ns,
            )
            steps = [from_ns + at * step_ns for at in range(count)]
            expected = [
                expected_of(seen(samples, at_ns, range_ns), at_ns, range_ns) for at_ns in steps
            ]
            assert shown(row) == pytest.approx(shown(expected), rel=1e-12), (name, function)


def work(db, model, chance, *, oldest_ns, deletes=True):
    """One random thing that happens to a store, and to the model."""
    name = chance.choice(sorted(model))
    match chance.randrange(8):
        case 0 | 1 | 2:
            start_ns = chance.randrange(oldest_ns, db.clock.ns - HOUR_NS, MINUTE_NS)
            gap_ns = chance.choice([MINUTE_NS, FIVE_NS, 3 * HOUR_NS])
            times = [start_ns + at * gap_ns for at in range(chance.randrange(1, 60))]
            rows = {t: float(chance.randrange(100)) for t in times if t <= db.clock.ns}
            db.write(*((name, time_ns, value) for time_ns, value in rows.items()))
            model[name].update(rows)
        case 3 if deletes:
            low_ns = chance.randrange(oldest_ns, db.clock.ns, MINUTE_NS)
            high_ns = low_ns + chance.choice([0, HOUR_NS, 2 * DAY_NS])
            db.delete(name, low_ns, high_ns)
            kept = {t: v for t, v in model[name].items() if not low_ns <= t <= high_ns}
            model[name] = kept
        case 4:
            db.store.flush()
        case 5:
            db.store.maintain_blocks()
        case 6:
            db.clock.ns += chance.choice([MINUTE_NS, 5 * HOUR_NS])
        case 7 if chance.random() < 0.3:
            db.store.compact()


@pytest.mark.parametrize("seed", seeds(2, 40))
def test_answers_from_buckets_are_those_of_the_samples(tmp_path, seed):
    chance = random.Random(seed)
    clock = FakeClock()
    model = {"a": {}, "b": {}}
    oldest_ns = MIDNIGHT_NS - (SPAN_DAYS - 2) * DAY_NS
    for _ in range(3):
        with opened(tmp_path, KeepRule(coarse_days=LADDER), clock=clock) as db:
            for _ in range(25):
                work(db, model, chance, oldest_ns=oldest_ns)
            for resolution_ns, _ in LADDER:
                check(db, model, resolution_ns)
            db.store.flush()
            db.store.compact()
            check(db, model, HOUR_NS)


@pytest.mark.parametrize("seed", seeds(1, 20))
def test_buckets_outlive_their_samples(tmp_path, seed):
    """What retention takes is taken of the samples alone, late ones included."""
    chance = random.Random(seed)
    clock = FakeClock(MIDNIGHT_NS - SPAN_DAYS * DAY_NS + 3 * DAY_NS)
    model = {"a": {}, "b": {}}
    rule = KeepRule(raw_days=3.0, coarse_days=((HOUR_NS, None), (DAY_NS, None)))
    with opened(tmp_path, rule, clock=clock) as db:
        while clock.ns < MIDNIGHT_NS - 4 * DAY_NS:
            for _ in range(12):
                work(db, model, chance, oldest_ns=clock.ns - 2 * DAY_NS, deletes=False)
            db.store.flush()
            for _ in range(3):
                db.store.maintain_blocks()
            clock.ns += DAY_NS
        db.store.flush()
        db.store.compact()
        raw = [block for block in db.store.blocks() if block.resolution_ns == 0]
        # A block goes once all of it is older.
        assert min(block.max_ns for block in raw) > clock.ns - 5 * DAY_NS
        check(db, model, HOUR_NS)
        check(db, model, DAY_NS)
    with opened(tmp_path, rule, clock=clock) as db:
        check(db, model, DAY_NS)


def filled(db, days, gap_ns=HOUR_NS):
    first_ns = MIDNIGHT_NS - days * DAY_NS
    times = range(first_ns + gap_ns, MIDNIGHT_NS - DAY_NS + 1, gap_ns)
    rows = {time_ns: float(at % 50) for at, time_ns in enumerate(times)}
    db.write(*(("a", time_ns, value) for time_ns, value in rows.items()))
    db.store.flush()
    db.store.compact()
    return rows


def test_a_long_question_reads_no_sample_of_what_is_rolled_up(tmp_path):
    rule = KeepRule(coarse_days=LADDER)
    with opened(tmp_path, rule) as db:
        rows = filled(db, 200)
        asked = {"start_ns": MIDNIGHT_NS - 199 * DAY_NS, "step_ns": DAY_NS, "count": 198}
        measured = meter()
        row, used = ask(
            db,
            "a",
            "increase",
            **asked,
            range_ns=DAY_NS,
            finest_ns=DAY_NS,
            measured=measured,
        )
        assert used == ([DAY_NS], False)
        assert measured.samples_read == measured.rows_read == 198
        files = [block for block in db.store.blocks() if block.resolution_ns == 0]
        paths = [db.directory.blocks_path / block.name for block in files]
    for path in paths:
        content = bytearray(path.read_bytes())
        for at in range(16, min(len(content) // 4, 4096)):
            content[at] ^= 0xFF
        path.write_bytes(content)
    with opened(tmp_path, rule) as db:
        assert ask(db, "a", "increase", **asked, range_ns=DAY_NS, finest_ns=DAY_NS)[0] == row
        with pytest.raises(Corrupt):
            ask(db, "a", "increase", **asked, range_ns=DAY_NS, finest_ns=None)
        days = [seen(rows, asked["start_ns"] + at * DAY_NS, DAY_NS) for at in range(198)]
        assert [value is not None for value in row] == [len(day) > 1 for day in days]


def test_a_delete_takes_whole_buckets_where_the_samples_are_gone(tmp_path):
    clock = FakeClock()
    rule = KeepRule(raw_days=10.0, coarse_days=((HOUR_NS, None), (DAY_NS, None)))
    with opened(tmp_path, rule, clock=clock) as db:
        rows = filled(db, 60, gap_ns=10 * MINUTE_NS)
        old_ns, new_ns = MIDNIGHT_NS - 50 * DAY_NS, MIDNIGHT_NS - 5 * DAY_NS
        for at_ns in (old_ns, new_ns):
            db.delete("a", at_ns + 20 * MINUTE_NS, at_ns + 70 * MINUTE_NS)

        def counts(at_ns, step_ns):
            asked = {"start_ns": at_ns + step_ns, "step_ns": step_ns, "count": 3}
            return ask(db, "a", "count_over_time", **asked, range_ns=step_ns, finest_ns=step_ns)[0]

        for done in (lambda: None, db.store.compact):
            done()
            # To the sample where there are samples; else every bucket that is touched goes.
            assert counts(new_ns, HOUR_NS) == [1, 5, 6]
            assert counts(new_ns, DAY_NS) == [138, 144, 144]
            assert counts(old_ns, HOUR_NS) == [None, None, 6]
            assert counts(old_ns, DAY_NS) == [None, 144, 144]
        assert len(rows) > 8000


def test_rules_hold_by_selector(tmp_path):
    clock = FakeClock()
    short = KeepRule((("__name__", "=", "a"),), 2.0, ((HOUR_NS, 20.0),))
    rest = KeepRule((), 30.0, ((HOUR_NS, None),))
    with opened(tmp_path, short, rest, clock=clock) as db:
        first_ns = MIDNIGHT_NS - 40 * DAY_NS
        times = range(first_ns, MIDNIGHT_NS, HOUR_NS)
        for name in "ab":
            db.write(*((name, time_ns, 1.0) for time_ns in times))
        db.store.flush()

        def days(name, finest_ns):
            asked = {"start_ns": first_ns + DAY_NS, "step_ns": DAY_NS, "count": 40}
            row, _ = ask(db, name, "count_over_time", **asked, range_ns=DAY_NS, finest_ns=finest_ns)
            return sum(value is not None for value in row)

        for done in (lambda: None, db.store.compact):
            done()
            assert (days("a", None), days("b", None)) == (2, 30)
        assert (days("a", HOUR_NS), days("b", HOUR_NS)) == (20, 40)
        raw = [block for block in db.store.blocks() if block.resolution_ns == 0]
        left = {name for block in raw for name in _names(db, block)}
        assert left == {"a", "b"}
        old = [block for block in raw if block.max_ns < clock.ns - 5 * DAY_NS]
        assert old
        assert {name for block in old for name in _names(db, block)} == {"b"}


def _names(db, block):
    kernels = db.core.kernels
    handle, _ = kernels.open_block(str(db.directory.blocks_path / block.name))
    snapshot = kernels.snapshot([handle.source(0, 0)], [])
    return snapshot.label_values(TENANT, "__name__", [], -(2**63), 2**63 - 1, meter())


def test_a_resolution_that_is_added_is_made_for_what_is_kept(tmp_path):
    clock = FakeClock()
    with opened(tmp_path, KeepRule(), clock=clock) as db:
        rows = filled(db, 30)
        assert {block.resolution_ns for block in db.store.blocks()} == {0}
    with opened(tmp_path, KeepRule(coarse_days=((HOUR_NS, None),)), clock=clock) as db:
        db.store.compact()
        check(db, {"a": rows}, HOUR_NS, from_ns=MIDNIGHT_NS - 28 * DAY_NS)
        assert HOUR_NS in {block.resolution_ns for block in db.store.blocks()}
        db.store.compact()
    with opened(tmp_path, KeepRule(), clock=clock) as db:
        db.store.maintain_blocks()
        assert {block.resolution_ns for block in db.store.blocks()} == {0}
        check(db, {"a": rows}, HOUR_NS, from_ns=MIDNIGHT_NS - 28 * DAY_NS)


def test_settled_roll_ups_are_not_made_again(tmp_path):
    with opened(tmp_path, KeepRule(coarse_days=LADDER)) as db:
        filled(db, 100)
        names = [block.name for block in db.store.blocks()]
        assert not db.store.maintain_blocks()
        assert [block.name for block in db.store.blocks()] == names
        coarse = [block for block in db.store.blocks() if block.resolution_ns]
        assert len(coarse) < 30


def test_days_of_a_damaged_block_are_left_as_they_are(tmp_path):
    rule = KeepRule(coarse_days=((DAY_NS, None),))
    with opened(tmp_path, KeepRule()) as db:
        # Far apart, so that no merge brings them together.
        spots = [MIDNIGHT_NS - 90 * DAY_NS, MIDNIGHT_NS - 60 * DAY_NS, MIDNIGHT_NS - 30 * DAY_NS]
        for at_ns in spots:
            db.write(*(("a", at_ns + at * MINUTE_NS, 1.0) for at in range(1, 24)))
            db.store.flush()
        (name,) = [b.name for b in db.store.blocks() if b.min_ns // DAY_NS == spots[1] // DAY_NS]
        path = db.directory.blocks_path / name
    content = path.read_bytes()
    path.unlink()

    def count(db, at_ns):
        asked = {"start_ns": at_ns + DAY_NS, "step_ns": DAY_NS, "count": 1, "range_ns": DAY_NS}
        return ask(db, "a", "count_over_time", **asked, finest_ns=DAY_NS)[0]

    with opened(tmp_path, rule) as db:
        db.store.compact()
        coarse = [block for block in db.store.blocks() if block.resolution_ns]
        assert all(not b.min_ns <= spots[1] + DAY_NS <= b.max_ns for b in coarse)
        assert [count(db, spots[at]) for at in (0, 2)] == [[23], [23]]
        with pytest.raises(Corrupt):
            count(db, spots[1])
        path.write_bytes(content)
        db.store.release_block(name)
        db.store.compact()
        assert [count(db, at_ns) for at_ns in spots] == [[23]] * 3
        coarse = [block for block in db.store.blocks() if block.resolution_ns]
        assert any(b.min_ns <= spots[1] + DAY_NS <= b.max_ns for b in coarse)
    with opened(tmp_path, rule) as db:
        assert db.store.quarantine().held == ()
        assert [count(db, at_ns) for at_ns in spots] == [[23]] * 3


def test_a_merge_of_buckets_waits_for_deletes(tmp_path):
    """A bucket that a delete has met is made anew from samples, never dropped by a merge."""
    early = BlockEntry(**ENTRY, name="early", min_ns=1, max_ns=DAY_NS)
    late = BlockEntry(**ENTRY, name="late", min_ns=DAY_NS + 1, max_ns=2 * DAY_NS)
    coarse = [Block(entry, frozenset([TENANT])) for entry in (early, late)]
    wishes = Wishes(HOUR_NS, frozenset([TENANT]), -(2**63))
    delete = DeleteEntry(
        offset=50, tenant=TENANT, matchers=(), min_ns=HOUR_NS, max_ns=HOUR_NS, made_at_ns=0
    )

    def reason(**given):
        closed_ns = 100 * DAY_NS
        given = {"deletes": (), "due": (), "closed_ns": closed_ns, **given}
        plan = pick_rollup([], coarse, wishes, **given)
        return plan and plan.reason

    assert reason() == "merge"
    assert reason(deletes=(delete,)) is None
    assert reason(deletes=(delete,), due=(delete,)) == "late"
    assert reason(blocked=[(HOUR_NS, HOUR_NS)]) is None


def test_a_delete_makes_a_bucket_anew_that_it_shares_with_what_is_left(tmp_path):
    """Also where the samples it hides have left their block before."""
    day_ns = MIDNIGHT_NS - 10 * DAY_NS
    samples = {day_ns + hour * HOUR_NS: float(hour) for hour in range(1, 24)}
    with opened(tmp_path, KeepRule(coarse_days=((HOUR_NS, None), (DAY_NS, None)))) as db:
        db.write(*(("a", time_ns, value) for time_ns, value in samples.items()))
        db.store.flush()
        db.store.compact()
        db.delete("a", day_ns, day_ns + 10 * HOUR_NS)
        left = {t: v for t, v in samples.items() if t > day_ns + 10 * HOUR_NS}
        # One round applies it to the hours and to the samples, the next one to the day.
        for _ in range(3):
            db.store.maintain_blocks()
            check(db, {"a": left}, DAY_NS)
            check(db, {"a": left}, HOUR_NS)
