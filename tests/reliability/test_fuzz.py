"""Every decoder against mutated real input: it answers or raises one of our errors, in bounded
time, and never takes the process down.

Checksums are put right after a mutation, so that what lies behind them is reached.
SOAK_SECONDS says for how long (default 20, over all decoders), SOAK_SEED repeats a run.
"""

import contextlib
import gzip
import os
import pickle
import random
import re
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cramjam
import numpy as np
import pytest
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from orrery.errors import OrreryError
from orrery.kernels import pages
from orrery.kernels.batch import Batch
from orrery.kernels.block import Block
from orrery.kernels.checksum import crc32c
from orrery.kernels.decompress import decompress
from orrery.kernels.graphite import decode_graphite_lines, decode_graphite_pickles
from orrery.kernels.gts_input import decode_gts, decode_gts_meta
from orrery.kernels.head import Head
from orrery.kernels.histogram import decode_histogram
from orrery.kernels.line_protocol import decode_line_protocol
from orrery.kernels.log_frames import find_witness, frame_headers, scan_frames
from orrery.kernels.opentsdb import decode_opentsdb, echo_opentsdb
from orrery.kernels.opentsdb_lines import decode_opentsdb_lines, opentsdb_lines_end
from orrery.kernels.otlp import OtlpOptions, decode_otlp
from orrery.kernels.record import (
    decode_attributes,
    decode_delete,
    decode_metadata,
    describe_record,
    record_kind,
)
from orrery.kernels.remote_write import decode_remote_write_1, decode_remote_write_2
from orrery.kernels.selector import check_matchers
from orrery.kernels.series import parse_series
from orrery.kernels.series_table import SeriesTable
from orrery.languages.promql.parse import parse
from orrery.store.documents import decode_document, encode_document
from orrery.store.manifest import Manifest
from tests.kernels import histograms
from tests.kernels import otlp_messages as otlp
from tests.kernels.prometheus_messages import request_1, request_2, with_histograms
from tests.kernels.test_histogram import golden as histogram_payloads
from tests.kernels.test_record import golden_records

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
ONE_SECONDS_MAX = 5.0
BYTES_MAX = 1_000_000
GOLDEN = Path(__file__).parents[1] / "golden"
SECOND_NS = 1_000_000_000

Mutant = Callable[[random.Random, bytes], bytes]
TOKENS = [b"\0", b"\xff", b"\xff" * 9 + b"\x01", b"\x80" * 10, b"=", b",", b" ", b'"', b"\\", b"\n"]
TOKENS += [b"(", b"{", b"[", b"e308", b"-", b"9" * 30, b"NaN", b"\xf0\x9f", b"\0\0\0\x80"]


def mutated(chance: random.Random, content: bytes) -> bytes:
    """A few of: a bit flipped, bytes cut out, doubled, moved or put in, the end cut off."""
    out = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 12))):
        at = chance.randrange(len(out) + 1)
        until = min(len(out), at + chance.choice((1, 2, 4, 8, 64)))
        match chance.randrange(7):
            case 0 | 1 if at < len(out):
                out[at] ^= 1 << chance.randrange(8)
            case 2:
                del out[at:until]
            case 3:
                out[at:at] = out[at:until]
            case 4:
                out[at:until] = chance.choice(TOKENS)
            case 5:
                out[at:at] = chance.randbytes(until - at)
            case 6 if chance.random() < 0.2:
                del out[at:]
    return bytes(out)


def mutated_record(chance: random.Random, content: bytes) -> bytes:
    body = mutated(chance, content[:-4])
    if len(body) >= 12 and chance.random() < 0.7:
        body = body[:8] + (len(body) + 4).to_bytes(4, "little") + body[12:]
    return body + crc32c(body).to_bytes(4, "little")


def mutated_frames(chance: random.Random, content: bytes) -> bytes:
    """Breaks one frame of several, mostly with a checksum that fits."""
    first = int.from_bytes(content[4:8], "little") + 20
    body = mutated(chance, content[4:first])
    return crc32c(body).to_bytes(4, "little") + body + content[first:]


