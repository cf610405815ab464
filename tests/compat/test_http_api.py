"""The HTTP API beside a real Prometheus: the same requests, good and bad, over the same data.

``http_api.txt`` holds the requests: under ``exact`` everything is equal, under ``worded`` all but
the words of the error, under ``shaped`` the names and kinds of what is in the answer.
"""

import json
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .answers import Connection
from .conftest import Programs, peer
from .questions import START_MS, dataset
from .test_differences import FEATURES, write

pytestmark = [pytest.mark.compat, pytest.mark.timeout(120)]

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def table() -> dict[str, list[str]]:
    """The requests by how closely their answers are compared."""
    groups: dict[str, list[str]] = {}
    for line in (Path(__file__).parent / "http_api.txt").read_text().splitlines():
        if line.startswith("== "):
            requests = groups.setdefault(line.removeprefix("== "), [])
        elif line and not line.startswith("#"):
            requests.append(line)
    return groups


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Connection, Connection]]:
    programs = Programs(tmp_path_factory.mktemp("http_api"))
    try:
        options = ("--web.enable-remote-write-receiver", FEATURES)
        prometheus = Connection(programs.prometheus("sid", "", *options).port)
        orrery = Connection(programs.orrery().port)
        for connection in (prometheus, orrery):
            write(connection, dataset(1))
        yield prometheus, orrery
        prometheus.close()
        orrery.close()
    finally:
        programs.stop()


def ask(connection: Connection, line: str) -> tuple[int, Any]:
    method, _, rest = line.partition(" ")
    target, _, form = rest.partition(" ") if method == "POST" else (rest, "", "")
    path = "/api/v1/" + urllib.parse.quote(target, safe="/?&=%[]:+-.,")
    headers = FORM if method == "POST" else {}
    status, body = connection.request(method, path, form.encode() or None, headers)
    return status, in_order(json.loads(body))


def in_order(body: Any) -> Any:
    """Series in the order of their labels: Prometheus promises none."""
    data = body.get("data")
    rows = data.get("result") if isinstance(data, dict) else data
    if isinstance(rows, list) and rows and isinstance(rows[0], dict):
        rows.sort(key=lambda row: sorted(row.get("metric", row).items()))
    return body


def without_words(answer: tuple[int, Any]) -> tuple[int, Any]:
    return answer[0], {key: value for key, value in answer[1].items() if key != "error"}


def missing(theirs: Any, ours: Any, place: str = "") -> list[str]:
    """Where our answer lacks what theirs has, or has it of another kind."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return [
            found
            for key in theirs
            for found in (
                missing(theirs[key], ours[key], f"{place}.{key}")
                if key in ours
                else [f"{place}.{key}"]
            )
        ]
    if isinstance(theirs, list) and isinstance(ours, list):
        pairs = zip(theirs[:1], ours[:1], strict=False)
        return [found for one, other in pairs for found in missing(one, other, f"{place}[]")]
    numbers = isinstance(theirs, int | float) and isinstance(ours, int | float)
    return [] if numbers or type(theirs) is type(ours) else [place]


@pytest.mark.parametrize("line", table()["exact"])
def test_answers_are_equal(both: tuple[Connection, Connection], line: str) -> None:
    prometheus, orrery = both
    assert ask(orrery, line) == ask(prometheus, line)


@pytest.mark.parametrize("line", table()["worded"])
def test_answers_are_equal_but_for_words(both: tuple[Connection, Connection], line: str) -> None:
    prometheus, orrery = both
    assert without_words(ask(orrery, line)) == without_words(ask(prometheus, line))


# What a process of Go is, and Orrery is not.
PROCESS = ["CWD", "hostname", "goroutineCount", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GODEBUG"]
FOREIGN = {f".data.{name}" for name in PROCESS}


@pytest.mark.parametrize("line", table()["shaped"])
def test_answers_have_the_same_shape(both: tuple[Connection, Connection], line: str) -> None:
    prometheus, orrery = both
    theirs, ours = ask(prometheus, line), ask(orrery, line)
    assert ours[0] == theirs[0]
    assert set(missing(theirs[1], ours[1])) - FOREIGN == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ("instant", "--time={at}", "URL", "up"),
        ("instant", "--time={at}", "URL", "sum by (job) (rate(requests_total[2m]))"),
        ("instant", "--time={at}", "URL", "up[1m]"),
        ("instant", "--time={at}", "URL", "1 + 1"),
        ("instant", "--time={at}", "URL", "up{"),
        ("range", "--start={start}", "--end={at}", "--step=60s", "URL", "up"),
        ("range", "--start={start}", "--end={at}", "--step=60s", "URL", "sum(load)"),
        ("series", "--match=up", "--start={start}", "--end={at}", "URL"),
        ("series", "--match=up", "--match=load", "--start={start}", "--end={at}", "URL"),
        ("labels", "--start={start}", "--end={at}", "URL", "job"),
        ("labels", "--start={start}", "--end={at}", "URL", "nothing"),
    ],
    ids=" ".join,
)
def test_promtool_prints_the_same(
    both: tuple[Connection, Connection], arguments: tuple[str, ...]
) -> None:
    def printed(connection: Connection) -> tuple[int, list[str], str]:
        start = START_MS // 1000
        given = [part.format(start=start, at=start + 600) if "{at}" in part or "{start}" in part
                 else part for part in arguments]  # fmt: skip
        url = f"http://127.0.0.1:{connection.http.port}"
        command = [url if part == "URL" else part for part in given]
        program = [peer("bookworm", "promtool"), "query", *command]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        return done.returncode, sorted(done.stdout.splitlines()), done.stderr

    prometheus, orrery = both
    assert printed(orrery) == printed(prometheus)
