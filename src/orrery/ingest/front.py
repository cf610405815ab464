"""What the wires write through: the tenant's acknowledgement class, and metadata beside samples.

``app`` hands a :class:`Front` to every write side; :class:`OwnSeries` is the way in for what the
server writes about itself and its host.
"""

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from orrery.errors import Invalid
from orrery.ingest.accept import DURABLE, Accept
from orrery.ingest.contract import Label, Written
from orrery.kernels.batch import Batch
from orrery.kernels.columns import decode_columns
from orrery.kernels.series import encode_series
from orrery.store.kernels import AttributesRow


class Front:
    """``is_durable`` tells whether a tenant's writes wait for the disk."""

    def __init__(self, *, accept: Accept, is_durable: Callable[[str], bool]) -> None:
        self._accept = accept
        self._is_durable = is_durable

    @property
    def is_busy(self) -> bool:
        return self._accept.is_busy

    def write(
        self,
        tenant: str,
        batch: Batch,
        *,
        defaults: Sequence[Label] = (),
        forced: Sequence[Label] = (),
    ) -> "Future[Written]":
        """As ``Accept.write``; the batch's metadata is logged before its samples, so that the
        samples' acknowledgement covers both."""
        durable = self._is_durable(tenant)
        rows = batch.metadata
        logged = self._accept.write_metadata(tenant, rows) if rows else None
        if described := batch.attributes:
            self._accept.write_attributes(
                tenant, named_attributes(batch, described, defaults=defaults, forced=forced)
            )
        if batch.sample_count or logged is None:
            return self._accept.write(
                tenant, batch, defaults=defaults, forced=forced, durable=durable
            )
        answer: Future[Written] = Future()
        logged.add_done_callback(lambda done: _settle(answer, done))
        return answer


def named_attributes(
    batch: Batch,
    described: Sequence[tuple[int, Sequence[tuple[str, str]]]],
    *,
    defaults: Sequence[Label] = (),
    forced: Sequence[Label] = (),
) -> list[AttributesRow]:
    """By canonical bytes. A series that cannot be named is left out: its samples are refused."""
    rows = []
    for key, pairs in described:
        with contextlib.suppress(Invalid):
            series = batch.canonical(key, defaults=defaults, forced=forced)
            rows.append((series, tuple(pairs)))
    return rows


class OwnSeries:
    """One sample a series, all at one time; not counted as the tenant's usage."""

    def __init__(self, *, accept: Accept) -> None:
        self._accept = accept

    def __call__(
        self,
        tenant: str,
        *,
        series: Sequence[tuple[str, tuple[Label, ...]]],
        time_ns: int,
        values: NDArray[np.float64],
    ) -> "Future[Written]":
        batch = decode_columns(
            [encode_series(name, "", list(labels)) for name, labels in series],
            np.arange(len(series) + 1, dtype=np.int64),
            np.full(len(series), time_ns, dtype=np.int64),
            values,
        )
        return self._accept.write_own(tenant, batch)


def _settle(answer: "Future[Written]", logged: "Future[int | None]") -> None:
    failure = logged.exception()
    if failure is not None:
        answer.set_exception(failure)
        return
    answer.set_result(
        Written(
            sample_count=0,
            samples_rejected_count=0,
            series_rejected_count=0,
            new_series_count=0,
            rejected=(),
            acknowledgement=DURABLE,
            offset=logged.result(),
        )
    )