def mutated_document(chance: random.Random, content: bytes) -> bytes:
    body = mutated(chance, content[content.index(b'"document":') + 11 : -2])
    return b'{"format":1,"crc32c":"%08x","document":%s}\n' % (crc32c(body), body)


def mutated_inside(encode: Callable[[bytes], bytes]) -> Mutant:
    """Below an encoding, or (now and then) the encoded bytes themselves."""

    def mutant(chance: random.Random, content: bytes) -> bytes:
        if chance.random() < 0.3:
            return mutated(chance, encode(content))
        return encode(mutated(chance, content))

    return mutant


# --- what each decoder is given, and how it is called


def lines(body: bytes) -> None:
    decode_line_protocol(
        body, precision_ns=1, now_ns=0, encoding="identity", size_bytes_max=BYTES_MAX
    ).columns()


def graphite(decode: Callable[..., tuple]) -> Callable[[bytes], None]:
    def call(body: bytes) -> None:
        batch, of_tokens, _ = decode(body, now_ns=0, tokens_max=3)
        for one in (batch, *(one for _, one in of_tokens)):
            for key in range(one.key_count):
                with contextlib.suppress(OrreryError):
                    one.canonical(key)

    return call


def opentsdb(body: bytes) -> None:
    batch = decode_opentsdb(body, encoding="identity", size_bytes_max=BYTES_MAX)
    positions = [line for line, _ in batch.rejected]
    assert len(echo_opentsdb(body, positions)) == len(positions)
    name_all(batch)


def opentsdb_lines(text: bytes) -> None:
    assert 0 <= opentsdb_lines_end(text, 0) <= len(text)
    name_all(decode_opentsdb_lines(text))


def name_all(batch: Batch) -> None:
    for key in range(batch.key_count):
        with contextlib.suppress(OrreryError):
            batch.canonical(key)


def gts(body: bytes) -> None:
    for batch in (
        decode_gts(body, unit_ns=1000, now_ns=0, size_bytes_max=BYTES_MAX),
        decode_gts_meta(body, size_bytes_max=BYTES_MAX),
    ):
        assert len(batch.columns()["lines"]) == batch.key_count
        assert all(key < batch.key_count for key, _ in batch.attributes)


def remote_write(decode: Callable[..., object]) -> Callable[[bytes], None]:
    def call(body: bytes) -> None:
        decode(body, encoding="snappy", size_bytes_max=BYTES_MAX).columns()  # type: ignore[attr-defined]

    return call


def otlp_metrics(*, is_json: bool) -> Callable[[bytes], None]:
    def call(body: bytes) -> None:
        batch = decode_otlp(body, options=OTLP_OPTIONS, is_json=is_json, size_bytes_max=BYTES_MAX)
        for key in range(min(batch.key_count, 100)):
            with contextlib.suppress(OrreryError):
                batch.canonical(key)

    return call


def otlp_requests() -> list[ExportMetricsServiceRequest]:
    kinds = [
        otlp.gauge("room.temperature", otlp.number(21.5, {"floor": 2, "a": [1, {"b": b"x"}]})),
        otlp.total("orders", otlp.number(7, {"kind": "new"}), otlp.number(None, flags=1)),
        otlp.histogram("latency", [0.5, 1, 5], [1, 2, 3, 4], {"x": "y"}, unit="s"),
        otlp.summary("sizes", {0.0: 1.0, 0.5: 2.0}, unit="By"),
        otlp.exponential("native"),
    ]
    scope = {"name": "lib", "version": "1", "attributes": {"a": 1.5}}
    given = {"service.name": "shop", "host.name": "h", "pid": 7}
    whole = otlp.resource(*kinds, given=given, scope=scope)
    return [otlp.request(whole), otlp.request(whole, otlp.resource(kinds[0]))]


def inflate(encoding: str) -> Callable[[bytes], None]:
    def call(body: bytes) -> None:
        assert len(decompress(encoding, body, size_bytes_max=BYTES_MAX)) <= BYTES_MAX

    return call


def record(content: bytes) -> None:
    describe_record(content)
    match record_kind(content):
        case "delete":
            _, matchers, _, _ = decode_delete(content)
            check_matchers(matchers)
        case "metadata":
            decode_metadata(content)
        case "attributes":
            decode_attributes(content)
        case _:
            Head(SeriesTable()).replay(content, 1)


