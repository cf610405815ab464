"""Time windows: where a flush cuts its blocks, and which window a block lies in. Pure arithmetic,
called by flush and compaction."""

from itertools import groupby

from orrery.store.bounds import DAY_NS, HOUR_NS, MINUTE_NS, WINDOW_NS

LEVELS_NS = (
    WINDOW_NS,
    12 * HOUR_NS,
    2 * DAY_NS,
    16 * DAY_NS,
    128 * DAY_NS,
    1024 * DAY_NS,
    8192 * DAY_NS,
)
"""Each is a multiple of the one before, so that windows nest."""

CLOSE_MARGIN_NS = 10 * MINUTE_NS

Range = tuple[int, int]
"""Inclusive bounds in nanoseconds."""


def level_of(min_ns: int, max_ns: int) -> int:
    """The first level with one window that holds both; ``len(LEVELS_NS)`` where none does."""
    for level, width in enumerate(LEVELS_NS):
        if min_ns // width == max_ns // width:
            return level
    return len(LEVELS_NS)


def split(min_ns: int, max_ns: int, width_ns: int) -> list[Range]:
    """The range cut at multiples of ``width_ns``."""
    first, last = min_ns // width_ns, max_ns // width_ns
    return [
        (max(min_ns, number * width_ns), min(max_ns, (number + 1) * width_ns - 1))
        for number in range(first, last + 1)
    ]


def flush_ranges(
    min_ns: int, max_ns: int, *, now_ns: int, blocks_max: int, window_ns: int = WINDOW_NS
) -> list[Range]:
    """Where a flush cuts: single windows where they are few; else single windows around the
    present and ever wider ones into the past, so that scattered old samples make few blocks."""
    if max_ns // window_ns - min_ns // window_ns < blocks_max:
        return split(min_ns, max_ns, window_ns)
    anchor_ns = now_ns if min_ns <= now_ns <= max_ns else max_ns
    cut_ns = (anchor_ns // window_ns + 1) * window_ns
    ranges = [(cut_ns, max_ns)] if cut_ns <= max_ns else []
    end_ns = min(max_ns, cut_ns - 1)
    for width_ns in (window_ns, window_ns, *LEVELS_NS[1:6]):
        if end_ns < min_ns or len(ranges) == blocks_max - 1:
            break
        start_ns = max(min_ns, end_ns // width_ns * width_ns)
        ranges.append((start_ns, end_ns))
        end_ns = start_ns - 1
    if end_ns >= min_ns:
        ranges.append((min_ns, end_ns))
    return sorted(ranges)


def is_settled(max_ns: int, *, now_ns: int) -> bool:
    """Whether a block that ends there is so old that it is merged with its like only."""
    return max_ns + LEVELS_NS[1] + CLOSE_MARGIN_NS <= now_ns


def join_settled(ranges: list[Range], *, now_ns: int) -> list[Range]:
    """Ranges of one settled window of the first merged level as one: what is read in late is
    written at once as compaction would leave it."""

    def window(numbered: tuple[int, Range]) -> tuple[int, int]:
        number, (min_ns, max_ns) = numbered
        is_joined = is_settled(max_ns, now_ns=now_ns) and level_of(min_ns, max_ns) <= 1
        return (0, min_ns // LEVELS_NS[1]) if is_joined else (1, number)

    groups = [[one for _, one in group] for _, group in groupby(enumerate(ranges), key=window)]
    return [(group[0][0], group[-1][1]) for group in groups]
