"""Selectors to series: the part that ``/find``, ``/fetch`` and ``/delete`` share. Runs on a query's
thread."""

from collections.abc import Mapping, Sequence
from typing import cast

from orrery.errors import Invalid
from orrery.kernels.gts_output import GtsSeries
from orrery.kernels.series import parse_series
from orrery.kernels.snapshot import Selection
from orrery.model.selector import FIELD
from orrery.protocols.warp10.parts import Pairs
from orrery.protocols.warp10.selectors import ClassMatcher, GtsSelector
from orrery.query.queries import Query

ANNOTATED_AT_ONCE = 4096

Chosen = tuple[Selection, ClassMatcher | None]


def select(
    query: Query, selectors: Sequence[GtsSelector], min_ns: int, max_ns: int
) -> list[Chosen]:
    """Selections that are not empty."""
    found: list[Chosen] = []
    for selector in selectors:
        for choice, class_matcher in selector.choices():
            selection = cast(Selection, query.reader.select(choice, min_ns, max_ns))
            if len(selection):
                found.append((selection, class_matcher))
    return found


def listed(
    query: Query,
    selectors: Sequence[GtsSelector],
    min_ns: int,
    max_ns: int,
    *,
    book: Mapping[bytes, Pairs],
) -> GtsSeries:
    """Each selected series once. ``Invalid`` where two of them look the same, or where a selector
    asks for an attribute."""
    check_labels(selectors, book)
    series = GtsSeries()
    chosen = select(query, selectors, min_ns, max_ns)
    for selection, class_matcher in chosen:
        query.budget.meter.check()
        series.add(selection, class_matcher)
    if len(chosen) > 1:
        if len(selectors) > 1:
            series.deduplicate()
        check_distinct(series)
    return series


def check_labels(selectors: Sequence[GtsSelector], book: Mapping[bytes, Pairs]) -> None:
    """Warp 10 looks for a name among the attributes where no label has it."""
    asked = {matcher.label for selector in selectors for matcher in selector.labels}
    if not asked or not book:
        return
    names = {name for pairs in book.values() for name, _ in pairs}
    for name in sorted(asked & names):
        raise Invalid(f"cannot select by attribute {name!r}: selectors look at labels alone")


def check_distinct(series: GtsSeries) -> None:
    collision = series.collision()
    if collision is None:
        return
    (one_name, one_field, labels), (name, field, _) = map(parse_series, collision)
    shown = ",".join(f"{key}={value}" for key, value in labels)
    raise Invalid(
        f"cannot tell two series apart: {one_name!r} with field {one_field!r} and {name!r} with "
        f"field {field!r} and labels {{{shown}}} have one class here; add the label selector "
        f"{FIELD}={one_field}"
    )


def annotate(query: Query, series: GtsSeries, book: Mapping[bytes, Pairs]) -> None:
    if not book:
        return
    for first in range(0, len(series), ANNOTATED_AT_ONCE):
        query.budget.meter.check()
        series.annotate(dict(book), first, ANNOTATED_AT_ONCE)
