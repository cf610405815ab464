from collections.abc import Callable
from dataclasses import dataclass

import pytest

from orrery.errors import Exhausted, Invalid, Unavailable
from orrery.query.run import drive
from tests.query.fakes import FakeMeter


@dataclass(frozen=True)
class Ask:
    number: int


@dataclass(frozen=True)
class Shout:
    text: str


def meter() -> FakeMeter:
    return FakeMeter(samples_max=10, series_max=10, deadline_seconds=None)


def run(program, answer: Callable = lambda ask: ask.number * 2):
    return drive(program, handlers={Ask: answer}, meter=meter())


def test_answers_are_sent_to_the_effects_that_asked():
    def program():
        return [(yield Ask(1)), (yield Ask(5))]

    assert run(program()) == [2, 10]


def test_a_program_without_effects_gives_its_result():
    def program():
        return 7
        yield

    assert run(program()) == 7


def test_an_effect_without_handler_is_named():
    def program():
        yield Shout("hey")

    with pytest.raises(Invalid, match="cannot run query: effect 'Shout' is not answered here"):
        run(program())


def test_an_error_is_raised_at_the_effect_and_may_be_caught_there():
    def refuse(ask: Ask) -> int:
        if ask.number == 1:
            raise Exhausted("too much")
        return ask.number

    def program():
        try:
            yield Ask(1)
        except Exhausted:
            return (yield Ask(3))

    assert run(program(), refuse) == 3


def test_an_error_nobody_catches_leaves_and_closes_the_program():
    closed = []

    def refuse(_: Ask) -> int:
        raise Exhausted("too much")

    def program():
        try:
            yield Ask(1)
        finally:
            closed.append(True)

    with pytest.raises(Exhausted, match="too much"):
        run(program(), refuse)
    assert closed == [True]


def test_a_cancelled_query_stops_before_its_next_effect():
    answered = []
    stopped = meter()

    def answer(ask: Ask) -> None:
        answered.append(ask.number)
        stopped.cancel()

    def program():
        yield Ask(1)
        yield Ask(2)

    with pytest.raises(Unavailable, match="cancelled"):
        drive(program(), handlers={Ask: answer}, meter=stopped)
    assert answered == [1]
