"""Tables to series: what ``Database.write`` takes, as columns ready to be stored.

Takes a mapping of columns (numpy, lists), a pyarrow table, or a pandas or polars frame; frames
pass through Arrow, so that their nulls, categories and time zones have one meaning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from orrery.client.optional import Foreign, optional
from orrery.client.times import datetime_ns
from orrery.errors import Invalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNITS_NS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
TIME_NS_MAX = 2**63 - 1
DEFAULT_VALUE = "value"


@dataclass(frozen=True, slots=True)
class Name:
    """A series as a writer names it; ``field`` may be empty."""

    name: str
    field: str
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Points:
    """Series ``i`` owns ``times_ns[offsets[i]:offsets[i + 1]]`` and the same of ``values``:
    float64, int64, uint64 or bool, or an object column of str."""

    series: tuple[Name, ...]
    offsets: "NDArray[np.int64]"
    times_ns: "NDArray[np.int64]"
    values: "NDArray[Any]"


@dataclass(frozen=True, slots=True)
class Column:
    """``missing`` is None where every row has a value."""

    values: "NDArray[Any]"
    missing: "NDArray[np.bool_] | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """Which column means what; ``fields`` None: the one column ``value``, of no field."""

    name: str | None
    name_column: str | None
    time: str
    time_unit: str
    value: str
    fields: Sequence[str] | None
    labels: Sequence[str] | None


def arrange(data: object, roles: Roles) -> list[Points]:
    """One :class:`Points` a value column; rows without a value or a time in it are left out."""
    table = read_table(data)
    lengths = {len(column.values) for column in table.values()}
    if len(lengths) > 1:
        shown = {name: len(column.values) for name, column in table.items()}
        raise Invalid(f"cannot write table: its columns differ in length: {shown}")
    times_ns, keep = read_times(take(table, roles.time), roles.time_unit)
    labels = label_columns(table, roles)
    names = series_names(table, roles, labels, len(times_ns))
    values = {"": roles.value} if roles.fields is None else {f: f for f in roles.fields}
    return [
        points(names, field_name, take(table, column), times_ns, keep)
        for field_name, column in values.items()
    ]


def take(table: Mapping[str, Column], name: str) -> Column:
    if name not in table:
        raise Invalid(f"cannot write table: it has no column {name!r}, only {sorted(table)}")
    return table[name]


def label_columns(table: Mapping[str, Column], roles: Roles) -> list[str]:
    if roles.labels is not None:
        return list(roles.labels)
    fields = [roles.value] if roles.fields is None else list(roles.fields)
    used = {roles.time, roles.name_column, *fields}
    rest = [name for name in table if name not in used]
    for name in rest:
        if table[name].values.dtype != object:
            raise Invalid(
                f"cannot write column {name!r}: it holds {table[name].values.dtype} and is neither "
                "time nor value; name it in fields= or labels="
            )
    return rest


@dataclass(frozen=True, slots=True)
class Grouped:
    """Rows by series: row ``i`` belongs to ``names[codes[i]]``."""

    names: list[Name]
    codes: "NDArray[np.int64]"


def series_names(
    table: Mapping[str, Column], roles: Roles, labels: Sequence[str], count: int
) -> Grouped:
    if (roles.name is None) == (roles.name_column is None):
        raise Invalid("cannot write table: give either name= or name_column=")
    columns = [texts(label, take(table, label)) for label in labels]
    if roles.name_column is not None:
        columns.insert(0, texts(roles.name_column, take(table, roles.name_column)))
    else:
        columns.insert(0, [roles.name or ""] * count)
    found: dict[tuple[str, ...], int] = {}
    rows = zip(*columns, strict=True)
    codes = np.fromiter(
        (found.setdefault(row, len(found)) for row in rows), dtype=np.int64, count=count
    )
    names = [Name(row[0], "", pairs(labels, row[1:])) for row in found]
    return Grouped(names, codes)


def pairs(labels: Sequence[str], values: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((k, v) for k, v in zip(labels, values, strict=True) if v))


def texts(name: str, column: Column) -> list[str]:
    """Of a label column; a missing value is an absent label."""
    rows: list[Any] = column.values.tolist()
    if column.missing is not None:
        rows = ["" if gone else row for row, gone in zip(rows, column.missing, strict=True)]
    if column.values.dtype == object:
        for row in rows:
            if not isinstance(row, str):
                raise Invalid(f"cannot use column {name!r} as a label: {row!r} is no text")
        return rows
    if column.values.dtype.kind in "iub":
        return [str(row).lower() if isinstance(row, bool) else str(row) for row in rows]
    raise Invalid(f"cannot use column {name!r} as a label: it holds {column.values.dtype}")


def points(
    grouped: Grouped,
    field_name: str,
    column: Column,
    times_ns: "NDArray[np.int64]",
    keep: "NDArray[np.bool_]",
) -> Points:
    """Rows sorted by series, in the order of the table inside each."""
    kept = keep if column.missing is None else keep & ~column.missing
    rows = np.flatnonzero(kept)
    codes = grouped.codes[rows]
    order = np.argsort(codes, kind="stable")
    rows, codes = rows[order], codes[order]
    present, starts = np.unique(codes, return_index=True)
    field_name = "" if field_name == DEFAULT_VALUE else field_name
    names = [grouped.names[code] for code in present.tolist()]
    return Points(
        series=tuple(Name(n.name, field_name, n.labels) for n in names),
        offsets=np.append(starts, len(rows)).astype(np.int64),
        times_ns=times_ns[rows],
        values=storable(field_name or DEFAULT_VALUE, column.values)[rows],
    )


def storable(name: str, values: "NDArray[Any]") -> "NDArray[Any]":
    """As one of the kinds that are stored; nothing is rounded."""
    kind = values.dtype.kind
    if kind == "b":
        return values
    if kind == "f" and values.dtype.itemsize <= 8:
        return values.astype(np.float64)
    if kind in "iu":
        return values.astype(np.int64 if kind == "i" else np.uint64)
    if kind == "O" and all(isinstance(value, str | None) for value in values):
        return values
    raise Invalid(f"cannot write column {name!r}: values of {values.dtype} are not supported")


# --- times


def read_times(column: Column, unit: str) -> "tuple[NDArray[np.int64], NDArray[np.bool_]]":
    """Nanoseconds, and which rows have a time. Whole numbers count ``unit``s since 1970."""
    values = column.values
    keep = np.ones(len(values), np.bool_) if column.missing is None else ~column.missing
    if values.dtype.kind == "M":
        keep = keep & ~np.isnat(values)
        return datetimes_ns(np.where(keep, values, np.datetime64(0, "s"))), keep
    if values.dtype == object:
        rows = zip(values.tolist(), keep.tolist(), strict=True)
        found = [object_ns(value) if present else 0 for value, present in rows]
        return np.array(found, dtype=np.int64), keep
    if values.dtype.kind not in "iu":
        raise Invalid(f"cannot read times: a column of {values.dtype} is not supported")
    if unit not in UNITS_NS:
        raise Invalid(f"cannot read times: unit {unit!r} is none of {sorted(UNITS_NS)}")
    bound = TIME_NS_MAX // UNITS_NS[unit]
    if len(values) and (int(values.max()) > bound or int(values.min()) < -bound):
        raise Invalid(f"cannot read times: one is out of range when counted in {unit!r}")
    return values.astype(np.int64) * UNITS_NS[unit], keep


def datetimes_ns(values: "NDArray[Any]") -> "NDArray[np.int64]":
    times_ns = values.astype("datetime64[ns]")
    if not np.array_equal(times_ns.astype(values.dtype), values):
        raise Invalid("cannot read times: one is outside 64 bits of nanoseconds")
    return times_ns.astype(np.int64)


def object_ns(value: object) -> int:
    if isinstance(value, datetime):
        return datetime_ns(value)
    raise Invalid(f"cannot read time {value!r}: a {type(value).__name__} is not supported")


# --- tables


def read_table(data: object) -> dict[str, Column]:
    if isinstance(data, Mapping):
        return {str(name): read_column(str(name), column) for name, column in data.items()}
    library = type(data).__module__.partition(".")[0]
    if library == "pandas":
        arrow = optional("pyarrow", extra="pandas")
        frame: Foreign = data
        names = [str(name) for name in frame.columns]
        found = [arrow.array(frame[name], from_pandas=True) for name in frame.columns]
        return read_arrow(arrow, dict(zip(names, found, strict=True)))
    if library in ("polars", "pyarrow"):
        arrow = optional("pyarrow", extra="polars" if library == "polars" else "arrow")
        frame = data
        table = frame.to_arrow() if library == "polars" else frame
        return read_arrow(arrow, {name: table.column(name) for name in table.schema.names})
    raise Invalid(f"cannot write a {type(data).__name__}: give columns, a table or a frame")


def read_column(name: str, column: Foreign) -> Column:
    if type(column).__module__.partition(".")[0] in ("pandas", "polars", "pyarrow"):
        return next(iter(read_table_of_one(name, column).values()))
    values = column if isinstance(column, np.ndarray) else objects(column)
    if values.ndim != 1:
        raise Invalid(f"cannot write column {name!r}: it has {values.ndim} dimensions")
    if values.dtype.kind == "U":
        return Column(values.astype(object))
    return tidy(name, values) if values.dtype == object else Column(values)


def read_table_of_one(name: str, column: Foreign) -> dict[str, Column]:
    arrow = optional("pyarrow", extra="arrow")
    library = type(column).__module__.partition(".")[0]
    if library == "pandas":
        column = arrow.array(column, from_pandas=True)
    elif library == "polars":
        column = column.to_arrow()
    return read_arrow(arrow, {name: column})


def objects(column: Sequence[Any]) -> "NDArray[Any]":
    rows = list(column)
    values = np.empty(len(rows), dtype=object)
    values[:] = rows
    return values


def tidy(name: str, values: "NDArray[Any]") -> Column:
    """A column of Python objects: its one kind told from what is in it; None is missing."""
    rows = values.tolist()
    missing = np.fromiter((row is None for row in rows), np.bool_, len(rows))
    kinds = {type(row) for row in rows if row is not None}
    gaps = missing if missing.any() else None
    if kinds <= {str} or all(issubclass(kind, datetime) for kind in kinds):
        return Column(values, gaps)
    if kinds <= {bool, np.bool_}:
        return Column(np.array([bool(row) for row in rows]), gaps)
    if all(issubclass(kind, int | np.integer) for kind in kinds) and bool not in kinds:
        return Column(integers(name, [0 if row is None else int(row) for row in rows]), gaps)
    if all(issubclass(kind, int | float | np.number) for kind in kinds) and bool not in kinds:
        return Column(np.array([0.0 if row is None else float(row) for row in rows]), gaps)
    shown = sorted(kind.__name__ for kind in kinds)
    raise Invalid(f"cannot write column {name!r}: it holds {', '.join(shown)}")


def integers(name: str, rows: list[int]) -> "NDArray[Any]":
    low, high = min(rows, default=0), max(rows, default=0)
    if low >= -(2**63) and high < 2**63:
        return np.array(rows, dtype=np.int64)
    if low >= 0 and high < 2**64:
        return np.array(rows, dtype=np.uint64)
    raise Invalid(f"cannot write column {name!r}: a whole number needs more than 64 bits")


def read_arrow(arrow: Foreign, columns: Mapping[str, Any]) -> dict[str, Column]:
    return {name: read_arrow_column(arrow, name, column) for name, column in columns.items()}


def read_arrow_column(arrow: Foreign, name: str, column: Foreign) -> Column:
    if isinstance(column, arrow.ChunkedArray):
        column = column.combine_chunks()
    if arrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    missing = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
    return Column(arrow_values(arrow, name, column), missing)


def arrow_values(arrow: Foreign, name: str, column: Foreign) -> "NDArray[Any]":
    types, kind = arrow.types, column.type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind):
        return objects(column.to_pylist())
    if str(kind) == "string_view":
        return objects(column.to_pylist())
    if types.is_timestamp(kind) or types.is_date(kind):
        try:
            nanoseconds = column.cast(arrow.timestamp("ns", getattr(kind, "tz", None)))
        except arrow.ArrowInvalid as error:
            raise Invalid(f"cannot read times of column {name!r}: {error}") from error
        filled: Foreign = (
            nanoseconds.cast(arrow.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        )
        return np.asarray(filled.view("datetime64[ns]"))
    if types.is_integer(kind) or types.is_floating(kind):
        return np.asarray(column.fill_null(0).to_numpy(zero_copy_only=False))
    if types.is_boolean(kind):
        return np.asarray(column.fill_null(False).to_numpy(zero_copy_only=False))
    raise Invalid(f"cannot write column {name!r}: values of {kind} are not supported")
