"""How a PromQL function is declared and found.

Three decorators for three shapes: :func:`elementwise` maps values to values, :func:`over_range`
names the window kernel that reads a range vector, :func:`whole` sees complete arguments.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TypeVar

import numpy as np

from orrery.languages.promql.nodes import Call, Kind
from orrery.languages.promql.tokens import go_quote, is_utf8
from orrery.languages.promql.values import Floats, Notes, Steps, Value, Vector, fail

T = TypeVar("T", bound=Callable[..., object])
VECTOR, RANGE, SCALAR, STRING = Kind.VECTOR, Kind.RANGE, Kind.SCALAR, Kind.STRING


@dataclass(frozen=True, slots=True)
class Signature:
    """``optional_count`` of the last parameters may be left out; with ``repeats`` the last one
    may occur any number of times, also none."""

    parameters: tuple[Kind, ...]
    returns: Kind
    optional_count: int = 0
    repeats: bool = False

    @property
    def count_min(self) -> int:
        return len(self.parameters) - self.optional_count - self.repeats

    @property
    def count_max(self) -> int | None:
        return None if self.repeats else len(self.parameters)

    def kinds(self, count: int) -> tuple[Kind, ...]:
        extra = max(0, count - len(self.parameters))
        return (self.parameters + self.parameters[-1:] * extra)[:count]


@dataclass(frozen=True, slots=True)
class Query:
    """What a function may know of the query it runs in; ``text`` places the notes."""

    steps: Steps
    end_ns: int
    lookback_ns: int
    subquery_step_ns: int
    cells_max: int


@dataclass(frozen=True, slots=True)
class Arguments:
    """A call with everything below it evaluated, over the steps of the call."""

    node: Call
    values: tuple[Value, ...]
    steps: Steps
    query: Query
    notes: Notes

    def vector(self, index: int) -> Vector:
        value = self.values[index]
        assert isinstance(value, Vector)
        return value

    def scalar(self, index: int) -> Floats:
        value = self.values[index]
        assert isinstance(value, np.ndarray)
        return value

    def string(self, index: int) -> str:
        value = self.values[index]
        assert isinstance(value, str)
        return value

    def text(self, index: int) -> str:
        """A string that leaves the query, so it must be UTF-8."""
        value = self.string(index)
        if not is_utf8(value):
            fail(f"string {go_quote(value)} is not valid UTF-8")
        return value

    def warn(self, message: str, index: int) -> None:
        self.notes.warn(message, self.node.arguments[index].start)

    def inform(self, message: str, index: int) -> None:
        self.notes.inform(message, self.node.arguments[index].start)


@dataclass(frozen=True, slots=True)
class Elementwise:
    """``run(values, *scalars)``; the metric name is dropped."""

    signature: Signature
    run: Callable[..., Floats]


@dataclass(frozen=True, slots=True)
class OverRange:
    """``check(arguments, *scalars)`` refuses or notes bad parameters, with ``checks_late`` only
    those of steps that have samples; ``finish`` makes the answer of what the kernel gave."""

    signature: Signature
    kernel: str
    keeps_name: bool = False
    is_for_counters: bool = False
    check: Callable[..., None] | None = None
    finish: Callable[[Arguments, Vector], Vector] | None = None
    checks_late: bool = False

    @property
    def range_index(self) -> int:
        return self.signature.parameters.index(RANGE)


@dataclass(frozen=True, slots=True)
class Whole:
    signature: Signature
    run: Callable[[Arguments], Value]


Function = Elementwise | OverRange | Whole

_DECLARED = "promql_functions"
_MODULES = ("arithmetic", "histograms", "labels", "native", "ordering", "ranges", "times")

FUNCTIONS_UNSUPPORTED: Mapping[str, str] = {
    "info": "it is experimental",
}


def declare(run: T, name: str, function: Function) -> T:
    """Marks a def as the function ``name``; :func:`functions` collects the marks."""
    marks = getattr(run, _DECLARED, ())
    setattr(run, _DECLARED, (*marks, (name, function)))
    return run


def elementwise(
    name: str, *scalars: Kind, optional_count: int = 0
) -> Callable[[Callable[..., Floats]], Callable[..., Floats]]:
    signature = Signature((VECTOR, *scalars), VECTOR, optional_count)
    return lambda run: declare(run, name, Elementwise(signature, run))


def over_range(
    name: str,
    *parameters: Kind,
    kernel: str | None = None,
    keeps_name: bool = False,
    is_for_counters: bool = False,
    finish: Callable[[Arguments, Vector], Vector] | None = None,
    checks_late: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    signature = Signature(parameters or (RANGE,), VECTOR)

    def mark(check: Callable[..., None]) -> Callable[..., None]:
        function = OverRange(
            signature, kernel or name, keeps_name, is_for_counters, check, finish, checks_late
        )
        return declare(check, name, function)

    return mark


def whole(
    name: str,
    *parameters: Kind,
    returns: Kind = VECTOR,
    optional_count: int = 0,
    repeats: bool = False,
) -> Callable[[Callable[[Arguments], Value]], Callable[[Arguments], Value]]:
    signature = Signature(parameters, returns, optional_count, repeats)
    return lambda run: declare(run, name, Whole(signature, run))


@cache
def functions() -> Mapping[str, Function]:
    """Every function by name; the modules are imported the first time one is looked up."""
    found: dict[str, Function] = {}
    for module in _MODULES:
        for item in vars(import_module(f"{__package__}.{module}")).values():
            found.update(getattr(item, _DECLARED, ()))
    return found


def signature(name: str) -> Signature | None:
    function = functions().get(name)
    return None if function is None else function.signature


def scalar_vector(values: Floats) -> Vector:
    """One unlabelled series that is present at every step."""
    table = values.reshape(1, -1)
    return Vector([()], table, np.ones(table.shape, dtype=np.bool_))
