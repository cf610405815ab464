"""Functions that read native histograms; those that read classic ones as well call
:func:`with_natives` for what is native in their vector."""

import math
from collections.abc import Callable

import numpy as np

from orrery.languages.promql import histogram_notes
from orrery.languages.promql.functions.registry import VECTOR, Arguments, whole
from orrery.languages.promql.histogram import Histogram
from orrery.languages.promql.histogram_quantile import variance
from orrery.languages.promql.values import (
    Vector,
    concatenate,
    drop_name,
    merge_duplicates,
    without_names,
)
from orrery.model.effects import Labels
from orrery.model.selector import PROMQL_NAME

Read = Callable[[Histogram, int, str], float]
"""Takes a histogram, the number of the step, and the name of its metric."""


@whole("histogram_count", VECTOR)
def histogram_count(arguments: Arguments) -> Vector:
    return of_each(arguments, lambda one: one.count)


@whole("histogram_sum", VECTOR)
def histogram_sum(arguments: Arguments) -> Vector:
    return of_each(arguments, lambda one: one.sum)


@whole("histogram_avg", VECTOR)
def histogram_avg(arguments: Arguments) -> Vector:
    return of_each(arguments, lambda one: float(np.float64(one.sum) / one.count))


@whole("histogram_stdvar", VECTOR)
def histogram_stdvar(arguments: Arguments) -> Vector:
    return of_each(arguments, variance)


@whole("histogram_stddev", VECTOR)
def histogram_stddev(arguments: Arguments) -> Vector:
    return of_each(arguments, lambda one: math.sqrt(variance(one)))


def of_each(arguments: Arguments, read: Callable[[Histogram], float]) -> Vector:
    """Floats are left out."""
    return without_names(read_natives(arguments.vector(0), lambda one, _step, _name: read(one)))


def read_natives(vector: Vector, read: Read) -> Vector:
    """``read`` of every histogram, by its row and step."""
    present = vector.is_histogram()
    values = np.zeros(present.shape)
    if vector.histograms is not None:
        for row, step in zip(*(at.tolist() for at in np.nonzero(present)), strict=True):
            name = dict(vector.labels[row]).get(PROMQL_NAME, "")
            values[row, step] = read(vector.histograms[row, step], step, name)
    return Vector(vector.labels, values, present).without_empty_rows()


def with_natives(
    arguments: Arguments, index: int, read: Read, classic: Vector, bound_label: str
) -> Vector:
    """``classic`` is the answer for the classic histograms of the vector at ``index``; where both
    forms of one histogram are there, nothing is told."""
    vector = arguments.vector(index)
    if vector.histograms is None:
        return classic
    native = read_natives(vector, read)
    rows = {labels: row for row, labels in enumerate(classic.labels)}
    classic_present, native_present = classic.present.copy(), native.present.copy()
    for row, labels in enumerate(native.labels):
        found = rows.get(drop_name(without_bound(labels, bound_label)))
        if found is None:
            continue
        both = classic_present[found] & native_present[row]
        if both.any():
            name = dict(labels).get(PROMQL_NAME, "")
            arguments.warn(histogram_notes.mixed_with_classic(name), index)
            classic_present[found] &= ~both
            native_present[row] &= ~both
    native = without_names(native.masked(native_present))
    parts = [classic.masked(classic_present), native]
    return merge_duplicates(concatenate(parts, arguments.steps).without_empty_rows())


def without_bound(labels: Labels, bound_label: str) -> Labels:
    return tuple(pair for pair in labels if pair[0] != bound_label)
