"""``orrery.open(path)`` and ``orrery.connect(url)``: one object over an engine in this process or
over a server.

>>> with orrery.open("./data") as db:
...     db.write({"time": times, "host": hosts, "value": loads}, name="load1")
...     db.query_range("avg by (host) (load1)", start, end, "1m").to_pandas()
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from orrery.client.columns import DEFAULT_VALUE, Roles, arrange
from orrery.client.results import PartlyWritten, Result, Written
from orrery.client.side import TIME_MAX_NS, TIME_MIN_NS, Side
from orrery.client.times import Duration, Time, to_duration_ns, to_time_ns
from orrery.errors import Invalid
from orrery.languages.promql.parse import parse_selector
from orrery.model.receipts import Receipt

if TYPE_CHECKING:
    import os
    import ssl

__all__ = ["Database", "PartlyWritten", "Result", "Written", "connect", "open"]

STEP_COUNT_MAX = 11_000
"""As many steps as Prometheus answers, so that both sides refuse the same queries."""

Selectors = str | Sequence[str]
Resolution = Literal["auto", "raw"]
"""Whether buckets may stand for samples where the answer is the same, or samples are gone."""


class Database:
    """Times are ``datetime``, ``numpy.datetime64``, ISO 8601 text, or a number of Unix seconds.

    Safe to use from many threads. Close it, or use it in a ``with`` statement.
    """

    def __init__(self, side: Side) -> None:
        self._side: Side | None = side

    def write(
        self,
        data: object,
        *,
        name: str | None = None,
        name_column: str | None = None,
        time: str = "time",
        time_unit: str = "ns",
        value: str = DEFAULT_VALUE,
        fields: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
    ) -> Written:
        """Stores the rows of a table: a mapping of columns, a pyarrow table, a pandas or polars
        frame.

        The series' name is ``name``, or stands in ``name_column``. Samples come from the column
        ``value``, or from several ``fields``, each a series of its own. ``labels`` names the label
        columns; without it every other column is one, and must hold text. Numbers in the time
        column count ``time_unit``: ``ns``, ``us``, ``ms`` or ``s``. Values may be floats, whole
        numbers, booleans or text. A null value or time is no sample, a null label no label; in
        pandas NaN is null.

        When it returns the samples are durable and can be read. :class:`PartlyWritten` tells what
        was refused; the rest is stored then.
        """
        roles = Roles(
            name=name,
            name_column=name_column,
            time=time,
            time_unit=time_unit,
            value=value,
            fields=fields,
            labels=labels,
        )
        return self._open().write(arrange(data, roles))

    def query(
        self, promql: str, *, at: Time | None = None, resolution: Resolution = "auto"
    ) -> Result:
        """The value of a PromQL expression at one time: now, where ``at`` is not given.

        ``resolution="raw"`` lets no buckets stand for samples.
        """
        raw_only = is_raw(resolution)
        time_ns = None if at is None else to_time_ns(at)
        return self._open().query(promql, time_ns=time_ns, raw_only=raw_only)

    def query_range(
        self,
        promql: str,
        start: Time,
        end: Time,
        step: Duration,
        *,
        resolution: Resolution = "auto",
    ) -> Result:
        """Its values from ``start`` to ``end``, both included, every ``step``."""
        raw_only = is_raw(resolution)
        start_ns, end_ns, step_ns = to_time_ns(start), to_time_ns(end), to_duration_ns(step)
        if end_ns < start_ns:
            raise Invalid(f"cannot query range: the end {end!r} is before the start {start!r}")
        if step_ns <= 0:
            raise Invalid(f"cannot query range with step {step!r}: it must be positive")
        if (end_ns - start_ns) // step_ns > STEP_COUNT_MAX:
            raise Invalid(
                f"cannot query range with step {step!r}: more than {STEP_COUNT_MAX} steps"
            )
        return self._open().query_range(
            promql, start_ns=start_ns, end_ns=end_ns, step_ns=step_ns, raw_only=raw_only
        )

    def read(self, selector: str, start: Time, end: Time) -> Result:
        """Samples as they were written, from ``start`` to ``end``, both included.

        Numbers and booleans only; a remote database gives times in whole milliseconds.
        """
        matchers = parse_selector(selector)
        start_ns, end_ns = to_time_ns(start), to_time_ns(end)
        if end_ns < start_ns:
            raise Invalid(f"cannot read samples: the end {end!r} is before the start {start!r}")
        return self._open().read(matchers, start_ns=start_ns, end_ns=end_ns)

    def series(
        self, selectors: Selectors, *, start: Time | None = None, end: Time | None = None
    ) -> list[dict[str, str]]:
        """Labels of the series that any selector matches and that have samples in the range."""
        start_ns, end_ns = bounds(start, end)
        found = self._open().series(parsed(selectors), start_ns=start_ns, end_ns=end_ns)
        return [dict(labels) for labels in found]

    def label_names(
        self, selectors: Selectors = (), *, start: Time | None = None, end: Time | None = None
    ) -> list[str]:
        start_ns, end_ns = bounds(start, end)
        chosen = parsed(selectors)
        return list(self._open().label_values(None, chosen, start_ns=start_ns, end_ns=end_ns))

    def label_values(
        self,
        label: str,
        selectors: Selectors = (),
        *,
        start: Time | None = None,
        end: Time | None = None,
    ) -> list[str]:
        """``label_values("__name__")`` lists what is stored."""
        start_ns, end_ns = bounds(start, end)
        chosen = parsed(selectors)
        return list(self._open().label_values(label, chosen, start_ns=start_ns, end_ns=end_ns))

    def delete(
        self, selector: str, *, start: Time | None = None, end: Time | None = None
    ) -> Receipt:
        """Samples the selector matches, in the range or all: gone from every read that follows.

        The receipt says how many that were; ``orrery receipt show`` when they are off the disk.
        """
        start_ns, end_ns = bounds(start, end)
        return self._open().delete(parse_selector(selector), start_ns=start_ns, end_ns=end_ns)

    def flush(self) -> None:
        """Brings recent samples into blocks now. They are durable and readable before it, too."""
        self._open().flush()

    def close(self) -> None:
        """May be called twice; every other call fails afterwards."""
        side, self._side = self._side, None
        if side is not None:
            side.close()

    def __enter__(self) -> "Database":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self) -> Side:
        if self._side is None:
            raise Invalid("cannot use database: it is closed")
        return self._side


def bounds(start: Time | None, end: Time | None) -> tuple[int, int]:
    start_ns = TIME_MIN_NS if start is None else to_time_ns(start)
    end_ns = TIME_MAX_NS if end is None else to_time_ns(end)
    return start_ns, end_ns


def parsed(selectors: Selectors) -> list[Any]:
    texts = [selectors] if isinstance(selectors, str) else selectors
    return [parse_selector(text) for text in texts]


def open(path: "str | os.PathLike[str]", *, tenant: str = "default") -> Database:
    """A database in this process, in the directory ``path``; it is made where it is not there.

    One process owns a directory: a second one gets an error that says so.
    """
    from orrery.app import open_engine
    from orrery.client.embedded import Embedded

    return Database(Embedded(open_engine(Path(path)), tenant=tenant))


def connect(
    url: str,
    *,
    token: str | None = None,
    tenant: str | None = None,
    timeout_seconds: float = 150.0,
    tls: "ssl.SSLContext | None" = None,
) -> Database:
    """A database behind a server at ``url`` (``http://host:port`` or ``https://...``).

    ``tenant`` goes with servers that take everyone's word (``--auth none``); a ``token`` has its
    own. Nothing is sent before the first call.
    """
    from orrery.client.http import Http
    from orrery.client.remote import Remote

    http = Http(url, token=token, tenant=tenant, timeout_seconds=timeout_seconds, tls=tls)
    return Database(Remote(http))


def is_raw(resolution: str) -> bool:
    if resolution not in ("auto", "raw"):
        raise Invalid(f"cannot query with resolution {resolution!r}: it is neither auto nor raw")
    return resolution == "raw"
