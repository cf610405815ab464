"""What ingest hands to the wires, and what it asks of those around it.

``protocols/<wire>/write`` programs against ``Access``, ``Accept`` and ``Written``; ``Accept``
against ``Limits``, which ``tenancy`` keeps; ``app`` hands in the parts.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from msgspec import Struct

from orrery.errors import Exhausted
from orrery.kernels.batch import Batch
from orrery.store.kernels import Bounds

Label = tuple[str, str]
Rejected = tuple[int, str]
"""(1-based line of the body or series of the request, reason)."""


class Written(Struct, frozen=True):
    """The acknowledgement of one batch: everything in it but what is listed or counted as
    rejected is in the log, as durable as ``acknowledgement`` says, and readable."""

    sample_count: int
    samples_rejected_count: int
    series_rejected_count: int
    new_series_count: int
    rejected: tuple[Rejected, ...]
    """A bounded list."""
    acknowledgement: str
    """``fsynced``, ``memory`` or ``replicated``."""
    offset: int | None
    """Of the log record; None where nothing was left to log."""
    lines_rejected_count: int = 0
    """Lines with a refusal, whether ``rejected`` lists them or not; line 0 is none."""
    histogram_count: int = 0
    """Those of ``sample_count`` that are native histograms."""


class Accept(Protocol):
    @property
    def is_busy(self) -> bool:
        """Whether another thread is writing, so that ``write`` would wait for it now."""

    def write(
        self,
        tenant: str,
        batch: Batch,
        *,
        defaults: Sequence[Label],
        forced: Sequence[Label],
    ) -> "Future[Written]":
        """Names the series, appends, and completes once durable and readable.

        Refusals of single series or samples are in ``Written.rejected``; ``Exhausted`` and
        ``Unavailable`` (raised here or in the future) refuse the whole batch. Called from any
        thread.
        """


class Limits(Protocol):
    """A tenant's limits and counts; calls may come from any thread and must be quick.

    ``tenancy.admission.Admission`` is the real one.
    """

    def admit(self, tenant: str, sample_count: int) -> None:
        """Takes ``sample_count`` from the tenant's rates, or raises ``Exhausted``, has counted
        the refusal and takes nothing."""

    def give_back(self, tenant: str, sample_count: int) -> None:
        """Admitted samples that were not stored after all."""

    def bounds(self, tenant: str, now_ns: int) -> Bounds:
        """What a batch of this tenant may hold and add now."""

    def registered(self, tenant: str, series_count: int) -> None:
        """New series that a batch brought."""

    def accepted(self, tenant: str, sample_count: int) -> None:
        """Logged, applied and about to be acknowledged."""

    def new_series_exhausted(self, tenant: str) -> Exhausted:
        """What to raise where ``bounds`` allowed no new series and a batch brought one."""

    def refused(self, tenant: str, reason: str, sample_count: int) -> None:
        """``reason`` is a fixed word: ``pressure``, ``rate``, ``rejected`` or ``failed``."""
