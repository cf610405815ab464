"""What one query may use: the core's meter and a bound on the values held in memory."""

from dataclasses import dataclass, field

from orrery.clock import Clock
from orrery.errors import Excess, Exhausted, OrreryError, Unavailable
from orrery.query.contract import Meter, MeterOf, QueryLimits

CELLS_MAX = 50_000_000
"""Values one query may hold: 450 MB with their presence."""


class TimedOut(Exhausted):
    """The query ran longer than it may."""


class Cancelled(Unavailable):
    """The caller left, or asked for the end."""


@dataclass(slots=True)
class Budget:
    """Mutable: counts what is answered. ``cancel`` comes from any thread, the rest from the one
    that runs the query."""

    meter: Meter
    deadline_seconds: float
    timeout_seconds: float
    cells_max: int
    clock: Clock
    cells_answered: int = 0
    cancelled: bool = field(default=False)

    def cancel(self) -> None:
        self.cancelled = True
        self.meter.cancel()

    def take_samples(self, count: int) -> None:
        """Raw samples handed to a language, which keeps them all; each is two cells. Values a step
        pass through aggregations batch by batch: languages bound what they keep of them."""
        self.cells_answered += 2 * count
        if self.cells_answered > self.cells_max:
            excess = Excess("query_cells_max", "query", self.cells_max, self.cells_answered)
            raise Exhausted(
                f"cannot answer query: it holds more than {self.cells_max // 2} raw samples; "
                "select fewer series or a shorter range",
                excess,
            )

    def explain(self, error: OrreryError) -> OrreryError:
        """The meter stops work for several reasons; wires answer them differently."""
        if self.cancelled:
            return Cancelled("query was canceled in expression evaluation")
        if self.clock.monotonic_seconds() >= self.deadline_seconds:
            return TimedOut("query timed out in expression evaluation")
        return error


def open_budget(
    limits: QueryLimits,
    *,
    meter_of: MeterOf,
    clock: Clock,
    timeout_seconds: float | None = None,
    cells_max: int = CELLS_MAX,
) -> Budget:
    """The clock starts now: time in the queue counts. A caller may only shorten the time."""
    seconds = limits.seconds_max
    if timeout_seconds is not None:
        seconds = min(seconds, timeout_seconds)
    return Budget(
        meter=meter_of(
            samples_max=limits.samples_max,
            series_max=limits.series_max,
            deadline_seconds=seconds,
        ),
        deadline_seconds=clock.monotonic_seconds() + seconds,
        timeout_seconds=seconds,
        cells_max=cells_max,
        clock=clock,
    )
