"""Points as InfluxDB line protocol, the wire that keeps kinds and nanoseconds; for
``client.remote``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from orrery.client.columns import DEFAULT_VALUE, Name, Points
from orrery.errors import Invalid

if TYPE_CHECKING:
    from numpy.typing import NDArray

REQUEST_BYTES_MAX = 4 << 20
"""A body is closed once it is this large."""

MEASUREMENT_ESCAPES = str.maketrans({",": "\\,", " ": "\\ "})
KEY_ESCAPES = str.maketrans({",": "\\,", " ": "\\ ", "=": "\\="})
TEXT_ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\"})


def bodies(points: Points) -> Iterator[tuple[bytes, int]]:
    """Request bodies and how many samples each has, a line a sample."""
    lines: list[str] = []
    size_bytes = 0
    for position, name in enumerate(points.series):
        head = line_head(name)
        first, last = points.offsets[position : position + 2].tolist()
        values = values_as_text(points.values[first:last])
        for value, time_ns in zip(values, points.times_ns[first:last].tolist(), strict=True):
            line = f"{head}{value} {time_ns}"
            lines.append(line)
            size_bytes += len(line) + 1
            if size_bytes >= REQUEST_BYTES_MAX:
                yield "\n".join(lines).encode(), len(lines)
                lines, size_bytes = [], 0
    if lines:
        yield "\n".join(lines).encode(), len(lines)


def line_head(name: Name) -> str:
    """Everything before the value."""
    parts = [escaped(name.name, MEASUREMENT_ESCAPES)]
    parts += [
        f"{escaped(key, KEY_ESCAPES)}={escaped(value, KEY_ESCAPES)}" for key, value in name.labels
    ]
    field = escaped(name.field or DEFAULT_VALUE, KEY_ESCAPES)
    return f"{','.join(parts)} {field}="


def escaped(text: str, escapes: dict[int, str]) -> str:
    """The wire has no escape for a line break, nor for a backslash before a separator."""
    if not text:
        raise Invalid("cannot write series: a name is empty")
    if "\n" in text or text.endswith("\\") or text.startswith("#"):
        raise Invalid(
            f"cannot write {text!r} over HTTP: line protocol cannot carry a line break, "
            "a backslash at the end or a number sign at the start of a name"
        )
    return text.translate(escapes)


def values_as_text(values: "NDArray[Any]") -> Iterator[str]:
    rows = values.tolist()
    match values.dtype.kind:
        case "f":
            return map(repr, rows)
        case "i":
            return (f"{row}i" for row in rows)
        case "u":
            return (f"{row}u" for row in rows)
        case "b":
            return ("true" if row else "false" for row in rows)
        case _:
            return (f'"{row.translate(TEXT_ESCAPES)}"' for row in rows)
