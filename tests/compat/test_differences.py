"""Seeded questions asked of a real Prometheus and of Orrery over the same data: no differences.

COMPAT_SEED chooses the data and the questions; SOAK_SECONDS says for how long to ask.
"""

import itertools
import os
import time
from collections.abc import Iterator

import pytest

from tests.reliability import remote_write

from .answers import Connection, difference
from .conftest import Programs
from .questions import Questions, Series, dataset

pytestmark = [pytest.mark.compat, pytest.mark.timeout(0)]

SECONDS = float(os.environ.get("SOAK_SECONDS", "30"))
SEED = int(os.environ.get("COMPAT_SEED", "1"))
DIFFERENCES_MAX = 20
STEPS = 12
FEATURES = "--enable-feature=promql-experimental-functions"


def write(connection: Connection, series: list[Series]) -> None:
    for first in range(0, len(series), 50):
        body = remote_write.body(series[first : first + 50])
        status, answer = connection.post("/api/v1/write", body, remote_write.HEADERS)
        assert status in (200, 204), answer


@pytest.fixture
def both(programs: Programs) -> Iterator[tuple[Connection, Connection]]:
    options = ("--web.enable-remote-write-receiver", FEATURES)
    prometheus = Connection(programs.prometheus("sid", "", *options).port)
    orrery = Connection(programs.orrery().port)
    for connection in (prometheus, orrery):
        write(connection, dataset(SEED))
    yield prometheus, orrery
    prometheus.close()
    orrery.close()


def forms(query: str, at_s: float, step: str) -> Iterator[tuple[str, dict[str, str]]]:
    yield "query", {"query": query, "time": f"{at_s:.3f}"}
    yield (
        "query_range",
        {
            "query": query,
            "start": f"{at_s - STEPS / 2 * float(step):.3f}",
            "end": f"{at_s + STEPS / 2 * float(step):.3f}",
            "step": step,
        },
    )


def test_seeded_questions_have_the_same_answers(both: tuple[Connection, Connection]) -> None:
    prometheus, orrery = both
    questions = Questions(SEED)
    deadline = time.monotonic() + SECONDS
    different: list[str] = []
    for number in itertools.count():
        if time.monotonic() > deadline or len(different) >= DIFFERENCES_MAX:
            break
        query = questions.question()
        at_s = questions.time_ms() / 1000
        step = questions.one_of(["37", "15", "60", "0.5"])
        for path, arguments in forms(query, at_s, step):
            theirs, ours = prometheus.api(path, arguments), orrery.api(path, arguments)
            if found := difference(query, theirs, ours):
                different.append(f"{number} {path} {arguments['query']} at {at_s:.3f}\n    {found}")
    assert number > 20, "too few questions were asked"
    assert not different, "\n".join(different)
