"""Functions that order an instant vector; over a range they leave the order alone."""

import re

import numpy as np

from orrery.languages.promql.functions.registry import STRING, VECTOR, Arguments, whole
from orrery.languages.promql.values import Vector

_RUN = re.compile(r"\d+|\D")


@whole("sort", VECTOR)
def sort(arguments: Arguments) -> Vector:
    return by_value(arguments, descending=False)


@whole("sort_desc", VECTOR)
def sort_desc(arguments: Arguments) -> Vector:
    return by_value(arguments, descending=True)


@whole("sort_by_label", VECTOR, STRING, repeats=True)
def sort_by_label(arguments: Arguments) -> Vector:
    return by_labels(arguments, descending=False)


@whole("sort_by_label_desc", VECTOR, STRING, repeats=True)
def sort_by_label_desc(arguments: Arguments) -> Vector:
    return by_labels(arguments, descending=True)


def is_ordered(arguments: Arguments) -> bool:
    """Whether there is one step to order by; a range query is told that there is not."""
    if arguments.query.steps.step_ns:
        message = "sort is ineffective for range queries since results are always ordered by labels"
        arguments.notes.warn(message, arguments.node.start)
    return arguments.steps.count == 1


def by_value(arguments: Arguments, *, descending: bool) -> Vector:
    """Rows by their value, NaN last whichever way; histograms are left out."""
    vector = arguments.vector(0).only_floats().without_empty_rows()
    if not is_ordered(arguments):
        return vector
    values = vector.values[:, 0]
    ranked = -values if descending else values
    return vector.rows(np.lexsort((ranked, np.isnan(values))))


def by_labels(arguments: Arguments, *, descending: bool) -> Vector:
    vector = arguments.vector(0)
    if not is_ordered(arguments):
        return vector
    names = [arguments.string(index) for index in range(1, len(arguments.values))]

    def key(row: int) -> tuple[object, ...]:
        labels = dict(vector.labels[row])
        return (*(natural(labels.get(name, "")) for name in names), vector.labels[row])

    order = sorted(range(len(vector.labels)), key=key, reverse=descending)
    return vector.rows(np.array(order, dtype=np.int64))


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A key under which "node2" comes before "node10", and "+Inf" before both."""
    return tuple(
        (1, int(run), run) if run.isdecimal() else (0 if run < "0" else 2, 0, run)
        for run in _RUN.findall(text)
    )
