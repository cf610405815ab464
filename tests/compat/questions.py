"""Seeded PromQL and the data it asks about, for ``test_differences``.

The data has what real data has: counters that reset, gaps, samples off the beat, staleness
markers, NaN and infinities, classic histograms, names that are not plain ASCII.
"""

import math
import random
import struct
from collections.abc import Iterator

Samples = list[tuple[int, float]]
Series = tuple[dict[str, str], Samples]

START_MS = 1_700_000_000_000
EVERY_MS = 15_000
COUNT = 100
END_MS = START_MS + COUNT * EVERY_MS
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]


def dataset(seed: int) -> list[Series]:
    chance = random.Random(seed)
    series: list[Series] = []
    for instance in ("a", "b", "c"):
        for job in ("api", "web"):
            place = {"instance": instance, "job": job}
            for code in ("200", "404", "500"):
                labels = {"__name__": "requests_total", "code": code, **place}
                series.append((labels, counter(chance)))
            series.append(({"__name__": "temperature", "room": "x" + instance, **place},
                           gauge(chance, odd=True)))  # fmt: skip
            series.append(({"__name__": "load", **place}, gauge(chance, odd=False)))
            series.append(({"__name__": "up", **place}, presence(chance)))
            version = chance.choice(["1.0", "1.1"])
            labels = {"__name__": "build_info", "version": version, **place}
            series.append((labels, [(time, 1.0) for time in beats(chance)]))
            series.extend(histogram(chance, {"__name__": "latency_seconds_bucket", **place}))
    series.append(({"__name__": "wärme.grad", "host.name": "ä b"}, gauge(chance, odd=True)))
    return series


def beats(chance: random.Random) -> Iterator[int]:
    """Times of samples: a beat with jitter, gaps and an outage."""
    jitter = chance.choice([0, 0, 40])
    outage = range(*sorted(chance.sample(range(COUNT), 2))) if chance.random() < 0.3 else ()
    for step in range(COUNT):
        if step in outage or chance.random() < 0.03:
            continue
        yield START_MS + step * EVERY_MS + chance.randint(0, jitter)


def counter(chance: random.Random) -> Samples:
    total, samples = float(chance.randint(0, 1000)), []
    for time in beats(chance):
        total = 0.0 if chance.random() < 0.03 else total + chance.randint(0, 40)
        samples.append((time, total))
    return samples


def gauge(chance: random.Random, *, odd: bool) -> Samples:
    level, samples = chance.uniform(-50, 50), []
    for time in beats(chance):
        level += chance.gauss(0, 3)
        value = round(level, 3)
        if odd and chance.random() < 0.06:
            value = chance.choice([math.nan, math.inf, -math.inf, STALE, STALE, 0.0, -0.0])
        samples.append((time, value))
    return samples


def presence(chance: random.Random) -> Samples:
    return [(time, STALE if chance.random() < 0.05 else float(chance.random() < 0.9))
            for time in beats(chance)]  # fmt: skip


def histogram(chance: random.Random, labels: dict[str, str]) -> Iterator[Series]:
    bounds = ["0.1", "0.5", "1", "2.5", "+Inf"]
    counts = [0.0] * len(bounds)
    rows: list[Samples] = [[] for _ in bounds]
    for time in beats(chance):
        for _ in range(chance.randint(0, 20)):
            for place in range(chance.randrange(len(bounds)), len(bounds)):
                counts[place] += 1
        for row, count in zip(rows, counts, strict=True):
            row.append((time, count))
    for bound, row in zip(bounds, rows, strict=True):
        yield {**labels, "le": bound}, row


NAMES = ["requests_total", "temperature", "load", "up", "build_info", "latency_seconds_bucket"]
ODD_SELECTORS = ['{__name__=~"load|up"}', '{__name__=~".*_total", code="200"}',
                 '{job="api", __name__!~"latency.*"}', "no_such_metric"]  # fmt: skip
