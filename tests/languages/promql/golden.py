"""Reads the plain-text tests of ``tests/golden/promql``.

    every 10s                              what is stored: a value each 10 s from 0, - for none
        requests_total{job="a"}  0 10 - 30

    ask rate(requests_total[30s]) at 30s   or: from 0s to 1m step 10s
        {job="a"}  1
        warns quantile value               a part of a warning; informs is the same for infos

Other lines under ``ask``: ``is 5`` (a scalar), ``says text`` (a string), ``fails cause`` (a part
of the error), ``in order`` (the order of the lines counts), ``nothing``. ``forget`` empties the
store. ``#`` starts a comment.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from orrery.languages.promql.durations import duration_ns
from orrery.languages.promql.parse import parse
from orrery.model.effects import Labels

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "promql"
_ASK = re.compile(r"ask (?P<query>.+?) (?:at (?P<at>\S+)|from (?P<start>\S+) to (?P<end>\S+) "
                  r"step (?P<step>\S+))")  # fmt: skip


@dataclass
class Stored:
    labels: dict[str, str]
    every_ns: int
    values: list[float | str | None]


@dataclass
class Ask:
    query: str
    start_ns: int
    end_ns: int
    step_ns: int
    line: int
    series: list[tuple[Labels, list[float | None]]] = field(default_factory=list)
    scalar: float | None = None
    text: str | None = None
    fails: str | None = None
    in_order: bool = False
    warns: list[str] = field(default_factory=list)
    informs: list[str] = field(default_factory=list)


def read(path: Path) -> list[str | Stored | Ask]:
    steps: list[str | Stored | Ask] = []
    every_ns = 0
    for number, raw in enumerate(path.read_text().splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if not raw.startswith(" "):
            if line == "forget":
                steps.append(line)
            elif line.startswith("every "):
                every_ns = nanoseconds(line.removeprefix("every "))
                current = None
            else:
                current = ask(line, number)
                steps.append(current)
        elif current is None:
            labels, values = series(line)
            steps.append(Stored(dict(labels), every_ns, values))
        else:
            expect(current, line)
    return steps


def nanoseconds(text: str) -> int:
    found = duration_ns(text.removeprefix("-"))
    assert found is not None, text
    return -found if text.startswith("-") else found


def ask(line: str, number: int) -> Ask:
    match = _ASK.fullmatch(line)
    assert match, f"line {number}: {line}"
    if match["at"]:
        time = nanoseconds(match["at"])
        return Ask(match["query"], time, time, 0, number)
    return Ask(
        match["query"],
        nanoseconds(match["start"]),
        nanoseconds(match["end"]),
        nanoseconds(match["step"]),
        number,
    )


def expect(current: Ask, line: str) -> None:
    word, _, rest = line.partition(" ")
    match word:
        case "is":
            current.scalar = float(rest)
        case "says":
            current.text = rest
        case "fails":
            current.fails = rest
        case "warns":
            current.warns.append(rest)
        case "informs":
            current.informs.append(rest)
        case "nothing":
            pass
        case "in":
            current.in_order = True
        case _:
            current.series.append(series(line))


def series(line: str) -> tuple[Labels, list]:
    """``name{label="value"}  1 2 -``; labels and values are set apart by two spaces."""
    head, _, values = line.partition("  ")
    labels: dict[str, str] = {}
    if head != "{}":
        labels = {m.label: m.value for m in parse(head).matchers}
    return tuple(sorted(labels.items())), [value(one) for one in values.split()]


def value(text: str) -> float | str | None:
    if text == "-":
        return None
    return text if text == "stale" else float(text)


def same(left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return left is right
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    return left == right or math.isclose(left, right, rel_tol=1e-9)
