"""The compiled core, file by file as in ``rust/src``; only ``orrery.kernels`` imports it.

Every function releases the interpreter lock while it works. Errors are those of
``orrery.errors``.
"""

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any, Self, final, overload

import numpy as np
from numpy.typing import NDArray

# --- aggregate.rs

def aggregate(
    operation: str,
    values: NDArray[np.float64],
    present: NDArray[np.bool_],
    group_index: NDArray[np.uint32],
    group_count: int,
    parameter: NDArray[np.float64],
    *,
    meter: Meter | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]: ...

@final
class Folding:
    """An aggregation fed part by part; where its input is cut does not change the result."""

    def __new__(cls, operation: str, step_count: int) -> Folding: ...
    def add(
        self,
        values: NDArray[np.float64],
        present: NDArray[np.bool_],
        group_index: NDArray[np.uint32],
        group_count: int,
    ) -> None:
        """Rows in their order; the number of groups may only grow."""

    def result(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """A row for each group; taken once."""

def pick(
    operation: str,
    values: NDArray[np.float64],
    present: NDArray[np.bool_],
    group_index: NDArray[np.uint32],
    group_count: int,
    k: NDArray[np.float64],
    *,
    meter: Meter | None = None,
) -> NDArray[np.bool_]: ...
def histogram_quantile(
    upper_bounds: NDArray[np.float64],
    counts: NDArray[np.float64],
    present: NDArray[np.bool_],
    q: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]: ...

# --- answer.rs

def matrix_json(
    labels: LabelRows | Sequence[tuple[tuple[str, str], ...]],
    start_ms: int,
    step_ms: int,
    values: NDArray[np.float64],
    present: NDArray[np.bool_],
    held: tuple[Sequence[int], Sequence[int], Sequence[bytes]] = ...,
) -> bytes:
    """``held`` are histograms beside the values: rows, times in milliseconds and JSON objects, by
    rising row and time."""

def samples_json(
    labels: LabelRows | Sequence[tuple[tuple[str, str], ...]],
    offsets: NDArray[np.int64],
    times_ns: NDArray[np.int64],
    values: NDArray[np.float64],
    held: tuple[Sequence[int], Sequence[int], Sequence[bytes]] = ...,
) -> bytes: ...
def vector_json(
    labels: LabelRows | Sequence[tuple[tuple[str, str], ...]],
    time_ms: int,
    values: NDArray[np.float64],
    present: NDArray[np.bool_],
    held: tuple[Sequence[int], Sequence[int], Sequence[bytes]] = ...,
) -> bytes: ...
def scalar_json(time_ms: int, value: float) -> bytes: ...

# --- batch.rs

class Batch:
    """What a wire decoded a request into, on its way to the series table.

    A key stands for one series as the wire wrote it.
    """

    @property
    def sample_count(self) -> int: ...
    @property
    def key_count(self) -> int: ...
    @property
    def memory_bytes(self) -> int:
        """About what the batch holds, its body with the encoding taken off included."""

    @property
    def rejected(self) -> list[tuple[int, str]]:
        """(1-based line or series, reason) of what the decoder refused; the rest is good."""

    @property
    def refused_count(self) -> int:
        """How many points the decoder refused, listed or not; only OTLP's counts them."""

    @property
    def metadata(self) -> list[tuple[str, str, str, str]]:
        """(name, kind, help, unit) of metrics, in Prometheus' words."""

    @property
    def attributes(self) -> list[tuple[int, list[tuple[str, str]]]]:
        """(key, pairs of name and value) of what the wire says of series beside their identity;
        each series once, with what was said last."""

    def columns(self) -> dict[str, Any]:
        """Copies of the columns, for tests and inspection: ``times_ns``, ``values`` (bits) and
        ``kinds`` one a sample, and the side columns, which may be None; ``lines``, ``sample_ends``
        and ``hashes`` one a key."""

    def canonical(
        self,
        key: int,
        *,
        defaults: Sequence[tuple[str, str]] = (),
        forced: Sequence[tuple[str, str]] = (),
    ) -> bytes:
        """Canonical bytes of key ``key``; ``Invalid`` with the reason where it cannot be stored."""

    def payload(self, sample: int) -> bytes | None:
        """The value of a sample whose kind is string or bytes."""

# --- block.rs

class Block:
    """An open block file (docs/formats/block.md): mapped, its footer and tenants read."""

    @staticmethod
    def open(path: str | PathLike[str]) -> Block:
        """``Corrupt`` names file, section and offset; ``Invalid`` a version of a later release."""

    def source(self, order: int, deletes_through: int) -> Source:
        """What queries and compaction read: with its order among sources, and the offset up to
        which deletes are out of it already."""

    def tenants(self) -> BlockTenants:
        """Who has samples here."""

    def tenant_rows(self) -> dict[str, dict[str, int]]:
        """Each tenant's ``series_count sample_count page_bytes min_ns max_ns``."""

    def verify(self) -> None:
        """Reads and checks every byte; ``Corrupt`` names the first fault."""

    def damage(self) -> list[tuple[str | None, int, int, str]]:
        """(tenant or None for all, first time, last time, cause) of each place that cannot be
        read, up to 64 of them; empty where all is well."""

    def summary(self) -> dict[str, Any]:
        """``version resolution_ns offset_first offset_last min_ns max_ns sample_count series_count
        file_bytes`` and ``bytes_by_section``."""

class BlockTenants:
    """A collection of names, looked for in the block's file when asked for."""

    def __len__(self) -> int: ...
    def __contains__(self, tenant: object) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...

# --- checksum.rs

def crc32c(data: bytes, *, seed: int = 0) -> int:
    """CRC32C of ``data``; ``seed`` is that of the bytes before it."""

# --- columns.rs

def decode_columns(
    series: Sequence[bytes],
    offsets: NDArray[np.int64],
    times_ns: NDArray[np.int64],
    values: NDArray[np.float64]
    | NDArray[np.int64]
    | NDArray[np.uint64]
    | NDArray[np.bool_]
    | Sequence[str]
    | Sequence[bytes],
    *,
    start_times_ns: NDArray[np.int64] | None = None,
    positions: NDArray[np.uint64] | None = None,
    elevations_mm: NDArray[np.int64] | None = None,
) -> Batch:
    """Series ``i`` (canonical bytes) owns samples ``offsets[i]:offsets[i + 1]``; the kind of the
    values is that of their type.

    Side columns are as long as the values. What a sample lacks is ``NO_START_TIME``,
    ``NO_POSITION`` or ``NO_ELEVATION``; a position is a 64-bit HHCode."""

# --- compaction.rs

class Cancellation:
    """Stops a ``write_block`` that another thread runs."""

    def __init__(self) -> None: ...
    def cancel(self) -> None: ...

def write_block(
    sources: list[Source],
    deletes: list[tuple[int, str, list[tuple[str, str, str]], int, int]],
    path: str | PathLike[str],
    *,
    min_ns: int,
    max_ns: int,
    keep: dict[str, list[tuple[list[tuple[str, str, str]], int, list[tuple[int, int]]]]],
    effort: str,
    offset_first: int = 0,
    offset_last: int = 0,
    cancellation: Cancellation | None = None,
) -> dict[str, Any] | None:
    """See ``kernels.compaction``; deletes are (offset, tenant, matchers, min_ns, max_ns)."""

def write_rollup(
    raw: list[Source],
    old: list[Source],
    deletes: list[tuple[int, str, list[tuple[str, str, str]], int, int]],
    path: str | PathLike[str],
    *,
    resolution_ns: int,
    days: list[tuple[int, int]],
    keep: dict[str, list[tuple[list[tuple[str, str, str]], int, list[tuple[int, int]]]]],
    offset_last: int = 0,
    cancellation: Cancellation | None = None,
) -> dict[str, Any] | None:
    """See ``kernels.compaction``."""

# --- decompress.rs

def decompress(encoding: str, body: bytes, *, size_bytes_max: int) -> bytes:
    """Takes off an HTTP content coding: identity, gzip, deflate, snappy (blocks) or zstd.

    ``Exhausted`` where the result is larger than ``size_bytes_max``, before it is allocated;
    ``Invalid`` where the body is broken or the encoding unknown.
    """

# --- form.rs

def parse_form(text: str) -> list[tuple[str, str]]:
    """The pairs of ``a=1&b=2``, percent-decoded, in order; empty values and repeats are kept."""

# --- fused.rs

@final
class Fused:
    """An expression that the core evaluates in one call; immutable. Each method gives a new one."""

    @staticmethod
    def window(
        matchers: Sequence[tuple[str, str, str]],
        function: str,
        parameters: Sequence[float],
        range_ns: int,
        offset_ns: int,
        keeps_name: bool,
    ) -> Fused:
        """A window function over each series of a selector."""

    def aggregate(self, operation: str, names: Sequence[str], without: bool) -> Fused: ...
    def relabel(self, target: str, template: str, source: str, pattern: str) -> Fused:
        """The label ``target`` set where ``pattern`` matches ``source``."""

    def either(self, other: Fused) -> Fused:
        """Its rows, and those of ``other`` where none of its own with the same labels is there."""

    def with_scalar(self, operator: str, scalar: float, vector_is_left: bool) -> Fused | None:
        """None for an operator that is not fused; comparisons filter."""

    def filled(self, texts: Sequence[str]) -> Fused:
        """With ``texts[n]`` in the place of matchers' values and the texts of ``relabel`` that are
        U+E000 and the number ``n``. Raises Invalid where one does not fit there."""

    @property
    def looks_up(self) -> bool:
        """Whether every matcher writes out the values that pass."""

# --- gts_input.rs

def decode_gts(
    body: bytes,
    *,
    unit_ns: int,
    now_ns: int,
    encoding: str = "identity",
    size_bytes_max: int = ...,
) -> Batch:
    """Lines of Warp 10's input format; times are in units of ``unit_ns``, lines without one get
    ``now_ns``."""

def decode_gts_meta(body: bytes, *, encoding: str = "identity", size_bytes_max: int = ...) -> Batch:
    """Lines ``class{labels}{attributes}``: keys without samples, and the attributes of each."""

# --- gts_output.rs

@final
class GtsSeries:
    """Series of some selections, in their order, as Warp 10 calls them."""

    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def add(self, selection: Selection, class_matcher: tuple[str, str] | None = None) -> None:
        """The series of ``selection``; of those the ones whose class (name, or name and field with
        a point between them) passes (operator, value)."""

    def keep(self, skip: int, count: int) -> None:
        """Leaves ``count`` series behind the first ``skip``."""

    def deduplicate(self) -> None:
        """Leaves each series once, where selections overlap."""

    def collision(self) -> tuple[bytes, bytes] | None:
        """Canonical bytes of two series that look the same here."""

    def canonical(self, at: int) -> bytes: ...
    def annotate(
        self, book: dict[bytes, Sequence[tuple[str, str]]], first: int, count: int
    ) -> None:
        """Gives series ``first`` and ``count`` on the attributes that stand in ``book`` under their
        canonical bytes. ``Invalid`` once they are being shown."""

    def names(self, first: int, count: int, *, is_json: bool, with_attributes: bool) -> bytes:
        """A line for each, or JSON objects; those behind the first have a comma before them."""

    def export(
        self,
        *,
        format: str,
        unit_ns: int,
        min_ns: int,
        max_ns: int,
        skip: int,
        count: int,
        dedup: bool,
        show_attributes: bool,
    ) -> GtsExport:
        """Their samples inside the bounds as ``text``, ``fulltext``, ``tsv``, ``fulltsv`` or
        ``json``: of each series ``count`` behind the newest ``skip``."""

@final
class GtsExport:
    def next_chunk(self, meter: Meter) -> bytes | None:
        """About a mebibyte; None where all is out. ``Invalid`` where a series holds what the format
        has no form for."""

# --- head.rs

class Generation:
    """A frozen part of the head, readable until the last holder lets it go."""

    @property
    def order(self) -> int: ...
    @property
    def sample_count(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def time_range(self) -> tuple[int, int] | None: ...
    def source(self) -> Source: ...

class Head:
    """Recent samples, in arrival order, over the series of a table; called from any thread."""

    def __init__(self, table: SeriesTable) -> None: ...
    def apply(self, resolved: Resolved, offset: int) -> None:
        """Appends a batch whose record stands at ``offset`` of the log."""

    def replay(self, record: bytes, offset: int) -> int:
        """Applies a samples, definitions or delete record again; says how many samples came.

        ``Corrupt`` where the record is damaged or names a series that nothing before it defines;
        ``Invalid`` for metadata and exemplars, which are not the head's.
        """

    def replay_run(self, records: Sequence[bytes], first_offset: int) -> int:
        """Replays records, the first of which has this offset, up to the first that is a delete or
        metadata; says how many. ``Corrupt`` names the offset of the record it stopped at."""

    def delete(
        self,
        tenant: str,
        matchers: Sequence[tuple[str, str, str]],
        min_ns: int,
        max_ns: int,
        offset: int,
    ) -> int:
        """Takes matching samples out of what was not frozen yet; says how many."""

    def freeze(self, next_offset: int) -> Generation | None:
        """Closes the active generation, which holds all before ``next_offset``; None where it is
        empty. ``Invalid`` where a later offset is already in it."""

    def release(self, generation: Generation) -> None:
        """Lets a frozen generation go, once a block holds its samples."""

    def sources(self) -> list[Source]:
        """Frozen generations from the oldest on, then the active one, of the greatest order."""

    @property
    def memory_bytes(self) -> int: ...
    @property
    def sample_count(self) -> int: ...
    @property
    def time_range(self) -> tuple[int, int] | None: ...

# --- histogram.rs

def decode_histogram(
    payload: bytes,
) -> tuple[
    int,
    int,
    float,
    float,
    float,
    float,
    tuple[NDArray[np.int64], NDArray[np.float64]],
    tuple[NDArray[np.int64], NDArray[np.float64]],
    list[float],
]:
    """Schema, reset hint, zero threshold, zero count, count, sum, positive and negative buckets
    (indexes and counts of those that hold something), custom bounds."""

def histogram_json(
    count: float, sum: float, buckets: Sequence[tuple[int, float, float, float]]
) -> bytes:
    """As Prometheus writes it; a bucket is (which ends belong to it, lower, upper, count)."""

# --- label_rows.rs

@final
class LabelRows(Sequence[tuple[tuple[str, str], ...]]):
    """Label sets as numbers of shared texts; tuples of pairs once somebody looks at them."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: int) -> tuple[tuple[str, str], ...]: ...
    @overload
    def __getitem__(self, index: slice) -> LabelRows: ...
    @property
    def memory_bytes(self) -> int: ...
    def tuples(self) -> list[tuple[tuple[str, str], ...]]:
        """All of them; made once."""

    def take(self, places: NDArray[np.int64]) -> LabelRows: ...
    def with_labels(self, names: Sequence[str], without: bool) -> LabelRows:
        """Each row with only the named labels, or without them."""

    def groups(self) -> tuple[NDArray[np.int64], LabelRows]:
        """For each row the number of its group, and the groups in the order they are seen."""

    def is_distinct(self) -> bool: ...
    def order(self) -> NDArray[np.int64]:
        """Places of the rows in rising order of their labels."""

    def values(self, label: str) -> list[str]:
        """Distinct values of a label, in the order of the rows that have it."""

    def column(self, label: str) -> list[str]:
        """Its value in each row; empty where a row has none."""

    def with_column(self, label: str, values: Sequence[str | None]) -> LabelRows:
        """The label set in each row; None keeps what is there, an empty text removes it."""

    @staticmethod
    def concatenate(parts: Sequence[LabelRows]) -> LabelRows: ...

# --- graphite.rs

def decode_graphite_lines(
    body: bytes,
    *,
    now_ns: int,
    tokens_max: int = 0,
    encoding: str = "identity",
    size_bytes_max: int = ...,
) -> tuple[Batch, list[tuple[bytes, Batch]], int]:
    """Decodes Graphite's lines, after taking off ``encoding`` as ``decompress`` does.

    (what came without a token and every refusal, a batch for each token that stands before names,
    how many values were NaN and so are left out). A time of -1 is ``now_ns``. What stands behind
    further tokens than ``tokens_max`` is refused. No reason shows a token.
    """

def decode_graphite_pickles(
    body: bytes, *, now_ns: int, tokens_max: int = 0
) -> tuple[Batch, list[tuple[bytes, Batch]], int]:
    """The same of pickles, each with its length before it: four bytes, the highest first.

    Only lists, tuples, texts and numbers are read; nothing is imported or called. Refusals name
    datapoints by their number. ``Invalid`` where the last pickle is cut off.
    """

# --- line_protocol.rs

def decode_line_protocol(
    body: bytes,
    *,
    precision_ns: int,
    now_ns: int,
    encoding: str = "identity",
    size_bytes_max: int = ...,
) -> Batch:
    """Decodes InfluxDB line protocol, after taking off ``encoding`` as ``decompress`` does.

    Times are in units of ``precision_ns``; lines without one get ``now_ns`` cut to that unit. A
    bad line is rejected, worded as InfluxDB does.
    """

# --- log_frames.rs

def frame_headers(records: list[bytes], *, offset: int, synced: int) -> list[bytes]:
    """What stands before each of ``records`` in the log, numbered from ``offset``; the header of
    an empty record is a seal."""

def scan_frames(
    data: bytes, *, position: int, offset: int
) -> tuple[list[tuple[int, int]], int, int]:
    """(payload spans of the good frames from ``position`` on, where they stop, next offset)."""

def find_witness(data: bytes, *, position: int, offset: int) -> int | None:
    """Where a good frame behind ``position`` says that the bytes there had been durable."""

# --- lost.rs

def lost_source(
    message: str,
    *,
    min_ns: int,
    max_ns: int,
    tenants: list[str] | None,
    order: int,
    deletes_through: int,
) -> Source: ...

# --- memory_source.rs

def memory_source(
    tenant: str,
    series: Sequence[bytes],
    offsets: NDArray[np.int64],
    times_ns: NDArray[np.int64],
    values: NDArray[np.float64],
    *,
    order: int = 0,
    deletes_through: int = 0,
) -> Source: ...

# --- meter.rs

@final
class Meter:
    """What one query has used and may use. Safe to share between threads.

    0 samples or series is no bound; the deadline counts from the meter's making. A limit that is
    reached raises ``Exhausted`` naming ``query_samples``, ``query_series`` or ``query_seconds``,
    a cancelled query ``Unavailable``.
    """

    def __new__(
        cls, *, samples_max: int, series_max: int, deadline_seconds: float | None = None
    ) -> Meter: ...
    def cancel(self) -> None:
        """Stops the query at its next poll; may come from any thread."""

    def keep_company(self) -> None:
        """Others ask as well: the query leaves a core to them; may come from any thread."""

    def check(self) -> None:
        """Raises where the query is cancelled or late."""

    def add_samples(self, count: int) -> None:
        """Counts samples read outside the core."""

    @property
    def samples_read(self) -> int: ...
    @property
    def rows_read(self) -> int:
        """Rows of coarse data; they count among the samples."""

    @property
    def series_read(self) -> int: ...
    @property
    def elapsed_seconds(self) -> float: ...

# --- opentsdb.rs

def decode_opentsdb(body: bytes, *, encoding: str = "identity", size_bytes_max: int = ...) -> Batch:
    """Decodes the JSON of a put request of OpenTSDB, after taking off ``encoding``.

    A bad data point is rejected by its 1-based position, worded as OpenTSDB does; what is no JSON
    of the right shape is ``Invalid``.
    """

def echo_opentsdb(
    body: bytes, positions: list[int], *, encoding: str = "identity", size_bytes_max: int = ...
) -> list[str]:
    """The data points at ``positions``, which rise, each as the JSON object that OpenTSDB shows
    beside an error: metric, timestamp, value and tags, as far as they are there."""

# --- opentsdb_lines.rs

def decode_opentsdb_lines(text: bytes) -> Batch:
    """Decodes lines of OpenTSDB's telnet form, each ``put ...`` or empty; a bad one is rejected by
    its 1-based number. A reason that begins with ``invalid value: `` is of that kind."""

def opentsdb_lines_end(text: bytes, start: int) -> int:
    """Where the run of whole lines from ``start`` on ends that ``decode_opentsdb_lines`` takes;
    ``start`` where the line there is another command."""

# --- otlp.rs

@final
class OtlpOptions:
    """How OTLP metrics become series: the settings of Prometheus' ``otlp`` section.

    ``translation`` is one of its translation strategies; ``promoted`` are the resource attributes
    that become labels of every series or, with ``promotes_all_others``, those that do not.
    """

    def __new__(
        cls,
        *,
        translation: str,
        promoted: Sequence[str] = (),
        promotes_all_others: bool = False,
        keeps_identifying: bool = False,
        has_scope_labels: bool = False,
    ) -> OtlpOptions: ...

def decode_otlp(
    body: bytes,
    *,
    options: OtlpOptions,
    is_json: bool = False,
    encoding: str = "identity",
    size_bytes_max: int = ...,
) -> Batch:
    """Decodes an ``ExportMetricsServiceRequest``, after taking off ``encoding``; ``Invalid`` where
    it is broken. Lines are data points, by their 1-based position in the request; line 0 is the
    ``target_info`` of a resource."""

# --- pages.rs

PAGE_SAMPLES_MAX: int

def encode_times(times_ns: NDArray[np.int64], effort: str) -> bytes:
    """One page of times; ``effort`` is "fast" or "small"."""

def decode_times(page: bytes) -> NDArray[np.int64]: ...
def encode_values(kind: int, values: NDArray[np.uint64], effort: str) -> bytes:
    """One page of the bits of numeric values."""

def decode_values(kind: int, page: bytes) -> NDArray[np.uint64]: ...

# --- record.rs

def record_kind(record: bytes) -> str:
    """``samples``, ``definitions``, ``metadata``, ``exemplars`` or ``delete``; ``Corrupt`` where
    the checksum is wrong or version or kind are unknown."""

def encode_delete(
    tenant: str,
    epoch: int,
    matchers: Sequence[tuple[str, str, str]],
    min_ns: int,
    max_ns: int,
) -> bytes:
    """``Invalid`` where a matcher cannot be parsed."""

def decode_delete(record: bytes) -> tuple[str, list[tuple[str, str, str]], int, int]:
    """Tenant, matchers, first and last nanosecond."""

def encode_metadata(tenant: str, epoch: int, rows: Sequence[tuple[str, str, str, str]]) -> bytes:
    """``rows`` are (name, kind, help, unit)."""

def decode_metadata(record: bytes) -> tuple[str, list[tuple[str, str, str, str]]]:
    """Tenant and rows."""

def encode_attributes(
    tenant: str, epoch: int, rows: Sequence[tuple[bytes, Sequence[tuple[str, str]]]]
) -> bytes:
    """``rows`` are (canonical bytes of a series, pairs of name and value)."""

def decode_attributes(record: bytes) -> tuple[str, list[tuple[bytes, list[tuple[str, str]]]]]:
    """Tenant and rows."""

def describe_record(record: bytes) -> dict[str, Any]:
    """Header, columns and a summary of what it holds; checks every column."""

# --- relabel.rs

def expand_matches(pattern: str, template: str, texts: list[str]) -> list[str | None]: ...
def matches_empty(pattern: str) -> bool: ...

# --- remote_write.rs

def decode_remote_write_1(
    body: bytes, *, encoding: str = "identity", size_bytes_max: int = ...
) -> Batch:
    """Decodes a ``prometheus.WriteRequest``, after taking off ``encoding``; ``Invalid`` where it
    is broken."""

def decode_remote_write_2(
    body: bytes, *, encoding: str = "identity", size_bytes_max: int = ...
) -> Batch:
    """Decodes an ``io.prometheus.write.v2.Request``, after taking off ``encoding``."""

# --- selector.rs

def check_matchers(matchers: Sequence[tuple[str, str, str]]) -> None: ...
def matcher_passes(matcher: tuple[str, str, str], values: Sequence[str]) -> list[bool]: ...

# --- series.rs

def encode_series(name: str, field: str, labels: Sequence[tuple[str, str]]) -> bytes:
    """Canonical bytes (docs/formats/series.md). ``field`` may be empty; labels come in any order,
    those with an empty value are left out. ``Invalid`` for an empty name or a repeated label."""

def parse_series(canonical: bytes) -> tuple[str, str, list[tuple[str, str]]]:
    """Name, field ("" for none) and sorted labels; ``Corrupt`` where the bytes are not a series."""

def series_id(canonical: bytes) -> int:
    """The 128-bit id of a series, the same on every machine."""

def shard(tenant: str, id: int) -> int:
    """The shard of a series, 0 to 1023, fixed for ever."""

# --- series_table.rs

class ResolveBounds:
    """What one batch may hold and add."""

    def __init__(
        self,
        *,
        time_min_ns: int,
        time_max_ns: int,
        active_series_max: int,
        new_series_allowed: bool,
        label_count_max: int,
        label_bytes_max: int,
    ) -> None: ...

class Resolved:
    """A batch as series and columns; its series stay known while it lives."""

    @property
    def tenant(self) -> str: ...
    @property
    def sample_count(self) -> int: ...
    @property
    def histogram_count(self) -> int:
        """Those of its samples that are native histograms."""

    @property
    def time_min_ns(self) -> int | None:
        """The time of its earliest sample."""

    @property
    def rejected(self) -> list[tuple[int, str]]:
        """(line, reason) of the first thousand refusals; the decoder's own are not among them."""

    @property
    def samples_rejected_count(self) -> int: ...
    @property
    def series_rejected_count(self) -> int: ...
    @property
    def lines_rejected_count(self) -> int:
        """Lines with a refusal, listed or not; line 0 is none."""

    @property
    def new_series_count(self) -> int: ...
    @property
    def shards(self) -> tuple[int, int]:
        """The least and the greatest shard of its series."""

    def record(self, epoch: int) -> bytes:
        """The log record. Series it defines count as defined in this epoch from now on: append
        records in the order of these calls, and call ``forget_definitions`` after a failure."""

class SeriesTable:
    """Raw keys to series, for all tenants, and the live label index; called from any thread."""

    def __init__(self) -> None: ...
    def resolve(
        self,
        tenant: str,
        batch: Batch,
        *,
        defaults: Sequence[tuple[str, str]],
        forced: Sequence[tuple[str, str]],
        bounds: ResolveBounds,
    ) -> Resolved:
        """Finds or registers the series of a batch; what the bounds refuse is left out."""

    def active_series(self, tenant: str) -> int:
        """Series in the table: those that no sweep has found idle yet."""

    def tenants(self) -> list[str]:
        """Those that have active series, in no order."""

    @property
    def series_count(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    def definitions(self, since: int) -> Definitions:
        """Of the series registered after ``since`` (an earlier ``until``, or 0) and still here."""

    def load_definitions(self, records: bytes) -> int: ...
    def forget_definitions(self) -> None:
        """Every series is defined again in the next record that names it."""

    def sweep(self, idle_before_ns: int) -> int:
        """Lets go of series without a sample since then; says how many left. Series that the head
        still holds samples of, or that a batch on its way names, stay until a later sweep."""

@final
class Definitions:
    """Parts for ``load_definitions``, made one at a time, each of some megabytes at most."""

    @property
    def until(self) -> int:
        """What the next call of ``definitions`` goes on from."""

    @property
    def count(self) -> int:
        """Definitions in the parts given so far."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...

# --- sides.rs

NO_START_TIME: int
"""What a sample has in the column of start times where it has none; the others likewise."""
NO_POSITION: int
NO_ELEVATION: int

# --- snapshot.rs

@final
class Snapshot:
    """Sources and deletes as they were when a query began.

    A delete row is (log offset, tenant, matchers, min_ns, max_ns): it hides samples of sources
    whose deletes reach less far. Time bounds are inclusive.
    """

    def __new__(
        cls,
        sources: Sequence[Source],
        deletes: Sequence[tuple[int, str, Sequence[tuple[str, str, str]], int, int]],
        *,
        tenant: str | None = None,
        keep: Sequence[tuple[list[tuple[str, str, str]], int, list[tuple[int, int]]]] = (),
        levels: Sequence[tuple[int, list[tuple[int, int]]]] = (),
    ) -> Snapshot: ...
    @property
    def resolutions_ns(self) -> list[int]:
        """Of the tenant's coarse data, rising."""

    @property
    def raw_from_ns(self) -> int:
        """Before this time some series keeps no samples any more."""

    def select(
        self,
        tenant: str,
        matchers: Sequence[tuple[str, str, str]],
        min_ns: int,
        max_ns: int,
        meter: Meter,
        finest_ns: int | None = None,
    ) -> Selection:
        """Series that pass every matcher and may have samples in the range, sorted by their
        PromQL labels; all of the tenant's where there is no matcher.

        ``finest_ns``: windows are answered from buckets of this resolution, and from coarser ones
        where it is no longer kept; 0 does so only where samples are gone; None never does."""

    def compute(
        self,
        fused: Fused,
        tenant: str,
        forced: Sequence[tuple[str, str, str]],
        *,
        start_ns: int,
        step_ns: int,
        step_count: int,
        cells_max: int,
        meter: Meter,
        series_max: int | None = None,
        brief: tuple[int, float] | None = None,
        is_ordered: bool = False,
    ) -> tuple[LabelRows, tuple[NDArray[np.float64], NDArray[np.bool_]]] | None:
        """Labels, and (values, presence) of the rows that have a value, in rising order of labels
        where ``is_ordered``; None where it is not plain enough, or more than the bounds allow: the
        meter has forgotten what was read then. ``brief`` bounds samples and seconds, and has it
        done on this thread alone."""

    def label_names(
        self,
        tenant: str,
        selectors: Sequence[Sequence[tuple[str, str, str]]],
        min_ns: int,
        max_ns: int,
        meter: Meter,
    ) -> list[str]:
        """Sorted names of labels of the series that any selector selects; of all where there is
        none (then names that only deleted series had stay until a compaction)."""

    def label_values(
        self,
        tenant: str,
        label: str,
        selectors: Sequence[Sequence[tuple[str, str, str]]],
        min_ns: int,
        max_ns: int,
        meter: Meter,
    ) -> list[str]:
        """Sorted values of a label, or of ``__name__``, ``__measurement__``, ``__field__``."""

@final
class Selection:
    """Selected series by their position; holds on to what the snapshot held.

    Reads must lie inside the selected range: sources outside it were not asked.
    """

    def __len__(self) -> int: ...
    def canonical(self, at: int) -> bytes: ...
    def collision(self) -> int | None:
        """The first of two series with one set of PromQL labels, where there are any; the other
        follows it."""

    def coarse_used(self) -> tuple[list[int], bool]:
        """Coarse resolutions that gave answers so far, and whether windows were moved to whole
        buckets for them."""

    def text_series(self) -> list[int]:
        """Series in which numeric reads so far met strings or bytes, which they leave out."""

    def histogram_series(self) -> list[int]:
        """Positions in which numeric reads so far met histograms, which they left out."""

    def mixed(
        self, at: int, min_ns: int, max_ns: int, meter: Meter
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], list[bytes | None]]:
        """Times, numbers (NaN beside a histogram) and histograms' payloads of one series, texts
        left out."""

    def promql_labels(self, first: int, count: int) -> LabelRows:
        """Sorted pairs, ``__name__`` among them."""

    def window(
        self,
        first: int,
        count: int,
        *,
        function: str,
        start_ns: int,
        step_ns: int,
        step_count: int,
        range_ns: int,
        offset_ns: int,
        parameters: Sequence[float],
        meter: Meter,
        threads: int | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(values, present), each (count, step_count). ``threads`` is all cores where None."""

    def samples(
        self, first: int, count: int, min_ns: int, max_ns: int, meter: Meter
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """(offsets, times, values) as numbers: bool 1 or 0, strings and bytes left out."""

    def count(self, min_ns: int, max_ns: int, meter: Meter) -> tuple[int, int]:
        """How many series have samples in the range, and how many samples, texts included."""

    def columns(
        self, first: int, count: int, min_ns: int, max_ns: int, meter: Meter
    ) -> list[
        tuple[
            str,
            NDArray[np.uint32],
            NDArray[np.int64],
            NDArray[np.float64]
            | NDArray[np.int64]
            | NDArray[np.uint64]
            | NDArray[np.bool_]
            | tuple[NDArray[np.int64], bytes],
            NDArray[np.int64] | None,
            NDArray[np.uint64] | None,
            NDArray[np.int64] | None,
        ]
    ]:
        """(kind, series, times, values, start times, positions, elevations) of each kind that
        occurs; ``series`` counts from 0 at ``first``; values of strings and bytes are a pair of
        offsets and bytes; a side column is None where no sample has it."""

# --- source.rs

class Source:
    """A head generation or a block, on its way to a snapshot or a compaction."""

    @property
    def order(self) -> int: ...
    @property
    def time_range(self) -> tuple[int, int] | None: ...

# --- window.rs

def window_over_steps(
    function: str,
    values: NDArray[np.float64],
    present: NDArray[np.bool_],
    *,
    in_start_ns: int,
    in_step_ns: int,
    start_ns: int,
    step_ns: int,
    step_count: int,
    range_ns: int,
    offset_ns: int,
    parameters: Sequence[float],
    meter: Meter | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]: ...
