"""What the write decoders cost: nanoseconds of CPU a value, from bodies made beforehand.

The TSBS cpu-only shape at 1,000 hosts, as sent (line protocol plain, remote write in snappy). The
least of several rounds counts: the machine is shared. Run it as `python bench/decode.py`.
"""

import argparse
import time
from collections.abc import Callable

import cramjam
import tsbs

from orrery.kernels.batch import Batch
from orrery.kernels.decompress import decompress
from orrery.kernels.gts_input import decode_gts
from orrery.kernels.line_protocol import decode_line_protocol
from orrery.kernels.otlp import OtlpOptions, decode_otlp
from orrery.kernels.remote_write import decode_remote_write_1, decode_remote_write_2

SIZE_BYTES_MAX = 1 << 28
BUDGET_LINE_NS = 35
BUDGET_WARP10_NS = 105
BUDGET_REMOTE_WRITE_NS = 60
BUDGET_OTLP_NS = 3 * BUDGET_LINE_NS
OTLP_OPTIONS = OtlpOptions(translation="UnderscoreEscapingWithSuffixes")


def cost_ns(bodies: list[bytes], decode: Callable[[bytes], Batch], *, rounds: int) -> float:
    """CPU of one sample in the fastest round."""
    sample_count = sum(decode(body).sample_count for body in bodies)
    costs = []
    for _ in range(rounds):
        start_ns = time.process_time_ns()
        for body in bodies:
            decode(body)
        costs.append((time.process_time_ns() - start_ns) / sample_count)
    return min(costs)


def doubles(bodies: list[bytes]) -> list[bytes]:
    """The same lines with full-precision values instead of whole numbers."""
    return [body.replace(b",usage", b".123456789012345,usage") for body in bodies]


def plain(bodies: list[bytes]) -> list[bytes]:
    return [decompress("snappy", body, size_bytes_max=SIZE_BYTES_MAX) for body in bodies]


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def message(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def remote_write_2_bodies(workload: tsbs.Workload) -> list[bytes]:
    """Remote write 2.0: labels as symbols, one body per 100 hosts and tick."""
    hosts = workload.hosts()
    bodies = []
    for seconds, values in workload.ticks():
        tail = b"\x10" + varint(seconds * 1000)
        for first in range(0, len(hosts), 100):
            symbols = {"": 0}
            series = []
            for index, host in enumerate(hosts[first : first + 100], start=first):
                for column, metric in enumerate(tsbs.FIELDS):
                    pairs = sorted({"__name__": f"cpu_{metric}", **host}.items())
                    texts = [text for pair in pairs for text in pair]
                    refs = b"".join(varint(symbols.setdefault(t, len(symbols))) for t in texts)
                    value = values[index, column].astype("<f8").tobytes()
                    sample = message(2, b"\x09" + value + tail)
                    series.append(message(5, message(1, refs) + sample))
            named = b"".join(message(4, symbol.encode()) for symbol in symbols)
            bodies.append(bytes(cramjam.snappy.compress_raw(named + b"".join(series))))
    return bodies


def warp10_bodies(series_count: int, tick_count: int) -> tuple[list[bytes], list[bytes]]:
    """Each sample with its series, as agents send them; and each series in one piece, as data is
    moved. Decimals of two digits, a series for each value."""
    heads = [
        f"cpu.usage{{host=host_{number},region=eu-west-1,core={number % 64}}}"
        for number in range(series_count)
    ]
    start = 1_700_000_000_000_000
    by_tick = [
        "\n".join(f"{start + tick}// {head} {tick % 100}.25" for head in heads)
        for tick in range(tick_count)
    ]
    by_series = [
        f"{start}// {head} 1.25\n"
        + "\n".join(f"={start + tick}// {tick % 100}.25" for tick in range(tick_count * 100))
        for head in heads[: series_count // 100]
    ]
    return [body.encode() for body in by_tick], [body.encode() for body in by_series]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--ticks", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    workload = tsbs.Workload(host_count=asked.hosts, hours=asked.ticks * 10 / 3600)
    lines = list(tsbs.line_bodies(workload))
    version_1 = list(tsbs.remote_write_bodies(workload))
    version_2 = remote_write_2_bodies(workload)

    def decode_lines(body: bytes) -> Batch:
        return decode_line_protocol(body, precision_ns=1, now_ns=0)

    def decode_1(body: bytes) -> Batch:
        return decode_remote_write_1(body, encoding="snappy", size_bytes_max=SIZE_BYTES_MAX)

    def decode_2(body: bytes) -> Batch:
        return decode_remote_write_2(body, encoding="snappy", size_bytes_max=SIZE_BYTES_MAX)

    def decode_warp10(body: bytes) -> Batch:
        return decode_gts(body, unit_ns=1000, now_ns=0)

    def decode_metrics(body: bytes) -> Batch:
        return decode_otlp(body, options=OTLP_OPTIONS)

    by_tick, by_series = warp10_bodies(asked.hosts, asked.ticks)

    for name, budget_ns, bodies, decode in (
        ("line protocol, whole numbers", BUDGET_LINE_NS, lines, decode_lines),
        ("line protocol, doubles", BUDGET_LINE_NS, doubles(lines), decode_lines),
        (
            "remote write 1.0, plain",
            BUDGET_REMOTE_WRITE_NS,
            plain(version_1),
            decode_remote_write_1,
        ),
        ("remote write 1.0, snappy", BUDGET_REMOTE_WRITE_NS, version_1, decode_1),
        (
            "remote write 2.0, plain",
            BUDGET_REMOTE_WRITE_NS,
            plain(version_2),
            decode_remote_write_2,
        ),
        ("remote write 2.0, snappy", BUDGET_REMOTE_WRITE_NS, version_2, decode_2),
        ("Warp 10, each with its series", BUDGET_WARP10_NS, by_tick, decode_warp10),
        ("Warp 10, continuations", BUDGET_WARP10_NS, by_series, decode_warp10),
        ("OTLP, protobuf", BUDGET_OTLP_NS, list(tsbs.otlp_bodies(workload)), decode_metrics),
    ):
        cost = cost_ns(bodies, decode, rounds=asked.rounds)
        print(f"{name:30} {cost:6.1f} ns/value (budget {budget_ns})")


if __name__ == "__main__":
    main()
