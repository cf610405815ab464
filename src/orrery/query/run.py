"""Drives a language: the only loop in which a query's effects are answered.

Called on a worker thread by ``query.queries``. A language is a generator; it yields effects and
is sent answers. An error met while answering is raised inside it, at the effect that asked.
"""

from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

from orrery.errors import Invalid, OrreryError
from orrery.query.contract import Meter

T = TypeVar("T")
Handlers = Mapping[type, Callable[[Any], object]]


def drive(program: Generator[Any, Any, T], *, handlers: Handlers, meter: Meter) -> T:
    """Runs ``program`` to its end and gives what it returns.

    ``meter`` is asked before every effect, so a cancelled query stops between two of them even
    where no kernel runs.
    """
    try:
        effect = next(program)
        while True:
            try:
                meter.check()
                answer = handler_of(effect, handlers)(effect)
            except OrreryError as error:
                effect = program.throw(error)
            else:
                effect = program.send(answer)
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        program.close()


def handler_of(effect: object, handlers: Handlers) -> Callable[[Any], object]:
    handler = handlers.get(type(effect))
    if handler is None:
        name = type(effect).__name__
        raise Invalid(f"cannot run query: effect {name!r} is not answered here")
    return handler