def frames(content: bytes) -> None:
    spans, end, following = scan_frames(content, position=0, offset=0)
    assert all(0 <= start <= stop <= len(content) for start, stop in spans)
    find_witness(content, position=end, offset=following)


def block(path: Path) -> Callable[[bytes], None]:
    def call(content: bytes) -> None:
        path.write_bytes(content)
        Block.open(path).verify()

    return call


def promql(text: bytes) -> None:
    parse(text.decode("utf-8", "surrogateescape"))


def manifest(content: bytes) -> None:
    decode_document(content, Manifest, name="fuzzed", format_version=1)


def queries() -> list[bytes]:
    found = []
    for file in sorted((GOLDEN / "promql").glob("*.txt")):
        found += re.findall(r"^ask (.*) at ", file.read_text(), re.M)
    return [query.encode() for query in found]


def messages() -> tuple[list[bytes], list[bytes]]:
    labels = [("__name__", "up"), ("host", "a"), ("job", "node")]
    series = [(labels, [(1_700_000_000_000, 1.5), (1_700_000_015_000, 2.5)])]
    held = [histograms.at(one, 1_700_000_000_000) for one in histograms.ALL.values()]
    return (
        [request_1(series), with_histograms(request_1(series * 9), 1, held)],
        [request_2(series), with_histograms(request_2(series * 9), 2, held)],
    )


OTLP_OPTIONS = OtlpOptions(
    translation="UnderscoreEscapingWithSuffixes", promotes_all_others=True, has_scope_labels=True
)
LINES = [
    b"cpu,host=a,dc=b usage=1.5,idle=2i,busy=3u,up=t 1700000000000000000",
    b'# note\nm\\ n,t\\,a=b\\=c f="a \\"b\\" c",g=1e10\nm f=1 2\n\nx y=-0.5',
]
GRAPHITE = [
    b"a.b;host=a;dc=b 1.5 1700000000\nc 2 -1\r\n",
    b'orr_0123456789@.d{x="y",z="\\""} nan 1.25\n  e\t-1e300 17e8\nauth orr_0123456789\n',
]
DATAPOINTS = [("a.b;host=a", (1_700_000_000, 1.5)), ("orr_0123456789@.c", (-1.5, 2**70))]
PICKLES = [pickle.dumps(DATAPOINTS * count, protocol) for protocol in range(6) for count in (1, 9)]
DATA_POINTS = [
    b'[{"metric":"sys.cpu","timestamp":1700000000,"value":18,"tags":{"host":"a","dc":"b"}},'
    b'{"metric":"sys.mem","timestamp":1700000001,"value":-1.5e3,"tags":{"host":"a","dc":"b"}}]',
    b'{"tags":{"h\\u00e9":"\\ud83d\\ude00"},"value":"7","x":{"y":[1,null]},"metric":"m","timestamp":1}',
]
PUTS = [b"put sys.cpu 1700000000 18 host=a dc=b\r\nput m 1.5 -1e3 a=b=c\n\nversion\n"]
RECORDS = golden_records() + golden_records(GOLDEN / "formats" / "record_v1_sides.bin")
GTS = [
    b"1// c%20d{a=1,b=%C3%A9}{u=x} 1.5\n"
    b"=2// 'a%20b'\nT-5// e{} T\n// b64:-_8\n# x\n3// f{} hex:00ff",
    b"c{a=1}{u=x,v=}\n\nd{}{}\n# note\n4/48.1:-2.3/12 g{} [1 2]\n5// h{} -1e-300",
]
RECORDS.append((GOLDEN / "formats" / "record_attributes_v1.bin").read_bytes())
RNG = np.random.default_rng(1)
TIMES = np.cumsum(RNG.integers(0, 20 * SECOND_NS, 200))
REGULAR = np.arange(200) * 10 * SECOND_NS
FLOATS = np.round(np.cumsum(RNG.normal(size=200)), 2).view(np.uint64)
NOISE = RNG.integers(0, 2**63, 200, dtype=np.uint64)
FRAMED = [b"a" * 30, b"b" * 7, b"c" * 90]
HEADERS = frame_headers(FRAMED, offset=0, synced=0)
FRAMES = [b"".join(part for frame in zip(HEADERS, FRAMED, strict=True) for part in frame)]
SERIES = [b"\x02up\x00\x01\x04host\x01a", b"\x03cpu\x04user\x00"]


