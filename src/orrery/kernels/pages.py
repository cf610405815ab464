"""Pages: one column of times or numeric values as bytes (docs/formats/page.md).

Blocks are written and read in Rust; these doors are for ``store.inspect``, tests and the bench.
Kinds are the persisted numbers: 1 float64, 2 int64, 3 uint64, 4 bool.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from orrery import _core

Effort = Literal["fast", "small"]

PAGE_SAMPLES_MAX = _core.PAGE_SAMPLES_MAX


def encode_times(times_ns: NDArray[np.int64], *, effort: Effort) -> bytes:
    """One page of 1 to ``PAGE_SAMPLES_MAX`` times."""
    return _core.encode_times(np.ascontiguousarray(times_ns, dtype=np.int64), effort)


def decode_times(page: bytes) -> NDArray[np.int64]:
    return _core.decode_times(page)


def encode_values(kind: int, bits: NDArray[np.uint64], *, effort: Effort) -> bytes:
    """One page of values, given as the bits of their kind (``floats.view(np.uint64)``)."""
    return _core.encode_values(kind, np.ascontiguousarray(bits, dtype=np.uint64), effort)


def decode_values(kind: int, page: bytes) -> NDArray[np.uint64]:
    """The bits of a page's values; ``Corrupt`` where the bytes are not such a page."""
    return _core.decode_values(kind, page)
