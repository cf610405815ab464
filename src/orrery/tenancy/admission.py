"""How much is left: rates, quotas and budgets of each tenant, and what it used.

``ingest`` asks before it appends and reports afterwards; ``query/run`` asks for a budget;
``usage`` reads the counts. A tenant that does nothing has no state here.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from msgspec import Struct

from orrery.clock import Clock
from orrery.errors import SERVER, Excess, Exhausted
from orrery.settings import Limits
from orrery.telemetry import Telemetry
from orrery.tenancy.limits import TenantLimits

BURST_SECONDS = 10.0
IDLE_SECONDS = 600.0
SWEEP_SECONDS = 30.0
TENANTS_ACTIVE_MAX = 200_000
NO_LIMIT = 2**62
TIME_MIN_NS = -(2**63)
TIME_MAX_NS = 2**63 - 1
SECOND_NS = 1_000_000_000
DAY_SECONDS = 86_400


class Bounds(Struct, frozen=True):
    """What the resolving of one write is held to; ``NO_LIMIT`` where there is none."""

    time_min_ns: int
    time_max_ns: int
    active_series_max: int
    new_series_allowed: bool
    label_count_max: int
    label_bytes_max: int


class QueryBudget(Struct, frozen=True):
    series_max: int
    samples_max: int
    seconds_max: float


class Bucket:
    """Allows ``rate`` a second on average, with bursts. It may go into debt: a batch larger than
    the burst passes when the bucket is full, and is paid off before the next one."""

    __slots__ = ("checked_seconds", "level")

    def __init__(self, level: float, checked_seconds: float) -> None:
        self.level = level
        self.checked_seconds = checked_seconds

    def fill(self, rate: float, now_seconds: float) -> None:
        gained = (now_seconds - self.checked_seconds) * rate
        self.level = min(rate * BURST_SECONDS, self.level + max(0.0, gained))
        self.checked_seconds = now_seconds

    def wait_seconds(self, count: float, rate: float) -> float:
        """0 where ``count`` may pass now."""
        return max(0.0, (min(count, rate * BURST_SECONDS) - self.level) / rate)


@dataclass(slots=True)
class Usage:
    """Counts since the tenant became active; they start over after it was idle."""

    samples_accepted: int = 0
    samples_refused: dict[str, int] = field(default_factory=dict)
    requests_refused: dict[str, int] = field(default_factory=dict)
    queries: dict[str, int] = field(default_factory=dict)
    query_samples_read: int = 0


class _State:
    __slots__ = (
        "changed",
        "day",
        "day_is_limited",
        "day_samples",
        "samples",
        "seen_seconds",
        "series",
        "usage",
    )

    def __init__(self, limits: Limits, now_seconds: float) -> None:
        self.samples = Bucket(limits.samples_per_second * BURST_SECONDS, now_seconds)
        self.series = Bucket(limits.new_series_per_second * BURST_SECONDS, now_seconds)
        self.day = 0
        self.day_samples = 0
        self.day_is_limited = bool(limits.samples_per_day)
        self.usage = Usage()
        self.changed = False
        self.seen_seconds = now_seconds


class Admission:
    """One a server; calls may come from any thread.

    It is what ``ingest`` knows as ``Limits`` and ``Tally``, and ``query`` as ``Admission``.
    ``admit`` takes from the rates, ``accepted`` and ``refused`` tell afterwards what came of it.
    """

    def __init__(
        self,
        *,
        limits: TenantLimits,
        clock: Clock,
        telemetry: Telemetry,
        guarded: Clock | None = None,
    ) -> None:
        """``guarded`` is a clock that does not follow jumps: a sample is too old or too new where
        both say so."""
        self._limits = limits
        self.raw_days: Callable[[str], float | None] = self._kept_days
        """How long a tenant's samples are kept; what is older is refused. Its limits alone say so
        until ``app`` puts its rules of retention here."""
        self._clock = clock
        self._guarded = guarded
        self._telemetry = telemetry
        self._lock = threading.Lock()
        self._states: dict[str, _State] = {}
        self._swept_seconds = clock.monotonic_seconds()

    def limits(self, tenant: str) -> Limits:
        return self._limits.of(tenant)

    @property
    def default_limits(self) -> Limits:
        """Of tenants for whom none are set."""
        return self._limits.defaults

    def admit(self, tenant: str, sample_count: int) -> None:
        """Takes ``sample_count`` from the tenant's rate and day; call before anything is stored.

        ``Exhausted`` names the limit and when to come again; then nothing was taken.
        """
        limits = self._limits.of(tenant)
        with self._lock:
            state = self._state(tenant, limits)
            try:
                self._check_day(tenant, state, limits, sample_count)
                self._take_samples(tenant, state, limits, sample_count)
            except Exhausted as error:
                limit = error.excess.limit if error.excess is not None else "other"
                _count(state.usage.requests_refused, limit, 1)
                state.changed = True
                raise
            state.day_samples += sample_count

    def give_back(self, tenant: str, sample_count: int) -> None:
        """For admitted samples that were not stored after all."""
        limits = self._limits.of(tenant)
        with self._lock:
            state = self._state(tenant, limits)
            state.day_samples = max(0, state.day_samples - sample_count)
            if limits.samples_per_second:
                state.samples.level += sample_count

    def bounds(self, tenant: str, now_ns: int) -> Bounds:
        limits = self._limits.of(tenant)
        # What retention would hide at once is refused, not acknowledged.
        age_seconds = limits.sample_age_seconds
        kept_seconds = int((self.raw_days(tenant) or 0) * DAY_SECONDS)
        if not age_seconds or 0 < kept_seconds < age_seconds:
            age_seconds = kept_seconds
        guarded_ns = now_ns if self._guarded is None else self._guarded.now_ns()
        early_ns, late_ns = min(now_ns, guarded_ns), max(now_ns, guarded_ns)
        return Bounds(
            time_min_ns=early_ns - age_seconds * SECOND_NS if age_seconds else TIME_MIN_NS,
            time_max_ns=min(TIME_MAX_NS, late_ns + limits.sample_future_seconds * SECOND_NS),
            active_series_max=limits.active_series or NO_LIMIT,
            new_series_allowed=self._new_series_allowed(tenant, limits),
            label_count_max=limits.label_count,
            label_bytes_max=limits.label_bytes,
        )

    def _kept_days(self, tenant: str) -> float | None:
        return self._limits.of(tenant).retention_seconds / DAY_SECONDS or None

    def _new_series_allowed(self, tenant: str, limits: Limits) -> bool:
        """How many a batch brings is known once it is resolved: while the bucket holds
        anything they all pass, and what they owe is paid off before the next ones."""
        if not limits.new_series_per_second:
            return True
        with self._lock:
            state = self._state(tenant, limits)
            state.series.fill(limits.new_series_per_second, self._clock.monotonic_seconds())
            return state.series.level > 0

    def registered(self, tenant: str, series_count: int) -> None:
        """New series that a batch brought, whether or not its samples are stored."""
        if not series_count:
            return
        self._telemetry.series_registered.inc(series_count)
        limits = self._limits.of(tenant)
        if limits.new_series_per_second:
            with self._lock:
                self._state(tenant, limits).series.level -= series_count

    def new_series_exhausted(self, tenant: str) -> Exhausted:
        """The refusal of a batch whose new series were not allowed; counts it."""
        limits = self._limits.of(tenant)
        limit = "new_series_per_second"
        with self._lock:
            state = self._state(tenant, limits)
            _count(state.usage.requests_refused, limit, 1)
            state.changed = True
            level = state.series.level
        rate = limits.new_series_per_second
        excess = Excess(limit, f"tenant {tenant}", rate, rate - level, (1 - level) / rate)
        return Exhausted(
            f"cannot register a new series for tenant {tenant!r}: limit {limit} is {rate}, and "
            f"{-level:.0f} more than that were registered already",
            excess,
        )

    def accepted(self, tenant: str, sample_count: int) -> None:
        self._telemetry.samples_accepted.inc(sample_count)
        with self._lock:
            # It was admitted a moment ago: its limits need not be read for the state to be there.
            state = self._states.get(tenant) or self._state(tenant, self._limits.of(tenant))
            state.usage.samples_accepted += sample_count
            state.changed = True

    def refused(self, tenant: str, reason: str, sample_count: int) -> None:
        """``reason`` is a fixed word, never text from the request."""
        self._telemetry.samples_refused.labels(reason).inc(sample_count)
        limits = self._limits.of(tenant)
        with self._lock:
            state = self._state(tenant, limits)
            _count(state.usage.samples_refused, reason, sample_count)
            state.changed = True

    def query(self, tenant: str) -> QueryBudget:
        limits = self._limits.of(tenant)
        return QueryBudget(
            series_max=limits.query_series or NO_LIMIT,
            samples_max=limits.query_samples or NO_LIMIT,
            seconds_max=limits.query_seconds,
        )

    def queried(self, tenant: str, outcome: str, samples_read: int) -> None:
        """``outcome`` is a fixed word: ``answered``, ``failed``, ``cancelled`` or a limit."""
        self._telemetry.queries(outcome).inc()
        self._telemetry.query_samples_read.inc(samples_read)
        limits = self._limits.of(tenant)
        with self._lock:
            state = self._state(tenant, limits)
            _count(state.usage.queries, outcome, 1)
            state.usage.query_samples_read += samples_read
            state.changed = True

    def active_count(self) -> int:
        return len(self._states)

    def active(self) -> list[str]:
        with self._lock:
            return list(self._states)

    def changed(self) -> Iterator[tuple[str, Usage, int]]:
        """(tenant, usage, samples of this day) of tenants that did something since last asked."""
        with self._lock:
            today = self._today()
            found = [
                (tenant, _copied(state.usage), state.day_samples if state.day == today else 0)
                for tenant, state in self._states.items()
                if state.changed
            ]
            for tenant, _, _ in found:
                self._states[tenant].changed = False
        return iter(found)

    def day_counts(self) -> tuple[int, dict[str, int]]:
        """(day, samples admitted by each tenant with a daily limit), to outlive a restart."""
        with self._lock:
            today = self._today()
            return today, {
                tenant: state.day_samples
                for tenant, state in self._states.items()
                if state.day == today and state.day_is_limited
            }

    def restore_day_counts(self, day: int, counts: dict[str, int]) -> None:
        """What :meth:`day_counts` gave before a restart; counts of another day are nothing."""
        if day != self._today():
            return
        for tenant, count in counts.items():
            limits = self._limits.of(tenant)
            with self._lock:
                state = self._state(tenant, limits)
                state.day, state.day_samples = day, count

    def _check_day(self, tenant: str, state: _State, limits: Limits, sample_count: int) -> None:
        today = self._today()
        if state.day != today:
            state.day, state.day_samples = today, 0
        state.day_is_limited = bool(limits.samples_per_day)
        if limits.samples_per_day and state.day_samples + sample_count > limits.samples_per_day:
            tomorrow_ns = (today + 1) * DAY_SECONDS * SECOND_NS
            raise _exhausted(
                tenant,
                "samples_per_day",
                sample_count=sample_count,
                value=limits.samples_per_day,
                current=state.day_samples,
                retry_after_seconds=(tomorrow_ns - self._clock.now_ns()) / SECOND_NS,
            )

    def _take_samples(self, tenant: str, state: _State, limits: Limits, sample_count: int) -> None:
        rate = limits.samples_per_second
        if not rate:
            return
        state.samples.fill(rate, self._clock.monotonic_seconds())
        wait_seconds = state.samples.wait_seconds(sample_count, rate)
        if wait_seconds > 0:
            raise _exhausted(
                tenant,
                "samples_per_second",
                sample_count=sample_count,
                value=rate,
                current=rate - state.samples.level / BURST_SECONDS,
                retry_after_seconds=wait_seconds,
            )
        state.samples.level -= sample_count

    def _today(self) -> int:
        return self._clock.now_ns() // (DAY_SECONDS * SECOND_NS)

    def _state(self, tenant: str, limits: Limits) -> _State:
        now = self._clock.monotonic_seconds()
        if now - self._swept_seconds >= SWEEP_SECONDS:
            self._sweep(now)
        state = self._states.get(tenant)
        if state is None:
            if len(self._states) >= TENANTS_ACTIVE_MAX:
                raise _too_many_tenants(tenant)
            state = self._states[tenant] = _State(limits, now)
        state.seen_seconds = now
        return state

    def _sweep(self, now_seconds: float) -> None:
        """Lets go of idle tenants; not of a day's count that a limit still needs, nor of usage
        that nobody has read yet."""
        self._swept_seconds = now_seconds
        idle = [
            tenant
            for tenant, state in self._states.items()
            if now_seconds - state.seen_seconds >= IDLE_SECONDS
            and not state.changed
            and not (state.day == self._today() and state.day_is_limited)
        ]
        for tenant in idle:
            del self._states[tenant]
            self._limits.forget(tenant)


def _count(counts: dict[str, int], key: str, count: int) -> None:
    counts[key] = counts.get(key, 0) + count


def _copied(usage: Usage) -> Usage:
    return Usage(
        usage.samples_accepted,
        dict(usage.samples_refused),
        dict(usage.requests_refused),
        dict(usage.queries),
        usage.query_samples_read,
    )


def _exhausted(
    tenant: str,
    limit: str,
    *,
    sample_count: int,
    value: float,
    current: float,
    retry_after_seconds: float,
) -> Exhausted:
    excess = Excess(limit, f"tenant {tenant}", value, current, retry_after_seconds)
    return Exhausted(
        f"cannot write {sample_count} samples for tenant {tenant!r}: "
        f"limit {limit} is {value:g}, current {current:g}",
        excess,
    )


def _too_many_tenants(tenant: str) -> Exhausted:
    excess = Excess("tenants_active_max", SERVER, TENANTS_ACTIVE_MAX, TENANTS_ACTIVE_MAX, 60.0)
    return Exhausted(
        f"cannot serve tenant {tenant!r}: {TENANTS_ACTIVE_MAX} tenants are active", excess
    )
