"""What queries need from the store, the core and the tenants; fakes in tests, real parts in app."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from orrery.errors import Corrupt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from orrery.kernels.fused import Fused
    from orrery.model.effects import Labels

MatcherTriple = tuple[str, str, str]
"""(label, operator, value), as matchers cross into the core."""


class Meter(Protocol):
    """What one query has used and may use; shared by every kernel that works for it."""

    @property
    def samples_read(self) -> int: ...
    @property
    def series_read(self) -> int: ...

    def cancel(self) -> None:
        """From any thread: the query stops at its next page or step."""

    def keep_company(self) -> None:
        """From any thread: others ask as well, and the query leaves a core to them."""

    def check(self) -> None:
        """Raises where the query is cancelled, late or over a limit."""


class Selection(Protocol):
    """Series that matched, sorted by their PromQL labels, each by its position; immutable."""

    def __len__(self) -> int: ...

    def canonical(self, position: int) -> bytes:
        """The series' own name, field and labels, encoded (docs/formats/series.md)."""

    def collision(self) -> int | None:
        """The first of two series with equal PromQL labels, where there are any."""

    def promql_labels(self, first: int, count: int) -> "Sequence[Labels]":
        """Sorted pairs, ``__name__`` among them."""

    def window(
        self,
        first: int,
        count: int,
        *,
        function: str,
        start_ns: int,
        step_ns: int,
        step_count: int,
        range_ns: int,
        offset_ns: int,
        parameters: Sequence[float],
        meter: Meter,
    ) -> "tuple[NDArray[np.float64], NDArray[np.bool_]]":
        """Values and presence, each of shape (count, step_count)."""

    def samples(
        self, first: int, count: int, min_ns: int, max_ns: int, meter: Meter
    ) -> "tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]":
        """Offsets, times and values; bounds are inclusive."""

    def coarse_used(self) -> tuple[Sequence[int], bool]:
        """Resolutions of buckets that reads so far took, and whether windows were moved to whole
        buckets for that."""

    def text_series(self) -> Sequence[int]:
        """Positions in which reads so far met strings or bytes, which they left out."""

    def histogram_series(self) -> Sequence[int]:
        """Positions in which reads so far met histograms, which they left out."""

    def mixed(
        self, at: int, min_ns: int, max_ns: int, meter: Meter
    ) -> "tuple[NDArray[np.int64], NDArray[np.float64], Sequence[bytes | None]]":
        """Times, numbers and payloads of histograms of one series; bounds are inclusive."""


class Snapshot(Protocol):
    """A consistent look at the store; later writes and deletes do not show in it."""

    @property
    def resolutions_ns(self) -> Sequence[int]:
        """Of the coarse data there is, rising."""

    @property
    def raw_from_ns(self) -> int:
        """Before this time some series keeps no samples any more."""

    def select(
        self,
        tenant: str,
        matchers: Sequence[MatcherTriple],
        min_ns: int,
        max_ns: int,
        meter: Meter,
        finest_ns: int | None = None,
    ) -> Selection:
        """``finest_ns``: buckets of this resolution or coarser may answer; 0 only where samples
        are gone; None never."""

    def compute(
        self,
        fused: "Fused",
        tenant: str,
        forced: Sequence[MatcherTriple],
        *,
        start_ns: int,
        step_ns: int,
        step_count: int,
        cells_max: int,
        meter: Meter,
        series_max: int | None,
        brief: tuple[int, float] | None,
        is_ordered: bool = False,
    ) -> "tuple[Sequence[Labels], tuple[NDArray[np.float64], NDArray[np.bool_]]] | None":
        """An expression in one call: labels, and values and presence of each row that has a value;
        in rising order of labels where ``is_ordered``.

        None where it is not plain enough (text, labels that meet), or takes more series than given,
        or more samples and seconds than ``brief``; then ``meter`` has not counted it. A table has
        at most ``cells_max`` values."""

    def label_names(
        self,
        tenant: str,
        selectors: Sequence[Sequence[MatcherTriple]],
        min_ns: int,
        max_ns: int,
        meter: Meter,
    ) -> Sequence[str]:
        """Of series that any of ``selectors`` matches; of all where there is none."""

    def label_values(
        self,
        tenant: str,
        label: str,
        selectors: Sequence[Sequence[MatcherTriple]],
        min_ns: int,
        max_ns: int,
        meter: Meter,
    ) -> Sequence[str]: ...


class Snapshots(Protocol):
    """The part of the store that queries see."""

    def snapshot(self, tenant: str) -> Snapshot:
        """All the tenant may see now; what it no longer keeps is not in it."""

    def suspect(self, error: Corrupt) -> None:
        """A read of a snapshot met damage."""


class QueryLimits(Protocol):
    """A tenant's bounds on one query."""

    @property
    def series_max(self) -> int: ...
    @property
    def samples_max(self) -> int: ...
    @property
    def seconds_max(self) -> float: ...


class Admission(Protocol):
    """What a tenant may use, and the count of what it did; ``tenancy.admission`` is one."""

    def query(self, tenant: str) -> QueryLimits: ...

    def queried(self, tenant: str, outcome: str, samples_read: int) -> None:
        """``outcome`` is ``answered``, ``failed``, ``cancelled``, ``timeout`` or a limit."""


class MeterOf(Protocol):
    """Makes the meter of one query: ``kernels.meter.Meter`` outside tests."""

    def __call__(
        self, *, samples_max: int, series_max: int, deadline_seconds: float | None
    ) -> Meter: ...
