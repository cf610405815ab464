"""Prometheus remote write 1.0 and 2.0; ``app`` mounts :func:`routes`.

The message is chosen by Content-Type and taken off snappy's block format, or zstd, which
VictoriaMetrics' agents send. What cannot be stored is refused with 400, which senders do not try
again, after everything else was stored; 429 and 5xx ask them to.
"""

from dataclasses import dataclass
from email.message import Message
from functools import lru_cache

import msgspec

from orrery.errors import Corrupt, Denied, Exhausted, Invalid, OrreryError, Unavailable
from orrery.ingest.parts import WriteParts
from orrery.ingest.requests import Outcome, TooLarge, store
from orrery.kernels.batch import Batch
from orrery.kernels.remote_write import decode_remote_write_1, decode_remote_write_2
from orrery.server.http import Request, Response, Route
from orrery.tenancy.access import Unauthenticated, gate
from orrery.tenancy.tokens import Permission

PATHS = ("/prometheus/api/v1/write", "/api/v1/write", "/prometheus/write")
MEDIA_TYPE = "application/x-protobuf"
MESSAGE_1 = "prometheus.WriteRequest"
MESSAGE_2 = "io.prometheus.write.v2.Request"
ENCODINGS = frozenset({"snappy", "zstd"})
REASONS_IN_TEXT_MAX = 10
CONTENT_TYPES_KEPT_MAX = 64
RETRY_AFTER_SECONDS = 1.0
"""Where the limit itself does not tell."""


class Unsupported(Invalid):
    """A content type or encoding that senders may change and try again."""


STATUSES: tuple[tuple[type[OrreryError], int, str], ...] = (
    (Unsupported, 415, "unsupported_media_type"),
    (Invalid, 400, "bad_data"),
    (Unauthenticated, 401, "unauthorized"),
    (Denied, 403, "forbidden"),
    (TooLarge, 413, "too_large"),
    (Exhausted, 429, "too_many_requests"),
    (Unavailable, 503, "unavailable"),
    (Corrupt, 500, "internal"),
    (OrreryError, 500, "internal"),
)
"""The first that fits."""

RETRIED = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Writes:
    parts: WriteParts

    async def write(self, request: Request) -> Response:
        caller = self.parts.access.caller(request, permission=Permission.WRITE, scheme="prometheus")
        message = message_of(request.headers.get("content-type", ""))
        encoding = encoding_of(request.headers.get("content-encoding", ""))
        is_version_2 = message == MESSAGE_2
        decode = decode_remote_write_2 if is_version_2 else decode_remote_write_1

        def work(size_bytes_max: int) -> Batch:
            batch = decode(request.body, encoding=encoding, size_bytes_max=size_bytes_max)
            request.hold(batch.memory_bytes)
            return batch

        try:
            outcome = await store(
                caller.tenant,
                work,
                body_bytes=len(request.body),
                forced=caller.forced_labels,
                parts=self.parts,
            )
        except OrreryError as error:
            response = render_error(error)
            return _with(response, written_headers(0, 0) if is_version_2 else ())
        counts: tuple[tuple[str, str], ...] = ()
        if is_version_2:
            histogram_count = outcome.histogram_count
            counts = written_headers(outcome.sample_count - histogram_count, histogram_count)
        return _with(answer(outcome), (*counts, *outcome.headers))


def routes(parts: WriteParts) -> list[Route]:
    writes = Writes(parts)
    return [
        Route(
            methods=frozenset({"POST"}),
            path=path,
            handler=writes.write,
            render_error=render_error,
            compressed_whole=True,
            admit=gate(parts.access, permission=Permission.WRITE, scheme="prometheus"),
        )
        for path in PATHS
    ]


@lru_cache(maxsize=CONTENT_TYPES_KEPT_MAX)
def message_of(content_type: str) -> str:
    """The protobuf message a Content-Type names; senders of 1.0 may leave it out."""
    if not content_type.strip():
        return MESSAGE_1
    header = Message()
    header["content-type"] = content_type
    if header.get_content_type() != MEDIA_TYPE:
        raise Unsupported(f"cannot decode content type {content_type!r}: not {MEDIA_TYPE}")
    message = header.get_param("proto", MESSAGE_1)
    if message not in (MESSAGE_1, MESSAGE_2):
        raise Unsupported(
            f"cannot decode protobuf message {message!r}: not {MESSAGE_1} or {MESSAGE_2}"
        )
    return str(message)


def encoding_of(content_encoding: str) -> str:
    """The encoding of the body; senders of 1.0 may leave it out, and mean snappy."""
    encoding = content_encoding.strip().lower() or "snappy"
    if encoding not in ENCODINGS:
        accepted = ", ".join(sorted(ENCODINGS))
        raise Unsupported(f"cannot decode content encoding {encoding!r}: not one of {accepted}")
    return encoding


def written_headers(float_count: int, histogram_count: int) -> tuple[tuple[str, str], ...]:
    """What 2.0 demands of every answer; no exemplar is ever written."""
    return (
        ("x-prometheus-remote-write-samples-written", str(float_count)),
        ("x-prometheus-remote-write-histograms-written", str(histogram_count)),
        ("x-prometheus-remote-write-exemplars-written", "0"),
    )


def answer(outcome: Outcome) -> Response:
    """204, or 400 naming what was refused; senders log its first line."""
    if not outcome.refused:
        return Response(204)
    reasons = list(dict.fromkeys(reason for _, reason in outcome.refused))
    text = "; ".join(reasons[:REASONS_IN_TEXT_MAX])
    if len(reasons) > REASONS_IN_TEXT_MAX:
        text += f"; and {len(reasons) - REASONS_IN_TEXT_MAX} more"
    kind = "partial write" if outcome.sample_count else "nothing written"
    message = f"{kind}: {outcome.sample_count} samples written, {outcome.refused_sample_count} "
    return _failure(
        400,
        "bad_data",
        f"{message}samples refused: {text}",
        rejected=[{"series": line, "reason": reason} for line, reason in outcome.shown],
    )


def render_error(error: OrreryError) -> Response:
    kinds = ((status, name) for kind, status, name in STATUSES if isinstance(error, kind))
    status, name = next(kinds)
    if status == 429 and isinstance(error, Exhausted) and error.is_of_the_server:
        status, name = 503, "unavailable"
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(error, Unauthenticated):
        headers = error.headers
    more: dict[str, object] = {}
    seconds = RETRY_AFTER_SECONDS
    excess = error.excess if isinstance(error, Exhausted) else None
    if excess is not None:
        seconds = excess.retry_after_seconds or seconds
        more["limit"] = excess.shown
    if status in RETRIED:
        headers += (("retry-after", str(max(1, round(seconds)))),)
    return _with(_failure(status, name, str(error), **more), headers)


def _failure(status: int, name: str, message: str, **more: object) -> Response:
    body = {"status": "error", "errorType": name, "error": message, **more}
    return Response(status, msgspec.json.encode(body))


def _with(response: Response, headers: tuple[tuple[str, str], ...]) -> Response:
    return Response(
        response.status,
        response.body,
        (*response.headers, *headers),
        response.content_type,
    )
