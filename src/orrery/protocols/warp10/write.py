"""``/api/v0/update`` and ``/api/v0/meta``: samples, and attributes of series.

Bad lines are left out and named, the others are kept: a 500 in Warp 10's words, as Warp 10 answers
what it cannot parse. Called through the routes of ``wire``.
"""

import asyncio

from orrery.errors import Exhausted, Invalid
from orrery.ingest.requests import REASONS_SHOWN_MAX, Decode, Outcome, TooLarge, store
from orrery.kernels.batch import Batch
from orrery.kernels.decompress import ENCODINGS
from orrery.kernels.gts_input import decode_gts, decode_gts_meta
from orrery.protocols.warp10.errors import CORS, TEXT, Unparsed, Unsupported, refusal
from orrery.protocols.warp10.parts import Pairs, Parts
from orrery.protocols.warp10.times import read_long
from orrery.server.http import Request, Response
from orrery.tenancy.tokens import Permission

GZIP_TYPE = "application/gzip"
NOW_HEADER = "x-warp10-now"
ATTRIBUTES_HEADER = "x-warp10-attributes"


async def update(parts: Parts, request: Request) -> Response:
    caller = parts.caller(request, Permission.WRITE)
    writing = parts.writing
    outcome = await store(
        caller.tenant,
        _samples_decoder(parts, request),
        body_bytes=len(request.body),
        forced=caller.forced_labels,
        parts=writing,
    )
    return _answer(outcome)


def _answer(outcome: Outcome) -> Response:
    if not outcome.refused:
        return Response(200, b"", (*CORS, *outcome.headers), TEXT)
    return refusal(
        500,
        outcome.shown,
        more_count=len(outcome.refused) - len(outcome.shown),
        kept=f"{outcome.sample_count} datapoints were stored",
        headers=outcome.headers,
    )


def _samples_decoder(parts: Parts, request: Request) -> Decode:
    encoding = _encoding(request)
    _check_attributes(request)
    unit_ns = parts.unit_ns
    now_ns = _now(request, parts.clock.now_ns() // unit_ns) * unit_ns

    def decode(size_bytes_max: int) -> Batch:
        try:
            batch = decode_gts(
                request.body,
                unit_ns=unit_ns,
                now_ns=now_ns,
                encoding=encoding,
                size_bytes_max=size_bytes_max,
            )
        except Invalid as error:
            raise Unparsed(str(error)) from error
        request.hold(batch.memory_bytes)
        return batch

    return decode


def _now(request: Request, now: int) -> int:
    """In time units: the server's, or what the request says it is."""
    text = request.headers.get(NOW_HEADER, "*").strip()
    if text == "*":
        return now
    try:
        number = read_long(NOW_HEADER, text)
    except Invalid as error:
        raise Unparsed("Invalid base timestamp.") from error
    shifted = now + number if text[:1] in "+-" else number
    if not -(2**62) < shifted < 2**62:
        raise Unparsed("Invalid base timestamp.")
    return shifted


def _check_attributes(request: Request) -> None:
    if ATTRIBUTES_HEADER in request.headers:
        raise Invalid(
            f"cannot update attributes by {request.headers[ATTRIBUTES_HEADER]!r}: Delta update of "
            "attributes is disabled."
        )


def _encoding(request: Request) -> str:
    """Warp 10 says by the content's type that it is compressed."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
    is_gzip = request.headers.get("content-type", "").strip().lower() == GZIP_TYPE
    if encoding not in ENCODINGS or (is_gzip and encoding not in ("identity", "gzip", "x-gzip")):
        accepted = ", ".join(sorted(ENCODINGS))
        raise Unsupported(f"cannot decode content encoding {encoding!r}: not one of {accepted}")
    return "gzip" if is_gzip else encoding


async def meta(parts: Parts, request: Request) -> Response:
    """What a line says of a series replaces what was said before."""
    caller = parts.caller(request, Permission.WRITE)
    _check_attributes(request)
    writing = parts.writing
    batch, rows, refused = await asyncio.get_running_loop().run_in_executor(
        writing.decode_executor, lambda: _read_meta(parts, request, caller.forced_labels)
    )
    request.hold(batch.memory_bytes)
    if rows:
        await asyncio.wrap_future(parts.write_attributes(caller.tenant, rows))
    if not refused:
        return Response(200, b"", CORS, TEXT)
    return refusal(
        400,
        refused[:REASONS_SHOWN_MAX],
        more_count=max(0, len(refused) - REASONS_SHOWN_MAX),
        kept=f"attributes of {len(rows)} series were stored",
    )


def _read_meta(
    parts: Parts, request: Request, forced: Pairs
) -> tuple[Batch, list[tuple[bytes, Pairs]], list[tuple[int, str]]]:
    try:
        batch = decode_gts_meta(
            request.body,
            encoding=_encoding(request),
            size_bytes_max=parts.writing.size_bytes_max,
        )
    except Exhausted as error:
        raise TooLarge(str(error), error.excess) from error
    lines = batch.columns()["lines"].tolist() if batch.attributes else []
    rows, refused = [], list(batch.rejected)
    for key, pairs in batch.attributes:
        try:
            rows.append((batch.canonical(key, forced=forced), tuple(pairs)))
        except Invalid as error:
            refused.append((lines[key], str(error)))
    return batch, rows, sorted(refused)
