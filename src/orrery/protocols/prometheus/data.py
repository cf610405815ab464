"""The ``data`` of a query's answer, as JSON; the columns are written by the core."""

from orrery.kernels.answer import matrix_json, samples_json, vector_json
from orrery.languages.promql.evaluate import Result
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
    time = dump(start_ms / 1000)
    if result.kind == "string":
        return b"[" + time + b"," + dump(result.text) + b"]"
    return scalar_json(start_ms, float(result.values[0, 0]))
