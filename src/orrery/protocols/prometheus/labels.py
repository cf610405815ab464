"""``/series``, ``/labels`` and ``/label/{name}/values``: what is stored, by matchers and time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from orrery.errors import Invalid
from orrery.languages.promql.parse import parse_selector
from orrery.model.effects import Find, Values
from orrery.model.selector import Selector
from orrery.protocols.prometheus.arguments import (
    TIME_MAX_NS,
    TIME_MIN_NS,
    Arguments,
    bad_argument,
    parse_limit,
    quote,
    unescape_label,
)
from orrery.protocols.prometheus.parts import Parts
from orrery.protocols.prometheus.render import TRUNCATED, success
from orrery.query.queries import Query
from orrery.server.http import Request, Response

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the store a label call looks at."""

    selectors: tuple[Selector, ...]
    start_ns: int
    end_ns: int
    limit: int
    text: str


def read_scope(arguments: Arguments, read: Callable[[str], Selector]) -> Scope:
    limit = arguments.read_or("limit", parse_limit, 0)
    start_ns = arguments.time_or("start", TIME_MIN_NS)
    end_ns = arguments.time_or("end", TIME_MAX_NS)
    texts = arguments.texts("match[]")
    selectors = tuple(read(text) for text in texts)
    return Scope(selectors, start_ns, end_ns, limit, " ".join(texts))


def bare_selector(text: str) -> Selector:
    return Selector(parse_selector(text))


def read_selector(text: str) -> Selector:
    """Told under the argument's name, as Prometheus does for ``/series`` alone."""
    try:
        return bare_selector(text)
    except Invalid as error:
        raise bad_argument("match[]", error) from error


async def series(parts: Parts, request: Request) -> Response:
    arguments = Arguments(request)
    if not arguments.texts("match[]"):
        raise Invalid("no match[] parameter provided")
    scope = read_scope(arguments, read_selector)

    def work(query: Query) -> Response:
        series_max = scope.limit + 1 if scope.limit else None
        found = query.reader.find(Find(scope.selectors, scope.start_ns, scope.end_ns, series_max))
        kept, warnings = cut([dict(labels) for labels in found], scope.limit)
        return success(kept, warnings=warnings)

    return await parts.run(request, work, text=f"series {scope.text}")


async def names(parts: Parts, request: Request) -> Response:
    return await listed(parts, request, None, "label names")


async def values(parts: Parts, request: Request) -> Response:
    label = unescape_label(request.parameters["name"])
    if not label:
        raise Invalid(f"invalid label name: {quote(label)}")
    return await listed(parts, request, label, f"label values {label}")


async def listed(parts: Parts, request: Request, label: str | None, text: str) -> Response:
    scope = read_scope(Arguments(request), bare_selector)

    def work(query: Query) -> Response:
        effect = Values(label, scope.selectors, scope.start_ns, scope.end_ns)
        kept, warnings = cut(list(query.reader.values(effect)), scope.limit)
        return success(kept, warnings=warnings)

    return await parts.run(request, work, text=f"{text} {scope.text}")


def cut(found: list[T], limit: int) -> tuple[list[T], tuple[str, ...]]:
    """At most ``limit`` of what was found, and the warning that says so."""
    if not limit or len(found) <= limit:
        return found, ()
    return found[:limit], (TRUNCATED,)
