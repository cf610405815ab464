"""Write bodies made beforehand whose times and values are patched in place; for bench/load.py.

A body of lines has its digits in fixed columns. A remote-write body is compressed once: of each
sample the eight bytes of its value and the six of its time were noise to the compressor, so they
stand in it as they are, and no other part of it refers to them.
"""

from collections.abc import Iterator

import cramjam
import numpy as np
import tsbs
from numpy.typing import NDArray

FIELD_COUNT = len(tsbs.FIELDS)
LINE_MEASUREMENT, REMOTE_PREFIX = "disk", "cpu_"
VALUE_BYTES, TIME_BYTES = 8, 6
SAMPLE_HEAD = b"\x12\x10\x09"
"""Field 2 of a series, 16 bytes long, and the tag of its value; the time's tag stands between."""
ATTEMPTS_MAX = 20
VALUE_MIN, VALUE_MAX = 10, 99
"""Two digits, so that a line keeps its length."""

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]


def hosts(host_count: int, rack_count: int) -> list[dict[str, str]]:
    """TSBS' hosts, spread over the racks that the questions ask for by turns."""
    made = tsbs.Workload(host_count, 0).hosts()
    return [{**host, "rack": f"r{index % rack_count}"} for index, host in enumerate(made)]


class Body:
    """``template`` with the places of its values and times; ``patched`` gives one to send."""

    def __init__(self, template: Bytes, values_at: Places, times_at: Places) -> None:
        self._template = template
        self._values_at = values_at
        self._times_at = times_at
        chance = np.random.default_rng(len(template))
        self._values = chance.integers(VALUE_MIN, VALUE_MAX, len(values_at), endpoint=True)
        self.sample_count = len(values_at)

    def walk(self, steps: NDArray[np.int64]) -> None:
        """``steps`` are a few of -1, 0 and 1 for each value."""
        np.clip(self._values + steps[: self.sample_count], VALUE_MIN, VALUE_MAX, out=self._values)

    def patched(self, time_ns: int) -> bytes:
        sent = self._template.copy()
        sent[self._values_at] = self.value_bytes(self._values)
        sent[self._times_at] = self.time_bytes(time_ns)
        return sent.tobytes()

    @staticmethod
    def value_bytes(values: NDArray[np.int64]) -> Bytes:
        raise NotImplementedError

    @staticmethod
    def time_bytes(time_ns: int) -> Bytes:
        raise NotImplementedError