COUNTER_WINDOWS = ["rate", "increase", "irate", "resets", "delta", "idelta"]
WINDOWS = [
    *COUNTER_WINDOWS, "deriv", "changes", "avg_over_time", "min_over_time", "max_over_time",
    "sum_over_time", "count_over_time", "last_over_time", "present_over_time",
    "stddev_over_time", "stdvar_over_time", "absent_over_time", "ts_of_max_over_time",
    "ts_of_min_over_time", "ts_of_last_over_time",
]  # fmt: skip
MAPS = [
    "abs", "ceil", "floor", "sqrt", "ln", "log2", "log10", "sgn", "deg", "rad", "sin", "cos",
    "tan", "asin", "acos", "atan", "tanh", "asinh", "acosh", "atanh", "round",
    "timestamp", "absent", "sort", "sort_desc", "-", "+",
]  # fmt: skip
# Outermost alone: they blow the last digit up to a difference that an angle then shows.
GROWING = ["exp", "sinh", "cosh"]
# Of numbers alone: what NaN and infinity give depends on the processor Prometheus runs on.
CALENDAR = [
    "minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month",
    "year",
]  # fmt: skip
AGGREGATES = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]
GROUPINGS = ["", "", " by (job)", " by (instance, job)", " without (code)", " by (room)",
             " without (instance)", " by (nothing)", " by (__name__)", " by (le, job)"]  # fmt: skip
ARITHMETIC = ["+", "-", "*", "/", "%", "^", "atan2"]
COMPARISONS = ["==", "!=", ">", "<", ">=", "<="]
MATCHINGS = ["", "", " on (instance)", " on (instance, job)", " ignoring (code)",
             " ignoring (room, version, code, le)", " on ()"]  # fmt: skip
GROUPS = ["", "", " group_left", " group_left (version)", " group_right", " group_right (room)"]
MATCHERS = ['job="api"', 'job!="api"', 'instance=~"a|b"', 'instance!~"a"', 'code="200"', 'room=""',
            'nothing=""', 'code=~".*"', 'code=~"[45]..", code!=""', 'le="+Inf"',
            'instance=~"(?i)A"', 'job=""']  # fmt: skip
DURATIONS = ["15s", "20s", "45s", "1m", "2m", "5m", "7m30s", "10m"]
NUMBERS = ["0", "1", "2", "-1", "0.5", "NaN", "Inf", "-Inf", "1e3", "100", "3.7"]


