"""Functions of single values: rounding, clamping, powers, angles; and those that make scalars."""

import numpy as np

from orrery.languages.promql.functions.registry import (
    SCALAR,
    VECTOR,
    Arguments,
    elementwise,
    scalar_vector,
    whole,
)
from orrery.languages.promql.values import Floats, Vector, empty, without_names


@elementwise("abs")
def absolute(values: Floats) -> Floats:
    return np.abs(values)


@elementwise("ceil")
def ceil(values: Floats) -> Floats:
    return np.ceil(values)


@elementwise("floor")
def floor(values: Floats) -> Floats:
    return np.floor(values)


@elementwise("exp")
def exp(values: Floats) -> Floats:
    return np.exp(values)


@elementwise("sqrt")
def sqrt(values: Floats) -> Floats:
    return np.sqrt(values)


@elementwise("ln")
def ln(values: Floats) -> Floats:
    return np.log(values)


@elementwise("log2")
def log2(values: Floats) -> Floats:
    return np.log2(values)


@elementwise("log10")
def log10(values: Floats) -> Floats:
    return np.log10(values)


@elementwise("sgn")
def sgn(values: Floats) -> Floats:
    return np.sign(values)


@elementwise("deg")
def deg(values: Floats) -> Floats:
    return values * 180 / np.pi


@elementwise("rad")
def rad(values: Floats) -> Floats:
    return values * np.pi / 180


@elementwise("sin")
def sin(values: Floats) -> Floats:
    return np.sin(values)


@elementwise("cos")
def cos(values: Floats) -> Floats:
    return np.cos(values)


@elementwise("tan")
def tan(values: Floats) -> Floats:
    return np.tan(values)


@elementwise("asin")
def asin(values: Floats) -> Floats:
    return np.arcsin(values)


@elementwise("acos")
def acos(values: Floats) -> Floats:
    return np.arccos(values)


@elementwise("atan")
def atan(values: Floats) -> Floats:
    return np.arctan(values)


@elementwise("sinh")
def sinh(values: Floats) -> Floats:
    return np.sinh(values)


@elementwise("cosh")
def cosh(values: Floats) -> Floats:
    return np.cosh(values)


@elementwise("tanh")
def tanh(values: Floats) -> Floats:
    return np.tanh(values)


@elementwise("asinh")
def asinh(values: Floats) -> Floats:
    return np.arcsinh(values)


@elementwise("acosh")
def acosh(values: Floats) -> Floats:
    return np.arccosh(values)


@elementwise("atanh")
def atanh(values: Floats) -> Floats:
    return np.arctanh(values)


@elementwise("round", SCALAR, optional_count=1)
def round_half_up(values: Floats, nearest: Floats | float = 1.0) -> Floats:
    # Multiplying by the inverse is what keeps 0.1 from showing its binary tail.
    inverse = 1.0 / np.asarray(nearest)
    return np.floor(values * inverse + 0.5) / inverse


def larger(left: Floats, right: Floats) -> Floats:
    """As Go's ``math.Max``: NaN beside anything but +Inf is NaN."""
    infinite = (left == np.inf) | (right == np.inf)
    return np.where(infinite, np.inf, np.maximum(left, right))


def smaller(left: Floats, right: Floats) -> Floats:
    infinite = (left == -np.inf) | (right == -np.inf)
    return np.where(infinite, -np.inf, np.minimum(left, right))


@elementwise("clamp_min", SCALAR)
def clamp_min(values: Floats, low: Floats) -> Floats:
    return larger(values, low)


@elementwise("clamp_max", SCALAR)
def clamp_max(values: Floats, high: Floats) -> Floats:
    return smaller(values, high)


@whole("clamp", VECTOR, SCALAR, SCALAR)
def clamp(arguments: Arguments) -> Vector:
    """Steps whose bounds are the wrong way round have no result."""
    vector, low, high = arguments.vector(0).only_floats(), arguments.scalar(1), arguments.scalar(2)
    values = larger(low, smaller(high, vector.values))
    present = vector.present & ~(high < low)
    return without_names(Vector(vector.labels, values, present))


@whole("vector", SCALAR)
def vector(arguments: Arguments) -> Vector:
    return scalar_vector(arguments.scalar(0))


@whole("scalar", VECTOR, returns=SCALAR)
def scalar(arguments: Arguments) -> Floats:
    """NaN at every step that has not exactly one sample."""
    source = arguments.vector(0).only_floats()
    if not source.labels:
        return np.full(arguments.steps.count, np.nan)
    total = np.where(source.present, source.values, 0.0).sum(axis=0)
    return np.where(source.present.sum(axis=0) == 1, total, np.nan)


@whole("pi", returns=SCALAR)
def pi(arguments: Arguments) -> Floats:
    return np.full(arguments.steps.count, np.pi)


@whole("min_of", SCALAR, SCALAR, returns=SCALAR)
def min_of(arguments: Arguments) -> Floats:
    return smaller(arguments.scalar(0), arguments.scalar(1))


@whole("max_of", SCALAR, SCALAR, returns=SCALAR)
def max_of(arguments: Arguments) -> Floats:
    return larger(arguments.scalar(0), arguments.scalar(1))


def nothing(arguments: Arguments) -> Vector:
    return empty(arguments.steps)