class LineBody(Body):
    @staticmethod
    def value_bytes(values: NDArray[np.int64]) -> Bytes:
        return (np.stack([values // 10, values % 10], axis=1) + ord("0")).astype(np.uint8)

    @staticmethod
    def time_bytes(time_ns: int) -> Bytes:
        return np.frombuffer(b"%019d" % time_ns, np.uint8)


class RemoteBody(Body):
    @staticmethod
    def value_bytes(values: NDArray[np.int64]) -> Bytes:
        return values.astype("<f8").view(np.uint8).reshape(-1, VALUE_BYTES)

    @staticmethod
    def time_bytes(time_ns: int) -> Bytes:
        milliseconds = time_ns // 1_000_000
        parts = [milliseconds >> 7 * part & 0x7F | 0x80 for part in range(TIME_BYTES)]
        parts[-1] &= 0x7F
        return np.array(parts, np.uint8)

    def check(self, raw: Bytes, values_at: Places, times_at: Places) -> None:
        """Patching the packed bytes patches the message they hold, and nothing else of it."""
        time_ns = tsbs.START_SECONDS * 1_000_000_000
        raw[values_at] = self.value_bytes(self._values)
        raw[times_at] = self.time_bytes(time_ns)
        assert bytes(cramjam.snappy.decompress_raw(self.patched(time_ns))) == raw.tobytes()


def line_bodies(of_hosts: list[dict[str, str]], lines_per_body: int) -> Iterator[LineBody]:
    fields = ",".join(f"{field}=55" for field in tsbs.FIELDS)
    values_in_fields = np.cumsum([len(field) + 4 for field in tsbs.FIELDS]) - 3
    for first in range(0, len(of_hosts), lines_per_body):
        text, values_at, times_at = bytearray(), [], []
        for host in of_hosts[first : first + lines_per_body]:
            tags = ",".join(f"{key}={value}" for key, value in host.items())
            text += f"{LINE_MEASUREMENT},{tags} ".encode()
            values_at.append(len(text) + values_in_fields)
            text += f"{fields} ".encode()
            times_at.append(len(text))
            text += b"0" * 19 + b"\n"
        places = np.concatenate(values_at)[:, None] + np.arange(2)
        times = np.array(times_at)[:, None] + np.arange(19)
        yield LineBody(np.frombuffer(bytes(text), np.uint8), places, times)


def remote_bodies(of_hosts: list[dict[str, str]], series_per_body: int) -> Iterator[RemoteBody]:
    labels = []
    for host in of_hosts:
        for field in tsbs.FIELDS:
            pairs = sorted({"__name__": REMOTE_PREFIX + field, **host}.items())
            parts = [
                tsbs.message(1, key.encode()) + tsbs.message(2, v.encode()) for key, v in pairs
            ]
            labels.append(b"".join(tsbs.message(1, part) for part in parts))
    for first in range(0, len(labels), series_per_body):
        yield _remote_body(labels[first : first + series_per_body])


def _remote_body(labels: list[bytes]) -> RemoteBody:
    chance = np.random.default_rng(len(labels))
    noise = chance.integers(0, 256, (len(labels), VALUE_BYTES + TIME_BYTES), np.uint8)
    raw, values_at, times_at = _laid_out(labels)
    samples_at = np.concatenate([values_at, times_at], axis=1)
    for _ in range(ATTEMPTS_MAX):
        raw[samples_at] = noise
        packed = bytes(cramjam.snappy.compress_raw(raw.tobytes()))
        places = _literal_places(packed, len(raw))
        # A copy of what stands before a sample goes on into it where its first bytes are equal.
        copied = (places[samples_at] == 0).any(axis=1)
        if not copied.any():
            made = RemoteBody(np.frombuffer(packed, np.uint8), places[values_at], places[times_at])
            made.check(raw, values_at, times_at)
            return made
        noise[copied] = chance.integers(0, 256, (int(copied.sum()), noise.shape[1]), np.uint8)
    raise SystemExit("cannot make a body: its samples are compressed each time")


def _laid_out(labels: list[bytes]) -> tuple[Bytes, Places, Places]:
    """The message, and where the values and the times stand in it."""
    raw, times_at = bytearray(), []
    sample = SAMPLE_HEAD + bytes(VALUE_BYTES) + b"\x10" + bytes(TIME_BYTES)
    for own in labels:
        raw += tsbs.message(1, own + sample)
        times_at.append(len(raw) - TIME_BYTES)
    ends = np.array(times_at)[:, None]
    values_at = ends - 1 - VALUE_BYTES + np.arange(VALUE_BYTES)
    return np.frombuffer(bytes(raw), np.uint8).copy(), values_at, ends + np.arange(TIME_BYTES)


def _literal_places(packed: bytes, raw_size: int) -> Places:
    """Where in ``packed`` each byte of the raw text stands as it is; 0 where it is copied."""
    places = np.zeros(raw_size, np.int64)
    at = next(index for index, byte in enumerate(packed) if byte < 0x80) + 1
    out = 0
    while at < len(packed):
        tag = packed[at]
        kind, length = tag & 3, (tag >> 2) + 1
        at += 1
        if kind == 0:
            if length > 60:
                width = length - 60
                length = int.from_bytes(packed[at : at + width], "little") + 1
                at += width
            places[out : out + length] = np.arange(at, at + length)
            at += length
        else:
            length = (tag >> 2 & 7) + 4 if kind == 1 else length
            at += (1, 2, 4)[kind - 1]
        out += length
    return places