def decoders(folder: Path) -> dict[str, tuple[Callable[[bytes], None], Sequence[bytes], Mutant]]:
    version_1, version_2 = messages()
    snappy = mutated_inside(lambda content: bytes(cramjam.snappy.compress_raw(content)))
    zstd = mutated_inside(lambda content: bytes(cramjam.zstd.compress(content)))
    kept = [encode_document(Manifest(), format_version=1)]
    kept.append((GOLDEN / "formats" / "manifest_v1.json").read_bytes())
    framed = mutated_inside(lambda content: struct.pack("!L", len(content)) + content)
    return {
        "line protocol": (lines, LINES, mutated),
        "graphite lines": (graphite(decode_graphite_lines), GRAPHITE, mutated),
        "graphite pickles": (graphite(decode_graphite_pickles), PICKLES, framed),
        "opentsdb": (opentsdb, DATA_POINTS, mutated),
        "opentsdb lines": (opentsdb_lines, PUTS, mutated),
        "remote write 1": (remote_write(decode_remote_write_1), version_1, snappy),
        "remote write 2": (remote_write(decode_remote_write_2), version_2, snappy),
        "otlp": (
            otlp_metrics(is_json=False),
            [message.SerializeToString() for message in otlp_requests()],
            mutated,
        ),
        "otlp json": (
            otlp_metrics(is_json=True),
            [MessageToJson(message, indent=None).encode() for message in otlp_requests()],
            mutated,
        ),
        "histogram": (
            lambda content: decode_histogram(content) and None,
            histogram_payloads(),
            mutated,
        ),
        "gzip": (inflate("gzip"), LINES, mutated_inside(gzip.compress)),
        "snappy": (inflate("snappy"), LINES, snappy),
        "zstd": (inflate("zstd"), LINES, zstd),
        "warp 10": (gts, GTS, mutated),
        "record": (record, RECORDS, mutated_record),
        "frames": (frames, FRAMES, mutated_frames),
        "series": (lambda content: parse_series(content) and None, SERIES, mutated),
        "block": (
            block(folder / "fuzzed.block"),
            [(GOLDEN / "formats" / f"block-1{of}.block").read_bytes() for of in ("", "-sides")],
            mutated,
        ),
        "time page": (
            lambda page: pages.decode_times(page) is None and None,
            [pages.encode_times(t, effort="small") for t in (TIMES, REGULAR)],
            mutated,
        ),
        **{
            f"value page of kind {kind}": (
                lambda page, kind=kind: pages.decode_values(kind, page) is None and None,
                [pages.encode_values(kind, b, effort="small") for b in (FLOATS, NOISE)],
                mutated,
            )
            for kind in (1, 2, 3)
        },
        "promql": (promql, queries(), mutated),
        "manifest": (manifest, kept, mutated_document),
    }


NAMES = list(decoders(Path()))


@pytest.mark.soak
@pytest.mark.timeout(SOAK_SECONDS * 2 + 60)
@pytest.mark.parametrize("name", NAMES)
def test_any_mutant_is_answered_or_refused(name: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("SOAK_SEED", str(random.SystemRandom().randrange(10**6))))
    chance = random.Random(seed)
    call, corpus, mutant = decoders(tmp_path)[name]
    deadline = time.monotonic() + SOAK_SECONDS / len(NAMES)
    refused = answered = 0
    last = tmp_path / "last"
    while time.monotonic() < deadline:
        content = mutant(chance, chance.choice(corpus))
        began = time.monotonic()
        try:
            call(content)
        except OrreryError:
            refused += 1
        except BaseException:
            last.write_bytes(content)
            raise
        else:
            answered += 1
        assert time.monotonic() - began < ONE_SECONDS_MAX, (seed, content[:2000])
    assert refused + answered > 10, seed
