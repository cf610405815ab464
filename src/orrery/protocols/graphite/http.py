"""Graphite's lines over HTTP, which has answers: ``POST /graphite/metrics``; ``app`` mounts it.

Hosted Graphites take lines so, under paths of their own. Good lines are kept; an answer to bad ones
names each with its reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from orrery.errors import Corrupt, Denied, Exhausted, Invalid, OrreryError, Unavailable
from orrery.ingest.contract import Rejected
from orrery.ingest.parts import WriteParts
from orrery.ingest.requests import Outcome, TooLarge, store
from orrery.kernels.batch import Batch
from orrery.kernels.decompress import ENCODINGS
from orrery.kernels.graphite import decode_graphite_lines
from orrery.server.http import Request, Response, Route
from orrery.tenancy.access import Unauthenticated, gate
from orrery.tenancy.tokens import Permission

PATH = "/graphite/metrics"
SCHEME = "graphite"
RETRY_AFTER_SECONDS = 1.0
OTHER_FORMATS = ("application/json", "application/msgpack", "rt-metric-binary")
"""Grafana's ways of sending metrics, which are not taken for lines."""


class Unsupported(Invalid):
    """A content type or encoding that nobody here reads."""


STATUSES: tuple[tuple[type[OrreryError], int], ...] = (
    (Unsupported, 415),
    (Invalid, 400),
    (Unauthenticated, 401),
    (Denied, 403),
    (TooLarge, 413),
    (Exhausted, 429),
    (Unavailable, 503),
    (Corrupt, 500),
    (OrreryError, 500),
)
"""The first that fits."""


def routes(parts: WriteParts) -> list[Route]:
    return [
        Route(
            methods=frozenset({"POST"}),
            path=PATH,
            handler=Writes(parts).write,
            render_error=render_error,
            compressed_whole=True,
            admit=gate(parts.access, permission=Permission.WRITE, scheme=SCHEME),
        )
    ]


@dataclass(frozen=True, slots=True)
class Writes:
    parts: WriteParts

    async def write(self, request: Request) -> Response:
        caller = self.parts.access.caller(request, permission=Permission.WRITE, scheme=SCHEME)
        encoding = _encoding(request)
        _check_type(request)
        now_ns = self.parts.clock.now_ns()

        def decode(size_bytes_max: int) -> Batch:
            batch, _, _ = decode_graphite_lines(
                request.body, now_ns=now_ns, encoding=encoding, size_bytes_max=size_bytes_max
            )
            request.hold(batch.memory_bytes)
            return batch

        outcome = await store(
            caller.tenant,
            decode,
            body_bytes=len(request.body),
            forced=caller.forced_labels,
            parts=self.parts,
        )
        return _answer(outcome)


def render_error(error: OrreryError) -> Response:
    """``{"error": ...}``; a limit is named beside it."""
    status = next(status for kind, status in STATUSES if isinstance(error, kind))
    body: dict[str, object] = {"error": str(error)}
    headers = error.headers if isinstance(error, Unauthenticated) else ()
    seconds = RETRY_AFTER_SECONDS
    if isinstance(error, Exhausted) and error.excess is not None:
        status = 503 if status == 429 and error.is_of_the_server else status
        seconds = error.excess.retry_after_seconds or seconds
        body["limit"] = error.excess.shown
    if status in (429, 503):
        headers = (*headers, ("retry-after", str(max(1, round(seconds)))))
    return Response(status, msgspec.json.encode(body), headers)


def _answer(outcome: Outcome) -> Response:
    if not outcome.refused:
        return Response(200, msgspec.json.encode({"stored": outcome.sample_count}), outcome.headers)
    count = outcome.refused_line_count
    message = f"cannot store {count} of the lines: {outcome.refused[0][1]}"
    body = {"error": message, "stored": outcome.sample_count, "rejected": _shown(outcome.shown)}
    return Response(400, msgspec.json.encode(body), outcome.headers)


def _shown(refused: Sequence[Rejected]) -> list[dict[str, object]]:
    return [{"line": line, "reason": reason} for line, reason in refused]


def _encoding(request: Request) -> str:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ENCODINGS:
        accepted = ", ".join(sorted(ENCODINGS))
        raise Unsupported(f"cannot decode content encoding {encoding!r}: not one of {accepted}")
    return encoding


def _check_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in OTHER_FORMATS:
        raise Unsupported(f"cannot read content type {kind!r}: only lines of text are taken")
