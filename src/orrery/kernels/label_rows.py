"""Label sets of many series, kept in the core until somebody looks into them.

Made by selections; languages pass them on, and take this module's functions where plain sequences
of label sets may come as well.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orrery._core import LabelRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from orrery.model.effects import Labels

__all__ = ["LabelRows", "group_rows", "join_rows", "order_rows", "take_rows"]


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


def group_rows(labels: "Sequence[Labels]") -> "tuple[NDArray[np.int64], Sequence[Labels]]":
    """For each label set the number of its group, and the groups in the order they are seen."""
    if isinstance(labels, LabelRows):
        return labels.groups()
    numbers: dict[Labels, int] = {}
    index = [numbers.setdefault(key, len(numbers)) for key in labels]
    return np.array(index, dtype=np.int64), list(numbers)


def order_rows(labels: "Sequence[Labels]") -> "NDArray[np.int64]":
    """Places of the label sets in rising order."""
    if isinstance(labels, LabelRows):
        return labels.order()
    return np.array(sorted(range(len(labels)), key=labels.__getitem__), dtype=np.int64)
