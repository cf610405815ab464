"""The ``data`` of a query's answer, as JSON; the columns are written by the core."""

import numpy as np

from orrery.kernels.answer import (
    NOTHING_HELD,
    Held,
    matrix_json,
    samples_json,
    scalar_json,
    vector_json,
)
from orrery.kernels.histogram import histogram_json
from orrery.languages.promql.histogram import Histogram
from orrery.languages.promql.histogram_windows import of_mixed
from orrery.languages.promql.result import Result
from orrery.languages.promql.values import Bools, are_held
from orrery.model.effects import SampleFrames
from orrery.protocols.prometheus.render import dump

MILLISECOND_NS = 1_000_000


def result_data(result: Result, statistics: bytes | None) -> bytes:
    parts = [b'{"resultType":"', result.kind.encode(), b'","result":', result_json(result)]
    if statistics is not None:
        parts += [b',"stats":', statistics]
    return b"".join((*parts, b"}"))


def result_json(result: Result) -> bytes:
    if result.samples is not None:
        samples = result.samples
        return samples_json(
            samples.labels,
            samples.offsets,
            samples.times_ns,
            samples.values,
            held_in_samples(samples),
        )
    start_ms, step_ms = steps_ms(result)
    held, is_float = held_in_table(result)
    if result.kind == "matrix":
        return matrix_json(result.labels, start_ms, step_ms, result.values, is_float, held)
    if result.kind == "vector":
        return vector_json(result.labels, start_ms, result.values[:, 0], is_float[:, 0], held)
    if result.kind == "scalar":
        return scalar_json(start_ms, float(result.values[0, 0]))
    time = dump(start_ms // 1000 if start_ms % 1000 == 0 else start_ms / 1000)
    return b"".join((b"[", time, b",", dump(result.text), b"]"))


def held_in_table(result: Result) -> tuple[Held, Bools]:
    """The histograms of a table, and the cells that are floats."""
    if result.histograms is None:
        return NOTHING_HELD, result.present
    is_histogram = result.present & are_held(result.histograms)
    rows, steps = (at.tolist() for at in np.nonzero(is_histogram))
    times_ms = [int(result.times_ns[step]) // MILLISECOND_NS for step in steps]
    objects = [histogram_object(one) for one in result.histograms[is_histogram].tolist()]
    return (rows, times_ms, objects), result.present & ~is_histogram


def held_in_samples(samples: SampleFrames) -> Held:
    rows: list[int] = []
    times_ms: list[int] = []
    objects: list[bytes] = []
    for row, mixed in sorted(samples.mixed.items()):
        live = of_mixed(mixed).without_stale()
        for at, time_ns in enumerate(live.times_ns.tolist()):
            histogram = live.histogram(at)
            if histogram is not None:
                rows.append(row)
                times_ms.append(time_ns // MILLISECOND_NS)
                objects.append(histogram_object(histogram))
    return rows, times_ms, objects


def histogram_object(histogram: Histogram) -> bytes:
    shown = histogram.shown()
    columns = (shown.rules.tolist(), shown.lower.tolist(), shown.upper.tolist())
    buckets = list(zip(*columns, shown.counts.tolist(), strict=True))
    return histogram_json(histogram.count, histogram.sum, buckets)


def steps_ms(result: Result) -> tuple[int, int]:
    """Where a table of steps starts and how far they lie apart."""
    times_ns = result.times_ns
    step_ns = int(times_ns[1] - times_ns[0]) if len(times_ns) > 1 else MILLISECOND_NS
    start_ns = int(times_ns[0]) if len(times_ns) else 0
    return start_ns // MILLISECOND_NS, step_ns // MILLISECOND_NS
