"""What ``api.Database`` stands on: an engine in this process or a server behind HTTP."""

from collections.abc import Sequence
from typing import Protocol

from orrery.client.columns import Points
from orrery.client.results import Result, Written
from orrery.model.effects import Labels
from orrery.model.receipts import Receipt
from orrery.model.selector import Matcher

TIME_MIN_NS = -(2**63)
TIME_MAX_NS = 2**63 - 1

Selectors = Sequence[tuple[Matcher, ...]]


class Side(Protocol):
    """Times are nanoseconds, ranges inclusive. Calls block and may come from any thread."""

    def write(self, points: Sequence[Points]) -> Written:
        """Durable and readable when it returns; ``PartlyWritten`` where some are refused."""

    def query(self, text: str, *, time_ns: int | None, raw_only: bool = False) -> Result:
        """At ``time_ns``, or now by the clock of the side that holds the data."""

    def query_range(
        self, text: str, *, start_ns: int, end_ns: int, step_ns: int, raw_only: bool = False
    ) -> Result: ...

    def read(self, matchers: tuple[Matcher, ...], *, start_ns: int, end_ns: int) -> Result:
        """Raw samples; a ``matrix``."""

    def series(self, selectors: Selectors, *, start_ns: int, end_ns: int) -> Sequence[Labels]: ...

    def label_values(
        self, label: str | None, selectors: Selectors, *, start_ns: int, end_ns: int
    ) -> Sequence[str]:
        """The names of labels where ``label`` is None."""

    def delete(self, matchers: tuple[Matcher, ...], *, start_ns: int, end_ns: int) -> Receipt: ...

    def flush(self) -> None:
        """Brings what is buffered for reads into blocks; nothing is lost without it."""

    def close(self) -> None: ...
