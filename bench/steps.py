"""What a written value costs in the core, step by step, without server, log and interpreter.

`python bench/steps.py` decodes, resolves, records, frames, applies and flushes the bodies of
bench/ingest.py (TSBS cpu-only) in this process, on one thread, and prints its CPU time divided by
the values: for each step the least of all `--rounds` but the first one, which registers the series
and fetches memory. `--senders` has the bodies of so many ticks change places, as senders beside one
another do.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time_ns

import tsbs

from orrery.kernels.compaction import write_block
from orrery.kernels.graphite import decode_graphite_lines
from orrery.kernels.head import Head
from orrery.kernels.line_protocol import decode_line_protocol
from orrery.kernels.log_frames import frame_headers
from orrery.kernels.opentsdb import decode_opentsdb
from orrery.kernels.remote_write import decode_remote_write_1
from orrery.kernels.series_table import ResolveBounds, SeriesTable

BOUNDS = ResolveBounds(
    time_min_ns=0,
    time_max_ns=2**62,
    active_series_max=2**62,
    new_series_allowed=True,
    label_count_max=100,
    label_bytes_max=1000,
)
BODY_BYTES_MAX = 1 << 30
BODIES: dict[str, Callable[[tsbs.Workload], Iterator[bytes]]] = {
    "remote": tsbs.remote_write_bodies,
    "line": tsbs.line_bodies,
    "graphite": tsbs.graphite_bodies,
    "opentsdb": tsbs.opentsdb_bodies,
}


class Steps:
    """CPU nanoseconds by step."""

    def __init__(self) -> None:
        self.spent_ns: dict[str, int] = {}
        self._since = process_time_ns()

    def begin(self) -> None:
        self._since = process_time_ns()

    def done(self, step: str) -> None:
        now = process_time_ns()
        self.spent_ns[step] = self.spent_ns.get(step, 0) + now - self._since
        self._since = process_time_ns()


def ingest(steps: Steps, table: SeriesTable, head: Head, body: bytes, offset: int) -> int:
    steps.begin()
    if body.startswith(b"cpu."):
        batch, _, _ = decode_graphite_lines(body, now_ns=0)
    elif body.startswith(b"cpu,"):
        batch = decode_line_protocol(body, precision_ns=1, now_ns=0)
    elif body.startswith(b"["):
        batch = decode_opentsdb(body)
    else:
        batch = decode_remote_write_1(body, encoding="snappy", size_bytes_max=BODY_BYTES_MAX)
    steps.done("decode")
    resolved = table.resolve("bench", batch, defaults=[], forced=[], bounds=BOUNDS)
    steps.done("resolve")
    record = resolved.record(1)
    frame_headers([record], offset=offset, synced=0)
    steps.done("record and frame")
    head.apply(resolved, offset)
    steps.done("apply")
    return resolved.sample_count


def disordered(bodies: list[bytes], bodies_per_tick: int, senders: int) -> list[bytes]:
    """Of each so many ticks the last one first."""
    ticks = [bodies[at : at + bodies_per_tick] for at in range(0, len(bodies), bodies_per_tick)]
    groups = [ticks[at : at + senders] for at in range(0, len(ticks), senders)]
    return [body for group in groups for tick in reversed(group) for body in tick]


def flush(steps: Steps, head: Head, next_offset: int, folder: Path) -> None:
    steps.begin()
    generation = head.freeze(next_offset)
    assert generation is not None
    steps.done("apply")
    for effort in ("fast", "small"):
        write_block(
            [generation.source()],
            [],
            folder / f"{effort}-{next_offset}",
            min_ns=0,
            max_ns=2**62,
            keep={},
            effort=effort,
        )
        steps.done(f"flush, {effort}")
    head.release(generation)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--protocol", choices=tuple(BODIES), default="remote")
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--hours", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--senders", type=int, default=1)
    options = parser.parse_args()
    assert options.rounds > 1, "the first round is not counted"
    workload = tsbs.Workload(options.hosts, options.hours)
    bodies = list(BODIES[options.protocol](workload))
    bodies = disordered(bodies, len(bodies) // workload.tick_count, options.senders)
    table = SeriesTable()
    head = Head(table)
    rounds: list[dict[str, float]] = []
    offset = 0
    with tempfile.TemporaryDirectory(prefix="orrery-steps-") as folder:
        for _ in range(options.rounds):
            steps, count = Steps(), 0
            for body in bodies:
                count += ingest(steps, table, head, body, offset)
                offset += 1
            flush(steps, head, offset, Path(folder))
            rounds.append({step: spent_ns / count for step, spent_ns in steps.spent_ns.items()})
    for step in rounds[0]:
        print(f"{step:<20}{min(one[step] for one in rounds[1:]):>8.1f} ns/value")


if __name__ == "__main__":
    main()
