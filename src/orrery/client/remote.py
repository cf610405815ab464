"""A database behind a server: line protocol in, Prometheus' JSON out; built by ``api.connect``."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np

from orrery.client import lines, remote_write
from orrery.client.columns import Points
from orrery.client.http import Answer, Http, checked, told
from orrery.client.results import PartlyWritten, Result, Written, histograms_left_out
from orrery.client.side import TIME_MAX_NS, TIME_MIN_NS, Selectors
from orrery.errors import Unavailable
from orrery.languages.promql.tokens import go_quote
from orrery.model.effects import Labels
from orrery.model.receipts import Receipt
from orrery.model.selector import Matcher

API = "/prometheus/api/v1"
LINES = "/influxdb/api/v2/write?bucket=metrics&precision=ns"
SAMPLES = f"{API}/write"
TEXT = {"content-type": "text/plain; charset=utf-8"}
PROTOBUF = {
    "content-type": "application/x-protobuf",
    "content-encoding": "snappy",
    "x-prometheus-remote-write-version": "0.1.0",
}
REFUSED = re.compile(rb"dropped=(\d+)|(\d+) samples refused")
REASONS_MAX = 100
MILLISECOND_NS = 1_000_000


T = TypeVar("T")


class Row(msgspec.Struct):
    metric: dict[str, str] = {}
    value: tuple[float, str] | None = None
    values: list[tuple[float, str]] = []
    histogram: msgspec.Raw | None = None
    histograms: msgspec.Raw | None = None

    @property
    def holds_histograms(self) -> bool:
        return self.histogram is not None or self.histograms is not None

    @property
    def holds_numbers(self) -> bool:
        return self.value is not None or bool(self.values)


class Data(msgspec.Struct):
    resultType: str
    result: msgspec.Raw


class Reply(msgspec.Struct):
    data: msgspec.Raw
    warnings: list[str] = []


class Remote:
    """A :class:`~orrery.client.side.Side`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def write(self, points: Sequence[Points]) -> Written:
        tally = Tally()
        for one in points:
            for part, is_finite in split(one):
                for body, count in lines.bodies(part) if is_finite else samples(part):
                    path, headers = (LINES, TEXT) if is_finite else (SAMPLES, PROTOBUF)
                    tally.add(self._http.post(path, body, headers), count)
        return tally.written()

    def query(self, text: str, *, time_ns: int | None, raw_only: bool = False) -> Result:
        form = [("query", text), *resolution(raw_only)]
        if time_ns is not None:
            form.append(("time", rfc3339(time_ns)))
        return read_result(self._http.post_form(f"{API}/query", form))

    def query_range(
        self, text: str, *, start_ns: int, end_ns: int, step_ns: int, raw_only: bool = False
    ) -> Result:
        form = [("query", text), *span(start_ns, end_ns), ("step", seconds(step_ns))]
        form += resolution(raw_only)
        return read_result(self._http.post_form(f"{API}/query_range", form))

    def read(self, matchers: tuple[Matcher, ...], *, start_ns: int, end_ns: int) -> Result:
        """A range selector leaves out its start, hence the millisecond before."""
        start_ms = start_ns // MILLISECOND_NS - 1
        end_ms = -(-end_ns // MILLISECOND_NS)
        text = f"{selector_text(matchers)}[{end_ms - start_ms}ms]"
        return self.query(text, time_ns=end_ms * MILLISECOND_NS)

    def series(self, selectors: Selectors, *, start_ns: int, end_ns: int) -> Sequence[Labels]:
        form = [*matches(selectors), *span(start_ns, end_ns)]
        found = decode(self._http.post_form(f"{API}/series", form), list[dict[str, str]])
        return [tuple(sorted(labels.items())) for labels in found]

    def label_values(
        self, label: str | None, selectors: Selectors, *, start_ns: int, end_ns: int
    ) -> Sequence[str]:
        form = [*matches(selectors), *span(start_ns, end_ns)]
        if label is None:
            body = self._http.post_form(f"{API}/labels", form)
        else:
            body = self._http.get(f"{API}/label/{escaped(label)}/values", form)
        found: list[str] = decode(body, list[str])
        return found

    def delete(self, matchers: tuple[Matcher, ...], *, start_ns: int, end_ns: int) -> Receipt:
        form = [*matches([matchers]), *span(start_ns, end_ns), ("receipt", "true")]
        body = self._http.post_form(f"{API}/admin/tsdb/delete_series", form)
        (receipt,) = decode(body, tuple[Receipt])
        return receipt

    def flush(self) -> None:
        """The server flushes by itself; what it acknowledged is durable and readable."""

    def close(self) -> None:
        self._http.close()


class Tally:
    """What became of the requests of one write: a refusal of some samples stops no others."""

    def __init__(self) -> None:
        self.written_count = 0
        self.refused_count = 0
        self.reasons: list[tuple[int, str]] = []
        self.acknowledgement = ""

    def add(self, answer: Answer, count: int) -> None:
        refused = refusals(answer)
        if refused is None:
            checked(answer)
            self.written_count += count
            self.acknowledgement = answer.acknowledgement
            return
        refused_count = min(count, refused_count_of(answer, count))
        self.written_count += count - refused_count
        self.refused_count += refused_count
        self.reasons += refused[: REASONS_MAX - len(self.reasons)]

    def written(self) -> Written:
        if self.refused_count:
            raise PartlyWritten(self.written_count, self.refused_count, self.reasons)
        return Written(self.written_count, self.acknowledgement)


def refusals(answer: Answer) -> list[tuple[int, str]] | None:
    """(line, reason) of what a request left out; None where the answer is another."""
    rows = told(answer.body).get("rejected") if answer.status == 400 else None
    if not isinstance(rows, list):
        return None
    found = [row for row in rows if isinstance(row, dict)]
    return [
        (int(row.get("line") or row.get("series") or 0), str(row.get("reason"))) for row in found
    ]


def refused_count_of(answer: Answer, count: int) -> int:
    """As the message tells: a line is a sample here. Without a good sample, all."""
    told_count = REFUSED.search(answer.body)
    return int(told_count[1] or told_count[2]) if told_count else count


def samples(points: Points) -> list[tuple[bytes, int]]:
    return [(remote_write.encode(points), len(points.values))]


def split(points: Points) -> list[tuple[Points, bool]]:
    """Finite samples and the others, where there are any; the flag tells which."""
    if points.values.dtype.kind != "f":
        return [(points, True)]
    finite = np.isfinite(points.values)
    if finite.all():
        return [(points, True)]
    return [(chosen(points, finite), True), (chosen(points, ~finite), False)]


def chosen(points: Points, rows: "np.ndarray[Any, np.dtype[np.bool_]]") -> Points:
    counts = np.concatenate([[0], np.cumsum(rows)])
    offsets = counts[points.offsets].astype(np.int64)
    return Points(points.series, offsets, points.times_ns[rows], points.values[rows])


def selector_text(matchers: tuple[Matcher, ...]) -> str:
    """PromQL that selects the same; names are quoted, so that any UTF-8 passes."""
    parts = [f"{go_quote(m.label)}{m.operator}{go_quote(m.value)}" for m in matchers]
    return "{" + ",".join(parts) + "}"


def matches(selectors: Selectors) -> list[tuple[str, str]]:
    return [("match[]", selector_text(matchers)) for matchers in selectors]


def span(start_ns: int, end_ns: int) -> list[tuple[str, str]]:
    """Open ends are left out: years before 1 have no RFC 3339."""
    found = []
    if start_ns != TIME_MIN_NS:
        found.append(("start", rfc3339(start_ns)))
    if end_ns != TIME_MAX_NS:
        found.append(("end", rfc3339(end_ns)))
    return found


def rfc3339(time_ns: int) -> str:
    return f"{np.datetime64(time_ns, 'ns')}Z"


def seconds(duration_ns: int) -> str:
    whole, rest_ns = divmod(duration_ns, 1_000_000_000)
    return f"{whole}.{rest_ns:09d}"


def escaped(label: str) -> str:
    """A label name as a path takes it: Prometheus' ``U__`` form where it is not plain ASCII."""
    if label.isascii() and label.replace("_", "a").isalnum() and not label.startswith("U__"):
        return label
    return "U__" + "".join(
        "__" if c == "_" else c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in label
    )


# --- answers


def decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(msgspec.json.decode(body, type=Reply).data, type=kind)
    except msgspec.DecodeError as error:
        raise Unavailable(f"cannot read answer: {error}") from error


def read_result(body: bytes) -> Result:
    warnings = tuple(told_warnings(body))
    data: Data = decode(body, Data)
    if data.resultType in ("scalar", "string"):
        time, text = msgspec.json.decode(data.result, type=tuple[float, str])
        if data.resultType == "string":
            return columns("string", [], text, warnings)
        return columns("scalar", [Row(value=(time, text))], None, warnings)
    return columns(
        data.resultType, msgspec.json.decode(data.result, type=list[Row]), None, warnings
    )


def told_warnings(body: bytes) -> list[str]:
    return msgspec.json.decode(body, type=Reply).warnings


def columns(kind: str, rows: list[Row], text: str | None, warnings: tuple[str, ...]) -> Result:
    warnings += histograms_left_out([row.metric for row in rows if row.holds_histograms])
    rows = [row for row in rows if row.holds_numbers]
    samples = [[row.value] if row.value is not None else row.values for row in rows]
    flat = [sample for series in samples for sample in series]
    counts = np.array([len(series) for series in samples], dtype=np.int64)
    times_s = np.array([sample[0] for sample in flat], dtype=np.float64)
    return Result(
        kind=kind,
        labels=tuple(row.metric for row in rows),
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        times_ns=np.round(times_s * 1000).astype(np.int64) * MILLISECOND_NS,
        values=np.array([float(sample[1]) for sample in flat], dtype=np.float64),
        text=text,
        warnings=warnings,
    )


def resolution(raw_only: bool) -> list[tuple[str, str]]:
    return [("resolution", "raw")] if raw_only else []
