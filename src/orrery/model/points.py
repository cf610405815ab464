"""Single samples that the server makes itself: its host's metrics, a tenant's usage."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from orrery.model.effects import Labels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Point = tuple[str, Labels, float]
"""(name, labels, value)"""


class WritePoints(Protocol):
    """Writes one sample a series, all at one time; not counted as the tenant's usage."""

    def __call__(
        self,
        tenant: str,
        *,
        series: Sequence[tuple[str, Labels]],
        time_ns: int,
        values: "NDArray[np.float64]",
    ) -> None: ...
