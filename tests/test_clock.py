"""The clock by which data is thrown away: it does not follow a jump at once."""

import pytest

from orrery.clock import GuardedClock

YEAR = 365 * 86_400
HOLD = 86_400
NOW = 1_800_000_000


class JumpingClock:
    def __init__(self):
        self.wall = float(NOW)
        self.monotonic = 5.0

    def now_ns(self):
        return int(self.wall * 1e9)

    def monotonic_seconds(self):
        return self.monotonic

    def sleep_seconds(self, seconds):
        self.pass_by(seconds)

    def pass_by(self, seconds):
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def clock():
    return JumpingClock()


def guarded(clock, known=0, hold=HOLD):
    told = []
    guard = GuardedClock(clock, known_ns=int(known * 1e9), hold_seconds=hold, on_change=told.append)
    return guard, told


def seconds(guard):
    return guard.now_ns() / 1e9 - NOW


def test_time_that_passes_is_believed(clock):
    guard, told = guarded(clock)
    for _ in range(3):
        clock.pass_by(5 * 86_400)
        assert guard.now_ns() == clock.now_ns()
    assert told == []


@pytest.mark.parametrize("slew", [-3000, 3000])
def test_a_small_step_is_believed(clock, slew):
    guard, told = guarded(clock)
    clock.wall += slew
    assert guard.now_ns() == clock.now_ns()
    assert told == []


@pytest.mark.parametrize("jump", [YEAR, -7 * 3600, -YEAR])
def test_a_jump_is_believed_once_it_has_stood(clock, jump):
    guard, told = guarded(clock)
    clock.wall += jump
    assert seconds(guard) == pytest.approx(0)
    clock.pass_by(HOLD - 1)
    assert seconds(guard) == pytest.approx(HOLD - 1)
    assert guard.offset_seconds() == pytest.approx(jump)
    clock.pass_by(1)
    assert guard.now_ns() == clock.now_ns()
    assert guard.offset_seconds() == 0
    assert told == [pytest.approx(jump), 0.0]


def test_a_clock_that_is_set_right_again_was_never_followed(clock):
    guard, told = guarded(clock)
    clock.wall += YEAR
    guard.now_ns()
    clock.pass_by(3600)
    clock.wall -= YEAR
    assert seconds(guard) == pytest.approx(3600)
    assert guard.now_ns() == clock.now_ns()
    assert told == [pytest.approx(YEAR), 0.0]


def test_each_jump_has_to_stand_by_itself(clock):
    guard, told = guarded(clock)
    clock.wall += YEAR
    guard.now_ns()
    clock.pass_by(HOLD - 10)
    clock.wall += YEAR
    assert seconds(guard) == pytest.approx(HOLD - 10)
    clock.pass_by(HOLD - 10)
    assert seconds(guard) == pytest.approx(2 * HOLD - 20)
    clock.pass_by(10)
    assert guard.now_ns() == clock.now_ns()
    assert len(told) == 3


@pytest.mark.parametrize(
    ("down", "believed"), [(0, True), (6 * 86_400, True), (YEAR, False), (-7200, False)]
)
def test_a_start_after_a_while_is_believed_and_one_after_a_jump_is_not(clock, down, believed):
    guard, told = guarded(clock, known=NOW - down)
    assert seconds(guard) == pytest.approx(0 if believed else -down)
    assert bool(told) != believed


def test_without_a_hold_every_jump_is_believed(clock):
    guard, _ = guarded(clock, hold=0)
    clock.wall += YEAR
    assert guard.now_ns() == clock.now_ns()
