"""Label sets of many series, kept in the core until somebody looks into them.

Made by selections; languages pass them on, and take this module's functions where plain sequences
of label sets may come as well.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orrery._core import LabelRows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from orrery.model.effects import Labels

__all__ = ["LabelRows", "join_rows", "take_rows"]


def take_rows(labels: "Sequence[Labels]", places: "NDArray[np.int64]") -> "Sequence[Labels]":
    """The label sets at ``places``, in their order."""
    if isinstance(labels, LabelRows):
        return labels.take(places)
    return [labels[place] for place in places.tolist()]


def join_rows(parts: "Sequence[Sequence[Labels]]") -> "Sequence[Labels]":
    """The label sets of all parts, one part after the other."""
    rows = [part for part in parts if isinstance(part, LabelRows)]
    if len(rows) == len(parts) and rows:
        return LabelRows.concatenate(rows)
    return [labels for part in parts for labels in part]
