"""What a language may ask for. A language is a generator: it yields these and is sent answers.

``query/run`` answers them; nothing here touches storage. Times are nanoseconds since 1970 UTC.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from orrery.model.selector import Selector

Labels = tuple[tuple[str, str], ...]
"""Label pairs sorted by name; for PromQL ``__name__`` is one of them."""


@dataclass(frozen=True, slots=True)
class Window:
    """A kernel to run over each series while its pages are read.

    For each step at ``start_ns + i * step_ns`` the kernel sees the samples in
    ``(step - offset - range, step - offset]``. ``function`` names a kernel of ``kernels.window``.
    """

    function: str
    start_ns: int
    step_ns: int
    step_count: int
    range_ns: int
    offset_ns: int = 0
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Fetch:
    """Samples (or one value a step, where ``window`` is given) of the selected series.

    Answered with :class:`SampleFrames` or :class:`StepFrames`, a bounded batch of series;
    :class:`More` asks for the next batch. ``resolution_unit_ns``: buckets of coarse data whose
    length divides it answer ``window`` as the samples would, others are taken only where samples
    are gone; None accepts samples alone.
    """

    selector: "Selector"
    start_ns: int
    end_ns: int
    window: Window | None = None
    resolution_unit_ns: int | None = None


class Compute(Struct, frozen=True):
    """An expression the core can evaluate in one call (``fused`` is a ``kernels.fused.Fused``).

    Answered with :class:`StepFrames` that has no more batches and no rows without a value, in the
    order of labels where ``is_ordered``; or with None where the language has to evaluate it itself.
    """

    fused: object
    start_ns: int
    step_ns: int
    step_count: int
    is_ordered: bool = False


@dataclass(frozen=True, slots=True)
class More:
    """The next batch of a fetch; yielded only while ``answer.more`` is not None."""

    cursor: object


@dataclass(frozen=True, slots=True)
class Mixed:
    """The samples of one series that holds histograms, ascending: numbers as ``values``, and
    payloads (docs/formats/histogram.md), None where a number stands."""

    times_ns: "NDArray[np.int64]"
    values: "NDArray[np.float64]"
    payloads: "Sequence[bytes | None]"


class StepFrames(Struct, frozen=True, eq=False):
    """One value a step: ``values`` and ``present`` have shape (series, steps).

    A kernel sees numbers alone: ``mixed`` has the samples of rows in which it met histograms, from
    the start of the first window to the end of the last.
    """

    labels: "Sequence[Labels]"
    values: "NDArray[np.float64]"
    present: "NDArray[np.bool_]"
    more: object | None = None
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    mixed: "Mapping[int, Mixed]" = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SampleFrames:
    """Raw samples: series ``i`` owns ``times_ns[offsets[i]:offsets[i+1]]`` and the same of
    ``values`` (float64; kinds are converted as docs/reading-mixed-kinds says); ``mixed`` has all
    samples of those that hold histograms."""

    labels: "Sequence[Labels]"
    offsets: "NDArray[np.int64]"
    times_ns: "NDArray[np.int64]"
    values: "NDArray[np.float64]"
    more: object | None = None
    warnings: tuple[str, ...] = ()
    mixed: "Mapping[int, Mixed]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Find:
    """The label sets of the series selected by any of ``selectors``; answered with a tuple of
    :data:`Labels`."""

    selectors: tuple["Selector", ...]
    start_ns: int
    end_ns: int
    series_max: int | None = None


@dataclass(frozen=True, slots=True)
class Values:
    """Values of ``label``, or the names of labels where it is None; answered with a sorted tuple
    of str."""

    label: str | None
    selectors: tuple["Selector", ...]
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Write:
    """Samples a language stores (WarpScript's UPDATE); answered with the acknowledgement."""

    batch: object


@dataclass(frozen=True, slots=True)
class Delete:
    selector: "Selector"
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Emit:
    """A part of the result that may leave at once; answered with None."""

    frames: StepFrames | SampleFrames


Effect = Fetch | Compute | More | Find | Values | Write | Delete | Emit
