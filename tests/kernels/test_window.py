"""Every window function against its definition, in plain Python."""

import math
from fractions import Fraction
from itertools import pairwise
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orrery.errors import Invalid, Unavailable
from orrery.kernels.meter import Meter
from orrery.kernels.window import FUNCTIONS, window_over_steps

SECOND = 1_000_000_000

Samples = list[tuple[int, float]]


def extrapolated(samples: Samples, start: int, end: int, *, counter: bool) -> float | None:
    if len(samples) < 2:
        return None
    (first_time, first), (last_time, last) = samples[0], samples[-1]
    rise = last - first
    if counter:
        rise += sum(a for (_, a), (_, b) in pairs(samples) if b < a)
    sampled = last_time - first_time
    interval = sampled / (len(samples) - 1)
    to_start, to_end = first_time - start, end - last_time
    if to_start >= interval * 1.1:
        to_start = interval / 2
    if counter and rise > 0 and first >= 0:
        to_start = min(to_start, sampled * (first / rise))
    if to_end >= interval * 1.1:
        to_end = interval / 2
    return rise * (sampled + to_start + to_end) / sampled


def pairs(samples):
    return list(pairwise(samples))


def variance(values):
    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    return float(sum((value - mean) ** 2 for value in exact) / len(exact))


def line(samples, origin):
    if len(samples) < 2:
        return None
    xs = [Fraction(time - origin) for time, _ in samples]
    ys = [Fraction(value) for _, value in samples]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum(
        (a - x) ** 2 for a in xs
    )
    return float(slope), float(y - slope * x)


def quantile(q, values):
    ordered = sorted(values)
    rank = q * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] * (1 - (rank - low)) + ordered[high] * (rank - low)


def smooth(values, factor, trend_factor):
    if len(values) < 2:
        return None
    before, level, trend = 0.0, values[0], values[1] - values[0]
    for at, value in enumerate(values[1:]):
        if at:
            trend = trend_factor * (level - before) + (1 - trend_factor) * trend
        before, level = level, factor * value + (1 - factor) * (level + trend)
    return level


def expected(function: str, samples: Samples, start: int, end: int, parameters) -> float | None:
    if not samples:
        return None
    values = [value for _, value in samples]
    times = [time for time, _ in samples]
    last_two = samples[-2:] if len(samples) > 1 else None
    match function:
        case "rate":
            increase = extrapolated(samples, start, end, counter=True)
            return None if increase is None else increase / (end - start)
        case "increase":
            return extrapolated(samples, start, end, counter=True)
        case "delta":
            return extrapolated(samples, start, end, counter=False)
        case "irate" if last_two:
            (before_time, before), (time, value) = last_two
            return (value - before if value >= before else value) / (time - before_time)
        case "idelta" if last_two:
            return last_two[1][1] - last_two[0][1]
        case "deriv" if last_two:
            return line(samples, times[0])[0]
        case "predict_linear" if last_two:
            slope, now = line(samples, end)
            return slope * parameters[0] + now
        case "resets":
            return sum(b < a for (_, a), (_, b) in pairs(samples))
        case "changes":
            return sum(b != a for (_, a), (_, b) in pairs(samples))
        case "double_exponential_smoothing":
            return smooth(values, *parameters)
        case "irate" | "idelta" | "deriv" | "predict_linear":
            return None
    simple = {
        "instant": lambda: values[-1],
        "timestamp": lambda: times[-1],
        "avg_over_time": lambda: float(sum(map(Fraction, values)) / len(values)),
        "min_over_time": lambda: min(values),
        "max_over_time": lambda: max(values),
        "sum_over_time": lambda: math.fsum(values),
        "count_over_time": lambda: len(values),
        "first_over_time": lambda: values[0],
        "last_over_time": lambda: values[-1],
        "present_over_time": lambda: 1,
        "stddev_over_time": lambda: math.sqrt(variance(values)),
        "stdvar_over_time": lambda: variance(values),
        "quantile_over_time": lambda: quantile(parameters[0], values),
        "mad_over_time": lambda: median(abs(value - median(values)) for value in values),
        "ts_of_min_over_time": lambda: max(t for t, v in samples if v == min(values)),
        "ts_of_max_over_time": lambda: max(t for t, v in samples if v == max(values)),
        "ts_of_first_over_time": lambda: times[0],
        "ts_of_last_over_time": lambda: times[-1],
    }
    return simple[function]()


