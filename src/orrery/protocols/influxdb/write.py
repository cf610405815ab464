"""Writes in InfluxDB line protocol, by the APIs of 1.x and 2.x; ``app`` mounts :func:`routes`.

A write with bad lines keeps the good ones and answers 400 in InfluxDB's words, with the lines
named beside them; one without a good line stores nothing and is no partial write.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orrery.ingest.contract import Rejected
from orrery.ingest.parts import WriteParts
from orrery.ingest.requests import Decode, Outcome, store, with_forced
from orrery.kernels.batch import Batch
from orrery.kernels.decompress import ENCODINGS
from orrery.kernels.line_protocol import decode_line_protocol
from orrery.protocols.influxdb.errors import (
    RenderError,
    Unsupported,
    refusal_1,
    refusal_2,
    render_error_1,
    render_error_2,
)
from orrery.protocols.influxdb.targets import Target, target_1, target_2
from orrery.server.http import Request, Response, Route
from orrery.tenancy.access import gate
from orrery.tenancy.tokens import Permission

Refusal = Callable[[str, Sequence[Rejected]], Response]


@dataclass(frozen=True, slots=True)
class Version:
    """What differs between the two write APIs."""

    paths: tuple[str, ...]
    target: Callable[[Request], Target]
    refusal: Refusal
    render_error: RenderError


VERSIONS = (
    Version(("/write", "/influxdb/write"), target_1, refusal_1, render_error_1),
    Version(
        ("/api/v2/write", "/influxdb/api/v2/write"),
        target_2,
        refusal_2,
        render_error_2,
    ),
)


@dataclass(frozen=True, slots=True)
class Writes:
    parts: WriteParts

    async def write(self, request: Request, version: Version) -> Response:
        caller = self.parts.access.caller(request, permission=Permission.WRITE, scheme="influxdb")
        target = version.target(request)
        outcome = await store(
            caller.tenant,
            self._decoder(request, target),
            body_bytes=len(request.body),
            forced=with_forced(target.labels, caller.forced_labels),
            parts=self.parts,
        )
        return answer(outcome, version.refusal)

    def _decoder(self, request: Request, target: Target) -> Decode:
        encoding = _encoding(request)
        now_ns = self.parts.clock.now_ns()

        def decode(size_bytes_max: int) -> Batch:
            batch = decode_line_protocol(
                request.body,
                precision_ns=target.precision_ns,
                now_ns=now_ns,
                encoding=encoding,
                size_bytes_max=size_bytes_max,
            )
            request.hold(batch.memory_bytes)
            return batch

        return decode


def routes(parts: WriteParts) -> list[Route]:
    writes = Writes(parts)
    return [_route(writes, version, path) for version in VERSIONS for path in version.paths]


def _route(writes: Writes, version: Version, path: str) -> Route:
    async def handler(request: Request) -> Response:
        return await writes.write(request, version)

    return Route(
        methods=frozenset({"POST"}),
        path=path,
        handler=handler,
        render_error=version.render_error,
        compressed_whole=True,
        admit=gate(writes.parts.access, permission=Permission.WRITE, scheme="influxdb"),
    )


def answer(outcome: Outcome, refusal: Refusal) -> Response:
    if not outcome.refused:
        return Response(204, headers=outcome.headers)
    message = _reasons(outcome)
    if outcome.sample_count:
        message = f"partial write: {message} dropped={outcome.refused_line_count}"
    response = refusal(message, outcome.shown)
    return Response(400, response.body, (*response.headers, *outcome.headers))


def _reasons(outcome: Outcome) -> str:
    shown = list(dict.fromkeys(reason for _, reason in outcome.shown))
    more = len(outcome.refused) - len(outcome.shown)
    if more:
        shown.append(f"and {more} more refusals")
    return "\n".join(shown)


def _encoding(request: Request) -> str:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ENCODINGS:
        accepted = ", ".join(sorted(ENCODINGS))
        raise Unsupported(f"cannot decode content encoding {encoding!r}: not one of {accepted}")
    return encoding
