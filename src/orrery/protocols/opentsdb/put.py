"""Writes by ``POST /api/put``, answered as OpenTSDB 2.4 does; ``app`` mounts :func:`routes`.

Good data points are kept whatever stands beside them. Every write is what OpenTSDB calls
synchronous: an answer says what is stored, not what is queued.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field

import msgspec

from orrery.ingest.parts import WriteParts
from orrery.ingest.requests import Outcome, store
from orrery.kernels.batch import Batch
from orrery.kernels.decompress import ENCODINGS
from orrery.kernels.opentsdb import decode_opentsdb, echo_opentsdb
from orrery.protocols.opentsdb.errors import (
    CONTENT_TYPE,
    Unsupported,
    error_response,
    render_error,
)
from orrery.protocols.opentsdb.options import Options, options_of
from orrery.server.http import Request, Response, Route
from orrery.tenancy.access import gate
from orrery.tenancy.tokens import Permission

PREFIXES = ("/api", "/api/v1", "/opentsdb/api", "/opentsdb/api/v1")
SCHEME = "opentsdb"
REASONS_IN_MESSAGE_MAX = 5
ASK_FOR_DETAILS = 'append "details" to the put request for all of them'
Refused = tuple[tuple[int, str], ...]


@dataclass(slots=True)
class Decoded:
    """Takes off the encoding and decodes; remembers what was found."""

    request: Request
    encoding: str
    refused: Refused = ()
    decoded_count: int | None = None

    def __call__(self, size_bytes_max: int) -> Batch:
        batch = decode_opentsdb(
            self.request.body, encoding=self.encoding, size_bytes_max=size_bytes_max
        )
        self.request.hold(batch.memory_bytes)
        self.refused = tuple(batch.rejected)
        self.decoded_count = batch.sample_count
        return batch


@dataclass(frozen=True, slots=True)
class Put:
    """``pending`` keeps writes whose requests did not wait for them."""

    parts: WriteParts
    pending: set["asyncio.Task[Outcome]"] = field(default_factory=set)

    async def __call__(self, request: Request) -> Response:
        access = self.parts.access
        caller = access.caller(request, permission=Permission.WRITE, scheme=SCHEME)
        options = options_of(request)
        decoded = Decoded(request, encoding_of(request))
        storing = store(
            caller.tenant,
            decoded,
            body_bytes=len(request.body),
            forced=caller.forced_labels,
            parts=self.parts,
        )
        if options.timeout_seconds is None:
            outcome: Outcome | None = await storing
        else:
            outcome = await self._within(options.timeout_seconds, storing)
        if outcome is None:
            return await self._timed_out(decoded, options)
        return await self._answer(decoded, outcome, options)

    async def _within(
        self, seconds: float, storing: Coroutine[None, None, Outcome]
    ) -> Outcome | None:
        """None where it takes longer; it is not given up for that."""
        task = asyncio.get_running_loop().create_task(storing)
        self.pending.add(task)
        task.add_done_callback(self._settled)
        done, _ = await asyncio.wait({task}, timeout=seconds)
        return task.result() if done else None

    def _settled(self, task: "asyncio.Task[Outcome]") -> None:
        self.pending.discard(task)
        if not task.cancelled():
            # Asked for, or the loop would complain of an error that nobody waited for.
            task.exception()

    async def _answer(self, decoded: Decoded, outcome: Outcome, options: Options) -> Response:
        failed_count = len(decoded.refused) + outcome.refused_sample_count
        status = 400 if failed_count else 200
        if options.has_summary or options.has_details:
            body = {"success": outcome.sample_count, "failed": failed_count}
            if options.timeout_seconds is not None:
                body["timeouts"] = 0
            return await self._summary(
                decoded, status, body, outcome.refused, options, outcome.headers
            )
        if not failed_count:
            return Response(204, headers=outcome.headers)
        shown = outcome.refused[:REASONS_IN_MESSAGE_MAX]
        reasons = [f"data point {position}: {reason}" for position, reason in shown]
        message = {
            "code": 400,
            "message": "One or more data points had errors",
            "details": "; ".join([*reasons, ASK_FOR_DETAILS]),
        }
        return error_response(400, message, outcome.headers)

    async def _timed_out(self, decoded: Decoded, options: Options) -> Response:
        failed_count, waiting_count = len(decoded.refused), decoded.decoded_count
        if waiting_count is None or not (options.has_summary or options.has_details):
            message = {
                "code": 400,
                "message": "The put call has timedout with 0 successful writes, "
                f"{failed_count} failed writes and {waiting_count or 'all'} timed out writes.",
                "details": "What timed out may be stored yet",
            }
            return error_response(400, message, ())
        body = {"success": 0, "failed": failed_count, "timeouts": waiting_count}
        return await self._summary(decoded, 400, body, decoded.refused, options, ())

    async def _summary(
        self,
        decoded: Decoded,
        status: int,
        counts: dict[str, int],
        refused: Refused,
        options: Options,
        headers: tuple[tuple[str, str], ...],
    ) -> Response:
        body: dict[str, object] = dict(counts)
        if options.has_details:
            body["errors"] = await self._details(decoded, refused)
        return Response(status, msgspec.json.encode(body), headers, CONTENT_TYPE)

    async def _details(self, decoded: Decoded, refused: Refused) -> list[dict[str, object]]:
        if not refused:
            return []
        positions = [position for position, _ in refused]
        echoed = await asyncio.to_thread(
            echo_opentsdb,
            decoded.request.body,
            positions,
            encoding=decoded.encoding,
            size_bytes_max=self.parts.size_bytes_max,
        )
        return [
            {"datapoint": msgspec.Raw(point.encode()), "error": reason}
            for point, (_, reason) in zip(echoed, refused, strict=True)
        ]


def routes(parts: WriteParts) -> list[Route]:
    put = Put(parts)
    return [
        Route(
            methods=frozenset({"POST"}),
            path=prefix + path,
            handler=put,
            render_error=render_error,
            compressed_whole=True,
            admit=gate(parts.access, permission=Permission.WRITE, scheme=SCHEME),
        )
        for prefix in PREFIXES
        for path in ("/put", "/put/")
    ]


def encoding_of(request: Request) -> str:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ENCODINGS:
        accepted = ", ".join(sorted(ENCODINGS))
        raise Unsupported(f"cannot decode content encoding {encoding!r}: not one of {accepted}")
    return encoding
