"""The ``data`` of a query's answer, as JSON; the columns are written by the core."""

from orrery.kernels.answer import matrix_json, samples_json, scalar_json, vector_json
from orrery.languages.promql.result import Result
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
        return samples_json(samples.labels, samples.offsets, samples.times_ns, samples.values)
    start_ms, step_ms = steps_ms(result)
    if result.kind == "matrix":
        return matrix_json(result.labels, start_ms, step_ms, result.values, result.present)
    if result.kind == "vector":
        return vector_json(result.labels, start_ms, result.values[:, 0], result.present[:, 0])
    if result.kind == "scalar":
        return scalar_json(start_ms, float(result.values[0, 0]))
    time = dump(start_ms // 1000 if start_ms % 1000 == 0 else start_ms / 1000)
    return b"".join((b"[", time, b",", dump(result.text), b"]"))


def steps_ms(result: Result) -> tuple[int, int]:
    """Where a table of steps starts and how far they lie apart."""
    times_ns = result.times_ns
    step_ns = int(times_ns[1] - times_ns[0]) if len(times_ns) > 1 else MILLISECOND_NS
    start_ns = int(times_ns[0]) if len(times_ns) else 0
    return start_ns // MILLISECOND_NS, step_ns // MILLISECOND_NS
