"""Single samples that the server makes itself: its host's metrics, a tenant's usage."""

from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from orrery.model.effects import Labels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WRITE_SECONDS_MAX = 60.0
"""How long whoever writes points waits for them."""

Point = tuple[str, Labels, float]
"""(name, labels, value)"""


class WritePoints(Protocol):
    """Writes one sample a series, all at one time; not counted as the tenant's usage. The future
    completes once they are logged and readable."""

    def __call__(
        self,
        tenant: str,
        *,
        series: Sequence[tuple[str, Labels]],
        time_ns: int,
        values: "NDArray[np.float64]",
    ) -> "Future[Any]": ...
