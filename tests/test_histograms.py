"""Native histograms from remote write to PromQL's answers, through log, blocks and a restart."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orrery.app import open_engine
from orrery.app.engine import Engine
from orrery.client.embedded import Embedded
from orrery.kernels.remote_write import decode_remote_write_1, decode_remote_write_2
from orrery.languages.promql.prepare import Preparations
from orrery.languages.promql.result import Result
from orrery.protocols.prometheus.data import result_json
from orrery.query.queries import Asked, Query
from tests.kernels import histograms
from tests.kernels.prometheus_messages import request_1, request_2, with_histograms

SECOND_NS = 1_000_000_000
START_S = 1_700_000_000
WIRES = {1: (request_1, decode_remote_write_1), 2: (request_2, decode_remote_write_2)}

SHOWN = {
    "integer": {
        "count": "12",
        "sum": "18.5",
        "buckets": [
            [1, "-1", "-0.7071067811865476", "4"],
            [3, "-0.001", "0.001", "2"],
            [0, "0.3535533905932738", "0.5", "1"],
            [0, "0.5", "0.7071067811865476", "3"],
            [0, "2", "2.8284271247461903", "2"],
        ],
    },
    "float": {
        "count": "4.5",
        "sum": "-1.25",
        "buckets": [[3, "-0", "0", "0.5"], [0, "1", "4", "1.5"], [0, "4", "16", "2.5"]],
    },
    "custom": {
        "count": "6",
        "sum": "21",
        "buckets": [[3, "-Inf", "1", "1"], [0, "1", "5", "2"], [0, "5", "+Inf", "3"]],
    },
}


def write(
    engine: Engine, sent: list[dict], samples=(), *, version: int = 1, name="latency"
) -> None:
    request, decode = WIRES[version]
    body = with_histograms(request([([("__name__", name)], list(samples))]), version, sent)
    engine.accept.write("t", decode(body)).result()


def answer(engine: Engine, text: str, at_s: float, *, until_s: float = 0, step_s: int = 0):
    """The rows of an answer as JSON, and its notes."""
    prepared = Preparations().of(text, 300 * SECOND_NS)
    start_ns = round(at_s * SECOND_NS)

    def work(query: Query) -> Result:
        program = prepared.answer(
            start_ns=start_ns,
            end_ns=round(until_s * SECOND_NS) if until_s else start_ns,
            step_ns=step_s * SECOND_NS,
            cells_max=query.budget.cells_max,
        )
        return query.drive(program)

    result = engine.queries.run_here(Asked(tenant="t", text=text), work)
    return json.loads(result_json(result)), (*result.warnings, *result.infos)


def row(engine: Engine, text: str, at_s: float):
    rows, notes = answer(engine, text, at_s)
    assert notes == ()
    [one] = rows
    return one


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Engine]]:
    """Opens the engine anew each time, the one before closed."""
    held: list[Engine] = []

    def again() -> Engine:
        for engine in held:
            engine.close()
        held[:] = [open_engine(tmp_path)]
        return held[0]

    yield again
    for engine in held:
        engine.close()


@pytest.mark.parametrize("version", WIRES)
@pytest.mark.parametrize("form", histograms.ALL)
def test_a_histogram_comes_back_as_it_was_sent(opened, version: int, form: str) -> None:
    engine = opened()
    write(engine, [histograms.at(histograms.ALL[form], START_S * 1000)], version=version)
    metric = {"__name__": "latency"}
    expected = {"metric": metric, "histogram": [START_S, SHOWN[form]]}
    assert row(engine, "latency", START_S) == expected
    expected = {"metric": metric, "histograms": [[START_S, SHOWN[form]]]}
    assert row(engine, "latency[1m]", START_S) == expected
    steps = answer(engine, "latency", START_S, until_s=START_S + 60, step_s=60)[0]
    points = [[START_S, SHOWN[form]], [START_S + 60, SHOWN[form]]]
    assert steps == [{"metric": metric, "histograms": points}]


def test_it_survives_flush_compaction_and_restart(opened) -> None:
    engine = opened()
    for step in range(3):
        at_ms = (START_S + 15 * step) * 1000
        write(engine, [histograms.at(histograms.INTEGER, at_ms)], version=1)
        write(engine, [histograms.at(histograms.CUSTOM, at_ms)], name="custom")
        engine.store.flush()
    write(engine, [histograms.at(histograms.FLOAT, (START_S + 45) * 1000)])
    seen = [answer(engine, text, START_S + 45) for text in ("latency[1m]", "custom[1m]")]
    assert [len(rows[0]["histograms"]) for rows, _ in seen] == [4, 3]
    engine.store.compact()
    assert [answer(engine, text, START_S + 45) for text in ("latency[1m]", "custom[1m]")] == seen
    engine = opened()
    assert [answer(engine, text, START_S + 45) for text in ("latency[1m]", "custom[1m]")] == seen


def test_floats_and_histograms_in_one_series(opened) -> None:
    engine = opened()
    sent = [histograms.at(histograms.INTEGER, (START_S + at) * 1000) for at in (10, 20)]
    write(engine, sent, samples=[(START_S * 1000, 1.0), ((START_S + 30) * 1000, 5.0)])
    assert row(engine, "count_over_time(latency[1m])", START_S + 30)["value"][1] == "4"
    assert row(engine, "latency", START_S + 5)["value"][1] == "1"
    assert row(engine, "latency", START_S + 20)["histogram"][1] == SHOWN["integer"]
    assert row(engine, "latency", START_S + 30)["value"][1] == "5"
    rows, notes = answer(engine, "rate(latency[1m])", START_S + 30)
    assert rows == []
    assert notes == ('PromQL warning: encountered a mix of histograms and floats for metric name '
                     '"latency" (1:6)',)  # fmt: skip
    [both] = answer(engine, "latency[1m]", START_S + 30)[0]
    assert [at for at, _ in both["values"]] == [START_S, START_S + 30]
    assert [at for at, _ in both["histograms"]] == [START_S + 10, START_S + 20]


def test_a_staleness_marker_ends_a_histogram(opened) -> None:
    engine = opened()
    write(engine, [histograms.at(histograms.INTEGER, START_S * 1000)])
    request = with_histograms(request_1([([("__name__", "latency")], [])]), 1, [
        histograms.at({"sum": 3.0}, (START_S + 15) * 1000)
    ])  # fmt: skip
    marker = bytes.fromhex("020000000000f07f")
    three = bytes.fromhex("0000000000000840")
    engine.accept.write("t", decode_remote_write_1(request.replace(three, marker))).result()
    assert answer(engine, "latency", START_S + 20) == ([], ())
    assert len(row(engine, "latency[1m]", START_S + 20)["histograms"]) == 1


def test_the_python_client_leaves_them_out_and_says_so(opened) -> None:
    engine = opened()
    write(engine, [histograms.at(histograms.INTEGER, START_S * 1000)])
    write(engine, [], samples=[(START_S * 1000, 2.0)], name="plain")
    client = Embedded(engine, tenant="t")
    told = ('1 series hold native histograms, which are left out: {__name__="latency"}',)
    for text in ('{__name__=~"latency|plain"}', '{__name__=~"latency|plain"}[1m]'):
        result = client.query(text, time_ns=START_S * SECOND_NS)
        assert [dict(labels)["__name__"] for labels, _, _ in result] == ["plain"]
        assert result.values.tolist() == [2.0]
        assert result.warnings == told
