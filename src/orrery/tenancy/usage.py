"""A tenant's own usage as series inside that tenant; ``app`` calls :meth:`UsageSeries.write` every
``usage_seconds``."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
from msgspec.structs import asdict

from orrery.clock import Clock
from orrery.model.points import WRITE_SECONDS_MAX, Point, WritePoints
from orrery.tenancy.admission import Admission, Usage

WRITES_UNDER_WAY_MAX = 256


class UsageSeries:
    """Only tenants that did something since the last time are written."""

    def __init__(
        self,
        *,
        admission: Admission,
        active_series: Callable[[str], int],
        write: WritePoints,
        clock: Clock,
    ) -> None:
        self._admission = admission
        self._active_series = active_series
        self._write = write
        self._clock = clock

    def write(self) -> int:
        """The number of tenants written. Many are on their way at once: they share the log's
        group commits, where one at a time would wait for the disk each."""
        time_ns = self._clock.now_ns()
        tenant_count = 0
        under_way: deque[Future[Any]] = deque()
        for tenant, usage, day_samples in self._admission.changed():
            if len(under_way) == WRITES_UNDER_WAY_MAX:
                under_way.popleft().result(WRITE_SECONDS_MAX)
            points = [*self._points(tenant, usage, day_samples)]
            written = self._write(
                tenant,
                series=[(name, labels) for name, labels, _ in points],
                time_ns=time_ns,
                values=np.array([value for _, _, value in points], dtype=np.float64),
            )
            under_way.append(written)
            tenant_count += 1
        for written in under_way:
            written.result(WRITE_SECONDS_MAX)
        return tenant_count

    def _points(self, tenant: str, usage: Usage, day_samples: int) -> Iterator[Point]:
        yield "orrery_tenant_samples_accepted_total", (), usage.samples_accepted
        yield "orrery_tenant_samples_today", (), day_samples
        yield "orrery_tenant_query_samples_read_total", (), usage.query_samples_read
        yield "orrery_tenant_active_series", (), self._active_series(tenant)
        counted = (
            ("orrery_tenant_samples_refused_total", "reason", usage.samples_refused),
            ("orrery_tenant_requests_refused_total", "limit", usage.requests_refused),
            ("orrery_tenant_queries_total", "outcome", usage.queries),
        )
        for name, label, counts in counted:
            for value, count in sorted(counts.items()):
                yield name, ((label, value),), count
        limits = self._admission.limits(tenant)
        if limits is self._admission.default_limits:
            return
        # Only its own: those of all are the server's metrics, not a dozen series of every tenant.
        defaults = asdict(self._admission.default_limits)
        for limit, value in asdict(limits).items():
            if isinstance(value, int | float) and value != defaults[limit]:
                yield "orrery_tenant_limit", (("limit", limit),), value
