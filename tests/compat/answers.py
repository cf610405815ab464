"""Two servers' answers to one request of Prometheus' HTTP API, and what is different in them."""

import http.client
import json
import math
import re
import urllib.parse
from typing import Any

RELATIVE_TOLERANCE = 1e-9
SPREAD_TOLERANCE = 1e-6
"""Of deviations: what is left of large numbers depends on the order in which series are added."""
ABSOLUTE_TOLERANCE = 1e-12
NEWER_NOTES = re.compile("sort is ineffective for range queries")
NEWER_ERROR = "many-to-one matching must be explicit"
"""What Orrery says with later releases of Prometheus than the one that is compared with."""


class Connection:
    """A kept connection to a server of the API."""

    def __init__(self, port: int) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        self.http.request(method, path, body, headers or {})
        answer = self.http.getresponse()
        return answer.status, answer.read()

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        return self.request("POST", path, body, headers)

    def api(self, path: str, arguments: dict[str, str]) -> Any:
        form = urllib.parse.urlencode(arguments).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return json.loads(self.post(f"/api/v1/{path}", form, headers)[1])

    def close(self) -> None:
        self.http.close()


def difference(query: str, theirs: Any, ours: Any) -> str | None:
    """What tells two answers of a query apart; None where nothing does."""
    if NEWER_ERROR in ours.get("error", "") and theirs["status"] == "success":
        return None
    if theirs["status"] != ours["status"] or theirs.get("errorType") != ours.get("errorType"):
        return f"{summary(theirs)}\n    {summary(ours)}"
    if theirs["status"] != "success":
        return None
    for kind in ("warnings", "infos"):
        told = [note for note in ours.get(kind, []) if not NEWER_NOTES.search(note)]
        asked = theirs.get(kind, [])
        if "@" not in query and {stated(note) for note in asked} != {stated(note) for note in told}:
            return f"{kind}: {asked} / {told}"
    left, right = theirs["data"], ours["data"]
    if left["resultType"] != right["resultType"]:
        return f"{left['resultType']} / {right['resultType']}"
    if left["resultType"] in ("scalar", "string"):
        same = left["result"][0] == right["result"][0] and same_value(
            left["result"][1], right["result"][1]
        )
        return None if same else f"{left['result']} / {right['result']}"
    if query.startswith("sort") and left["resultType"] == "vector":
        values = [[row["value"][1] for row in side["result"]] for side in (left, right)]
        if not all(map(same_value, *values)):
            return f"order: {values[0]} / {values[1]}"
    sides = rows_of(left["result"]), rows_of(right["result"])
    if query.startswith(("topk", "bottomk")):
        return different_choice(*sides)
    tolerance = SPREAD_TOLERANCE if "std" in query else RELATIVE_TOLERANCE
    return different_rows(*sides, tolerance)


def stated(note: str) -> str:
    """A note without what differs between releases of Prometheus, and for counters without its
    place, which Prometheus loses where a subquery is asked."""
    note = note.replace(' for metric name ""', "")
    return re.sub(r" \(\d+:\d+\)$", "", note) if "might not be a counter" in note else note


def summary(answer: Any) -> str:
    if answer["status"] == "success":
        return f"success: {str(answer['data'])[:300]}"
    return f"{answer['errorType']}: {answer['error'][:300]}"


Rows = dict[tuple[tuple[str, str], ...], list[tuple[float, str]]]


def rows_of(result: list[Any]) -> Rows:
    return {
        tuple(sorted(row["metric"].items())): [
            (at, value) for at, value in row.get("values") or [row["value"]]
        ]
        for row in result
    }


def different_rows(left: Rows, right: Rows, tolerance: float = RELATIVE_TOLERANCE) -> str | None:
    if missing := left.keys() - right.keys():
        one = min(missing)
        return f"{len(missing)} series missing here, as {dict(one)} {left[one][:3]}"
    if extra := right.keys() - left.keys():
        one = min(extra)
        return f"{len(extra)} series only here, as {dict(one)} {right[one][:3]}"
    for key, points in left.items():
        if [at for at, _ in points] != [at for at, _ in right[key]]:
            return f"{dict(key)}: times\n    {points}\n    {right[key]}"
        for (at, one), (_, other) in zip(points, right[key], strict=True):
            if not same_value(one, other, tolerance):
                return f"{dict(key)} at {at}: {one} / {other}"
    return None


def different_choice(left: Rows, right: Rows) -> str | None:
    """Of topk and its kin: which of equal values are taken is nowhere promised."""
    for steps in zip_steps(left, right):
        if len(steps[0]) != len(steps[1]) or not all(map(same_value, *steps)):
            return f"chosen: {steps[0]} / {steps[1]}"
    return None


def zip_steps(left: Rows, right: Rows) -> list[tuple[list[str], list[str]]]:
    """The values of both sides at each time, sorted."""
    times = sorted({at for side in (left, right) for row in side.values() for at, _ in row})
    return [
        (
            sorted(value for row in left.values() for time, value in row if time == at),
            sorted(value for row in right.values() for time, value in row if time == at),
        )
        for at in times
    ]


def same_value(left: str, right: str, tolerance: float = RELATIVE_TOLERANCE) -> bool:
    try:
        one, other = float(left), float(right)
    except ValueError:
        return left == right
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=tolerance, abs_tol=ABSOLUTE_TOLERANCE)