PARAMETERS = {
    "predict_linear": (60.0, 0.0),
    "quantile_over_time": (0.3,),
    "double_exponential_smoothing": (0.4, 0.7),
}


def run(function, values, present, **steps):
    return window_over_steps(
        function,
        np.array(values, dtype=np.float64).reshape(1, -1),
        np.array(present, dtype=np.bool_).reshape(1, -1),
        parameters=PARAMETERS.get(function, ()),
        **steps,
    )


@pytest.mark.parametrize("function", FUNCTIONS)
@settings(max_examples=50)
@given(
    points=st.lists(
        st.none() | st.integers(0, 50).map(float) | st.floats(-1e6, 1e6, width=32), max_size=40
    ),
    start=st.integers(-20, 60),
    step=st.integers(1, 20),
    window=st.integers(1, 40),
    offset=st.integers(-10, 10),
)
def test_a_function_is_what_its_definition_says(function, points, start, step, window, offset):
    values, present = run(
        function,
        [point or 0.0 for point in points],
        [point is not None for point in points],
        in_start_ns=0,
        in_step_ns=SECOND,
        start_ns=start * SECOND,
        step_ns=step * SECOND,
        step_count=6,
        range_ns=window * SECOND,
        offset_ns=offset * SECOND,
    )
    samples = [(time, point) for time, point in enumerate(points) if point is not None]
    for at in range(6):
        end = start + step * at - offset
        seen = [sample for sample in samples if end - window < sample[0] <= end]
        parameters = PARAMETERS.get(function, ())
        if function == "predict_linear":
            # The prediction starts at the step itself, the offset moves only what is seen.
            parameters = (parameters[0] + offset,)
        wanted = expected(function, seen, end - window, end, parameters)
        assert present[0, at] == (wanted is not None)
        if wanted is not None:
            assert values[0, at] == pytest.approx(wanted, rel=1e-9, abs=1e-6)


def test_a_subquery_without_points_answers_nothing():
    values, present = window_over_steps(
        "sum_over_time",
        np.zeros((2, 0)),
        np.zeros((2, 0), dtype=np.bool_),
        in_start_ns=0,
        in_step_ns=1,
        start_ns=0,
        step_ns=1,
        step_count=3,
        range_ns=1,
    )
    assert values.shape == present.shape == (2, 3)
    assert not present.any()


STEPS = {
    "in_start_ns": 0,
    "in_step_ns": 1,
    "start_ns": 0,
    "step_ns": 1,
    "step_count": 3,
    "range_ns": 1,
}


@pytest.mark.parametrize(
    ("function", "change", "cause"),
    [
        ("nonsense", {}, "unknown"),
        ("rate", {"parameters": (1.0,)}, "1 parameters"),
        ("rate", {"step_ns": 0}, "not positive"),
        ("rate", {"in_step_ns": -1}, "not positive"),
        ("rate", {"range_ns": 0}, "not positive"),
        ("rate", {"start_ns": 2**63 - 1}, "64 bits"),
        ("rate", {"step_count": 2**40}, "more than"),
        ("double_exponential_smoothing", {"parameters": (0.0, 0.5)}, "between 0 and 1"),
    ],
)
def test_what_cannot_be_is_refused(function, change, cause):
    with pytest.raises(Invalid, match=cause):
        window_over_steps(
            function, np.zeros((1, 2)), np.ones((1, 2), dtype=np.bool_), **{**STEPS, **change}
        )


def test_values_and_marks_have_one_shape():
    with pytest.raises(Invalid, match="3 marks"):
        window_over_steps("rate", np.zeros((1, 2)), np.ones((1, 3), dtype=np.bool_), **STEPS)


def test_a_cancelled_query_stops():
    meter = Meter(samples_max=0, series_max=0)
    meter.cancel()
    with pytest.raises(Unavailable):
        window_over_steps(
            "rate", np.zeros((1, 2)), np.ones((1, 2), dtype=np.bool_), meter=meter, **STEPS
        )
