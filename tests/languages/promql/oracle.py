"""The kernels PromQL leans on, in plain Python: slow, short, and what the tests compare with."""

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

Samples = Sequence[tuple[int, float]]
STALE_BITS = 0x7FF0000000000002
SECOND_NS = 1_000_000_000


def is_stale(value: float) -> bool:
    return int(np.float64(value).view(np.int64)) == STALE_BITS


def window(
    function: str,
    samples: Samples,
    *,
    step_ns_at: int,
    range_ns: int,
    offset_ns: int,
    parameters: tuple[float, ...],
) -> float | None:
    """What ``function`` makes of the samples in ``(step - offset - range, step - offset]``."""
    end = step_ns_at - offset_ns
    seen = [(time, value) for time, value in samples if end - range_ns < time <= end]
    if function in ("instant", "timestamp"):
        if not seen or is_stale(seen[-1][1]):
            return None
        return seen[-1][1] if function == "instant" else seen[-1][0] / SECOND_NS
    seen = [(time, value) for time, value in seen if not is_stale(value)]
    if not seen:
        return None
    if function in ("rate", "increase", "delta"):
        return extrapolated(function, seen, end - range_ns, end)
    if function == "predict_linear":
        line = regression(seen, step_ns_at + round(parameters[1] * SECOND_NS))
        return None if line is None else line[0] * parameters[0] + line[1]
    if function == "deriv":
        line = regression(seen, seen[0][0])
        return None if line is None else line[0]
    return FUNCTIONS[function](seen, *parameters)


def extrapolated(function: str, seen: Samples, start: int, end: int) -> float | None:
    if len(seen) < 2:
        return None
    counter = function != "delta"
    values = [value for _, value in seen]
    result = values[-1] - values[0]
    if counter:
        result += sum(a for a, b in pairwise(values) if b < a)
    first, last = seen[0][0] / SECOND_NS, seen[-1][0] / SECOND_NS
    to_start, to_end = first - start / SECOND_NS, end / SECOND_NS - last
    sampled = last - first
    average = sampled / (len(seen) - 1)
    threshold = average * 1.1
    if to_start >= threshold:
        to_start = average / 2
    if counter and result > 0 and values[0] >= 0:
        to_start = min(to_start, sampled * (values[0] / result))
    if to_end >= threshold:
        to_end = average / 2
    factor = (sampled + to_start + to_end) / sampled
    if function == "rate":
        factor /= (end - start) / SECOND_NS
    return result * factor


def instant_change(seen: Samples, *, is_rate: bool) -> float | None:
    if len(seen) < 2:
        return None
    (time_before, before), (time_last, last) = seen[-2:]
    if time_last == time_before:
        return None
    change = last if is_rate and last < before else last - before
    return change / ((time_last - time_before) / SECOND_NS) if is_rate else change


def regression(seen: Samples, origin_ns: int) -> tuple[float, float] | None:
    """Slope and intercept at ``origin_ns``."""
    if len(seen) < 2:
        return None
    values = [value for _, value in seen]
    if len(set(values)) == 1:
        return (math.nan, math.nan) if math.isinf(values[0]) else (0.0, values[0])
    xs = [(time - origin_ns) / SECOND_NS for time, _ in seen]
    if any(math.isinf(value) for value in values):
        return math.nan, math.nan
    mean_x, mean_y = math.fsum(xs) / len(xs), math.fsum(values) / len(xs)
    covariance = math.fsum(x * y for x, y in zip(xs, values, strict=True)) - len(xs) * (
        mean_x * mean_y
    )
    variance = math.fsum(x * x for x in xs) - len(xs) * mean_x * mean_x
    slope = covariance / variance
    return slope, mean_y - slope * mean_x


def quantile(values: Sequence[float], level: float) -> float:
    if not values or math.isnan(level):
        return math.nan
    if level < 0 or level > 1:
        return math.copysign(math.inf, level)
    ordered = sorted(values, key=lambda value: (not math.isnan(value), value))
    rank = level * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    weight = rank - low
    return ordered[low] * (1 - weight) + ordered[high] * weight


def smoothing(seen: Samples, factor: float, trend_factor: float) -> float | None:
    if len(seen) < 2:
        return None
    values = [value for _, value in seen]
    level, trend = values[0], values[1] - values[0]
    previous = 0.0
    for index, value in enumerate(values[1:], 1):
        if index > 1:
            trend = trend_factor * (level - previous) + (1 - trend_factor) * trend
        previous, level = level, factor * value + (1 - factor) * (level + trend)
    return level


def extreme(seen: Samples, *, largest: bool) -> tuple[int, float]:
    """The last of equal extremes; NaN only where there is nothing else."""
    best = seen[0]
    for time, value in seen[1:]:
        better = value >= best[1] if largest else value <= best[1]
        if better or math.isnan(best[1]):
            best = (time, value)
    return best


def mean(values: Sequence[float]) -> float:
    total = total_of(values)
    if math.isinf(total) and not any(math.isinf(value) for value in values):
        return math.fsum(value / len(values) for value in values)
    return total / len(values)


def total_of(values: Sequence[float]) -> float:
    """Kahan's sum as Neumaier improved it."""
    total = compensation = 0.0
    for value in values:
        before, total = total, total + value
        if math.isinf(total):
            compensation = 0.0
        elif abs(before) >= abs(value):
            compensation += (before - total) + value
        else:
            compensation += (value - total) + before
    return total if math.isinf(total) else total + compensation


