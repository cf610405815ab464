"""Range queries between the wire and the result cache: what may be kept, and how it is joined."""

from collections.abc import Callable

import numpy as np
from msgspec.structs import replace

from orrery.languages.promql.nodes import Kind
from orrery.languages.promql.prepare import Prepared
from orrery.languages.promql.result import Result
from orrery.protocols.prometheus.question import Question
from orrery.query.cache import Asked, Key, Look, ResultCache, Table
from orrery.query.contract import QueryLimits
from orrery.tenancy.access import Caller

HERE_CELLS_MAX = 20_000
"""A larger answer is printed on a thread."""


def look_up(
    cache: ResultCache, caller: Caller, limits: QueryLimits, prepared: Prepared, asked: Question
) -> Look | None:
    """None where the question is none that may be kept."""
    if not (cache.is_on and asked.step_ns) or asked.is_uncached or asked.wants_statistics:
        return None
    if prepared.reach is None or prepared.kind is not Kind.VECTOR:
        return None
    # Whoever may read less, or was refused before, is not handed what others may read.
    bounds = (limits.series_max, limits.samples_max)
    first, phase_ns = divmod(asked.start_ns, asked.step_ns)
    key = Key(
        caller.tenant,
        (prepared.text, prepared.lookback_ns, caller.forced_matchers, bounds),
        asked.step_ns,
        phase_ns,
    )
    last = (asked.end_ns - phase_ns) // asked.step_ns
    return cache.look(Asked(key, first, last, *prepared.reach))


def is_here(look: Look) -> bool:
    """Whether all of it is held, and printed in a moment."""
    table = look.table
    return table is not None and not look.missing() and table.values.size <= HERE_CELLS_MAX


def answered(
    cache: ResultCache, look: Look, asked: Question, evaluate: Callable[[Question], Result]
) -> Result:
    """What is held, joined with what ``evaluate`` gives for the rest."""
    missing = look.missing()
    if not missing:
        assert look.table is not None
        return result_of(look.table.cut(look.asked.first, look.asked.last), asked)
    if look.table is None:
        found = evaluate(asked)
        if holds(found):
            cache.keep(look, [table_of(found, look.asked.first, look.asked.last)])
        return found
    tables = []
    for first, last in missing:
        start_ns = look.asked.key.phase_ns + first * asked.step_ns
        end_ns = look.asked.key.phase_ns + last * asked.step_ns
        found = evaluate(replace(asked, start_ns=start_ns, end_ns=end_ns))
        if not holds(found):
            # Notes are of the question as a whole.
            return evaluate(asked)
        tables.append(table_of(found, first, last))
    return result_of(cache.keep(look, tables), asked)


def holds(found: Result) -> bool:
    """Whether the cache can hold it: it has numbers alone, and no notes."""
    return not (found.warnings or found.infos) and found.histograms is None


def table_of(found: Result, first: int, last: int) -> Table:
    return Table(first, last, found.labels, found.values, found.present)


def result_of(table: Table, asked: Question) -> Result:
    count = table.last + 1 - table.first
    return Result(
        "matrix",
        table.labels,
        asked.start_ns + asked.step_ns * np.arange(count, dtype=np.int64),
        np.ascontiguousarray(table.values),
        np.ascontiguousarray(table.present),
    )
