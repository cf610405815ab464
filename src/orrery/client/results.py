"""Answers as columns: what queries of ``api`` return, embedded and remote alike."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orrery.client.optional import Foreign, optional
from orrery.errors import Invalid

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Series ``i`` has ``labels[i]`` and owns ``times_ns[offsets[i]:offsets[i + 1]]`` and the same
    of ``values``.

    ``kind`` is what PromQL calls it: ``vector``, ``matrix``, ``scalar`` or ``string``. A scalar is
    one series without labels; a string has its ``text`` and no samples.
    """

    kind: str
    labels: tuple[Mapping[str, str], ...]
    offsets: "NDArray[np.int64]"
    times_ns: "NDArray[np.int64]"
    values: "NDArray[np.float64]"
    text: str | None = None
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(
        self,
    ) -> "Iterator[tuple[Mapping[str, str], NDArray[np.int64], NDArray[np.float64]]]":
        """Labels, times and values, series by series."""
        for labels, first, last in zip(
            self.labels, self.offsets[:-1], self.offsets[1:], strict=True
        ):
            yield labels, self.times_ns[first:last], self.values[first:last]

    @property
    def times(self) -> "NDArray[np.datetime64]":
        return self.times_ns.view("datetime64[ns]")

    def to_arrow(self, *, time: str = "time", value: str = "value") -> Foreign:
        """A ``pyarrow.Table``, one row a sample: a column a label (dictionary-encoded, null where
        a series lacks it), then ``time`` (UTC) and ``value``."""
        arrow = optional("pyarrow", extra="arrow")
        keys = sorted({key for labels in self.labels for key in labels})
        for column in (time, value):
            if column in keys:
                raise Invalid(
                    f"cannot build table: a label is called {column!r} too; "
                    "name the column otherwise with time= or value="
                )
        series = np.repeat(np.arange(len(self.labels), dtype=np.int32), np.diff(self.offsets))
        columns = {key: self._label_column(arrow, key, series) for key in keys}
        columns[time] = arrow.array(self.times_ns, arrow.timestamp("ns", tz="UTC"))
        columns[value] = arrow.array(self.values)
        return arrow.table(columns)

    def to_pandas(self, *, time: str = "time", value: str = "value") -> Foreign:
        optional("pandas", extra="pandas")
        return self.to_arrow(time=time, value=value).to_pandas()

    def to_polars(self, *, time: str = "time", value: str = "value") -> Foreign:
        polars = optional("polars", extra="polars")
        return polars.from_arrow(self.to_arrow(time=time, value=value))

    def _label_column(self, arrow: Foreign, key: str, series: "NDArray[np.int32]") -> Foreign:
        codes: dict[str, int] = {}
        of_series = [codes.setdefault(labels.get(key, ""), len(codes)) for labels in self.labels]
        indices = np.array(of_series, dtype=np.int32)[series]
        absent = codes.get("")
        mask = None if absent is None else indices == absent
        dictionary = arrow.array(list(codes), arrow.string())
        return arrow.DictionaryArray.from_arrays(arrow.array(indices, mask=mask), dictionary)


def histograms_left_out(labels: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """A warning where series hold native histograms, which no column of numbers stands for."""
    if not labels:
        return ()
    pairs = ",".join(f'{key}="{value}"' for key, value in sorted(labels[0].items()))
    shown = f"{len(labels)} series hold native histograms, which are left out: {{{pairs}}}"
    return (shown + (" and more" if len(labels) > 1 else ""),)


@dataclass(frozen=True, slots=True)
class Written:
    """How many samples are stored, and how sure that is: ``fsynced``, ``memory``..."""

    sample_count: int
    acknowledgement: str


class PartlyWritten(Invalid):
    """Some samples are refused, for the reasons given (not each has one of its own); the others
    are stored."""

    def __init__(
        self, written_count: int, rejected_count: int, reasons: Sequence[tuple[int, str]]
    ) -> None:
        first = reasons[0][1] if reasons else "the reason was not told"
        super().__init__(
            f"cannot write {rejected_count} of {written_count + rejected_count} samples: {first}"
        )
        self.written_count = written_count
        self.rejected_count = rejected_count
        self.reasons = tuple(reasons)