def variance(values: Sequence[float]) -> float:
    if not all(math.isfinite(value) for value in values):
        return math.nan
    return statistics.pvariance(values)


def median_deviation(seen: Samples) -> float:
    values = [value for _, value in seen]
    if any(math.isnan(value) for value in values):
        return math.nan
    middle = quantile(values, 0.5)
    return quantile([abs(value - middle) for value in values], 0.5)


def differs(before: float, after: float) -> bool:
    return before != after and not (math.isnan(before) and math.isnan(after))


FUNCTIONS = {
    "irate": lambda seen: instant_change(seen, is_rate=True),
    "idelta": lambda seen: instant_change(seen, is_rate=False),
    "resets": lambda seen: float(sum(b < a for (_, a), (_, b) in pairwise(seen))),
    "changes": lambda seen: float(sum(differs(a, b) for (_, a), (_, b) in pairwise(seen))),
    "avg_over_time": lambda seen: mean([value for _, value in seen]),
    "min_over_time": lambda seen: extreme(seen, largest=False)[1],
    "max_over_time": lambda seen: extreme(seen, largest=True)[1],
    "ts_of_min_over_time": lambda seen: extreme(seen, largest=False)[0] / SECOND_NS,
    "ts_of_max_over_time": lambda seen: extreme(seen, largest=True)[0] / SECOND_NS,
    "ts_of_first_over_time": lambda seen: seen[0][0] / SECOND_NS,
    "ts_of_last_over_time": lambda seen: seen[-1][0] / SECOND_NS,
    "sum_over_time": lambda seen: total_of([value for _, value in seen]),
    "count_over_time": lambda seen: float(len(seen)),
    "first_over_time": lambda seen: seen[0][1],
    "last_over_time": lambda seen: seen[-1][1],
    "present_over_time": lambda seen: 1.0,
    "stddev_over_time": lambda seen: math.sqrt(variance([value for _, value in seen])),
    "stdvar_over_time": lambda seen: variance([value for _, value in seen]),
    "quantile_over_time": lambda seen, level: quantile([value for _, value in seen], level),
    "mad_over_time": median_deviation,
    "double_exponential_smoothing": smoothing,
}


def window_over_steps(
    function,
    values,
    present,
    *,
    in_start_ns,
    in_step_ns,
    start_ns,
    step_ns,
    step_count,
    range_ns,
    offset_ns,
    parameters=(),
    meter=None,
):
    rows = []
    for row_values, row_present in zip(values, present, strict=True):
        samples = [
            (in_start_ns + index * in_step_ns, float(value))
            for index, value in enumerate(row_values)
            if row_present[index]
        ]
        rows.append(
            windows(
                function, samples, start_ns, step_ns, step_count, range_ns, offset_ns, parameters
            )
        )
    return table(rows, step_count)


def windows(function, samples, start_ns, step_ns, step_count, range_ns, offset_ns, parameters):
    return [
        window(
            function,
            samples,
            step_ns_at=start_ns + step * step_ns,
            range_ns=range_ns,
            offset_ns=offset_ns,
            parameters=tuple(parameters),
        )
        for step in range(step_count)
    ]


def table(rows, step_count):
    shape = (len(rows), step_count)
    values, present = np.zeros(shape), np.zeros(shape, dtype=np.bool_)
    for index, row in enumerate(rows):
        for step, value in enumerate(row):
            if value is not None:
                values[index, step], present[index, step] = value, True
    return values, present


AGGREGATES = {
    "sum": total_of,
    "avg": mean,
    "count": lambda values: float(len(values)),
    "group": lambda values: 1.0,
    "min": lambda values: extreme([(0, value) for value in values], largest=False)[1],
    "max": lambda values: extreme([(0, value) for value in values], largest=True)[1],
    "stdvar": variance,
    "stddev": lambda values: math.sqrt(variance(values)),
}


def aggregate(operation, values, present, group_index, group_count, parameter, *, meter=None):
    step_count = values.shape[1]
    out, there = np.zeros((group_count, step_count)), np.zeros((group_count, step_count), bool)
    for group in range(group_count):
        rows = np.asarray(group_index) == group
        for step in range(step_count):
            found = values[rows, step][present[rows, step]].tolist()
            if not found:
                continue
            there[group, step] = True
            if operation == "quantile":
                out[group, step] = quantile(found, float(parameter[step % len(parameter)]))
            else:
                out[group, step] = AGGREGATES[operation](found)
    return out, there


def pick(operation, values, present, group_index, group_count, k, *, meter=None):
    """Which cells topk, bottomk or limitk keep: of equal values the earlier rows."""
    stays = np.zeros_like(present)
    for group in range(group_count):
        rows = np.nonzero(np.asarray(group_index) == group)[0]
        for step in range(values.shape[1]):
            there = [row for row in rows if present[row, step]]
            if operation != "limitk":
                sign = -1 if operation == "topk" else 1
                there.sort(
                    key=lambda row, sign=sign, step=step: preference(sign * values[row, step])
                )
            count = int(k[step % len(k)])
            stays[there[: max(0, count)], step] = True
    return stays


def preference(value):
    return (math.isnan(value), 0.0 if math.isnan(value) else value)