class Questions:
    """``vector``, ``scalar`` and ``window`` make an expression of at most that depth."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def one_of(self, given: list[str]) -> str:
        return self.chance.choice(given)

    def time_ms(self) -> int:
        """Half of the times are those of samples: the edges of windows meet them there."""
        step, off = self.chance.randint(-2, COUNT + 20), self.chance.randint(0, EVERY_MS)
        return START_MS + step * EVERY_MS + (off if self.chance.random() < 0.5 else 0)

    def question(self) -> str:
        depth = self.chance.choice([1, 1, 2, 2, 3])
        roll = self.chance.random()
        if roll < 0.05:
            return self.scalar(depth)
        if roll < 0.08:
            return f"{self.one_of(GROWING)}(clamp_max({self.vector(depth - 1)}, 300))"
        return self.chosen(depth) if roll < 0.13 else self.vector(depth)

    def selector(self) -> str:
        roll = self.chance.random()
        if roll < 0.03:
            return '{"wärme.grad"}'
        if roll < 0.1:
            return self.one_of(ODD_SELECTORS)
        count = self.chance.choice([0, 0, 0, 1, 1, 2])
        inside = ", ".join(self.one_of(MATCHERS) for _ in range(count))
        return self.one_of(NAMES) + (f"{{{inside}}}" if inside else "")

    def modifiers(self) -> str:
        text = ""
        if self.chance.random() < 0.15:
            text += " offset " + self.one_of(["30s", "2m", "-1m", "-17s", "10m"])
        elif self.chance.random() < 0.1:
            at = START_MS / 1000 + self.chance.randint(-60, COUNT * EVERY_MS // 1000)
            text += " @ " + self.one_of([f"{at:.3f}", "start()", "end()"])
        return text

    def window(self, depth: int) -> str:
        if depth > 1 and self.chance.random() < 0.3:
            step = self.one_of(["", "15s", "20s", "1m"])
            inner = f"({self.vector(depth - 1)})"
            return f"{inner}[{self.one_of(DURATIONS)}:{step}]{self.modifiers()}"
        return f"{self.selector()}[{self.one_of(DURATIONS)}]{self.modifiers()}"

    def windowed(self, depth: int) -> str:
        window = self.window(depth)
        roll = self.chance.random()
        if roll < 0.06:
            return f"quantile_over_time({self.scalar(0)}, {window})"
        if roll < 0.12:
            return f"predict_linear({window}, {self.scalar(0)})"
        if roll < 0.15:
            return f"double_exponential_smoothing({window}, 0.{self.chance.randint(1, 9)}, 0.3)"
        return f"{self.one_of(WINDOWS)}({window})"

    def vector(self, depth: int) -> str:
        if depth <= 0:
            return self.selector() + self.modifiers()
        choices = [self.windowed, self.windowed, self.mapped, self.aggregated, self.aggregated,
                   self.binary, self.binary, self.with_scalar, self.calendar, self.labelled,
                   self.quantiles, self.clamped]  # fmt: skip
        return self.chance.choice(choices)(depth)

    def scalar(self, depth: int) -> str:
        if depth <= 0 or self.chance.random() < 0.5:
            return self.one_of(NUMBERS)
        if self.chance.random() < 0.3:
            return f"scalar({self.vector(depth - 1)})"
        if self.chance.random() < 0.3:
            return self.one_of(["time()", "pi()"])
        operator = self.one_of([*ARITHMETIC, *(f"{one} bool" for one in COMPARISONS)])
        return f"({self.scalar(depth - 1)} {operator} {self.scalar(depth - 1)})"

    def mapped(self, depth: int) -> str:
        return f"{self.one_of(MAPS)}({self.vector(depth - 1)})"

    def calendar(self, _: int) -> str:
        source = self.one_of(["", "load", "load * 1e7", "requests_total * 1e6", "timestamp(up)"])
        return f"{self.one_of(CALENDAR)}({source})"

    def clamped(self, depth: int) -> str:
        inner, low, high = self.vector(depth - 1), self.scalar(1), self.scalar(0)
        return self.one_of([f"clamp({inner}, {low}, {high})", f"clamp_min({inner}, {low})",
                            f"clamp_max({inner}, {low})", f"round({inner}, {low})",
                            f"vector({low})"])  # fmt: skip

    def aggregated(self, depth: int) -> str:
        inner, grouping = self.vector(depth - 1), self.one_of(GROUPINGS)
        roll = self.chance.random()
        if roll < 0.1:
            return f"quantile{grouping}({self.scalar(0)}, {inner})"
        if roll < 0.17:
            # Of values as stored: their last digits are a label.
            return f'count_values{grouping}("value", {self.selector()})'
        return f"{self.one_of(AGGREGATES)}{grouping}({inner})"

    def chosen(self, depth: int) -> str:
        """Outermost alone: which of equal values are chosen is nowhere promised."""
        inner, grouping = self.vector(depth - 1), self.one_of(GROUPINGS)
        return f"{self.one_of(['topk', 'bottomk'])}{grouping}({self.chance.randint(0, 4)}, {inner})"

    def binary(self, depth: int) -> str:
        left, right = self.vector(depth - 1), self.vector(depth - 1)
        if self.chance.random() < 0.25:
            operator = self.one_of(["and", "or", "unless"]) + self.one_of(MATCHINGS)
        else:
            operator = self.one_of([*ARITHMETIC, *COMPARISONS])
            if operator in COMPARISONS and self.chance.random() < 0.4:
                operator += " bool"
            matching = self.one_of(MATCHINGS)
            operator += matching + (self.one_of(GROUPS) if matching else "")
        return f"({left}) {operator} ({right})"

    def with_scalar(self, depth: int) -> str:
        operator = self.one_of([*ARITHMETIC, *COMPARISONS])
        if operator in COMPARISONS and self.chance.random() < 0.4:
            operator += " bool"
        sides = [f"({self.vector(depth - 1)})", self.scalar(1)]
        self.chance.shuffle(sides)
        return f"{sides[0]} {operator} {sides[1]}"

    def labelled(self, depth: int) -> str:
        inner = self.vector(depth - 1)
        return self.one_of([
            f'label_replace({inner}, "host", "$1-x", "instance", "(a|b)")',
            f'label_replace({inner}, "job", "", "job", ".*")',
            f'sort_by_label({inner}, "job", "instance")',
            f'sort_by_label_desc(latency_seconds_bucket{self.modifiers()}, "le")',
            f'label_join({inner}, "both", "-", "instance", "job", "nothing")',
            f'label_replace({inner}, "__name__", "n_$1", "__name__", "(.*)")',
        ])  # fmt: skip

    def quantiles(self, depth: int) -> str:
        buckets = f"latency_seconds_bucket[{self.one_of(DURATIONS)}]{self.modifiers()}"
        grouping = self.one_of([" by (le)", " by (le, job)", " without (job)", " by (job)"])
        inner = self.one_of([f"rate({buckets})", f"sum{grouping} (rate({buckets}))",
                             "latency_seconds_bucket", self.vector(depth - 1)])  # fmt: skip
        number = self.one_of(NUMBERS)
        return self.one_of([f"histogram_quantile({number}, {inner})",
                            f"histogram_quantile(0.9, {inner})",
                            f"histogram_fraction(0.2, {number}, {inner})"])  # fmt: skip
