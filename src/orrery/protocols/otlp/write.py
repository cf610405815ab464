"""OTLP metrics over HTTP, in protobuf and JSON; ``app`` mounts :func:`routes`.

What cannot be stored is told as a partial success, and as 400 where nothing is left of a request;
senders try neither again. 429 and 503 ask them to.
"""

from dataclasses import dataclass

from orrery.errors import OrreryError
from orrery.ingest.parts import WriteParts
from orrery.kernels.otlp import OtlpOptions
from orrery.protocols.otlp.errors import InForm, Unsupported, failure_of
from orrery.protocols.otlp.messages import export_response, status
from orrery.protocols.otlp.storing import Storing
from orrery.server.http import Request, Response, Route
from orrery.tenancy.access import gate
from orrery.tenancy.tokens import Permission

PATHS = ("/v1/metrics", "/otlp/v1/metrics", "/api/v1/otlp/v1/metrics")
"""The specification's own, below an endpoint of the same port, and Prometheus'."""
PROTOBUF, JSON = "application/x-protobuf", "application/json"
ENCODINGS = ("identity", "gzip", "deflate", "zstd")


@dataclass(frozen=True, slots=True)
class Writes:
    storing: Storing

    async def write(self, request: Request) -> Response:
        is_json = asks_json(request)
        try:
            return await self._write(request, is_json=is_json)
        except OrreryError as error:
            return answer_to(error, is_json=is_json)

    async def _write(self, request: Request, *, is_json: bool) -> Response:
        access = self.storing.parts.access
        caller = access.caller(request, permission=Permission.WRITE, scheme="otlp")
        check_content_type(request)
        encoding = encoding_of(request)
        stored = await self.storing.store(request, caller, is_json=is_json, encoding=encoding)
        body = export_response(
            rejected_count=stored.rejected_count, message=stored.message, is_json=is_json
        )
        return Response(200, body, stored.headers, JSON if is_json else PROTOBUF)


def routes(parts: WriteParts, options: OtlpOptions) -> list[Route]:
    writes = Writes(Storing(parts=parts, options=options))
    admitted = gate(parts.access, permission=Permission.WRITE, scheme="otlp")

    def admit(request: Request) -> object:
        try:
            return admitted(request)
        except OrreryError as error:
            raise InForm(error, is_json=asks_json(request)) from error

    return [
        Route(
            methods=frozenset({"POST"}),
            path=path,
            handler=writes.write,
            render_error=render_error,
            compressed_whole=True,
            admit=admit,
        )
        for path in PATHS
    ]


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def asks_json(request: Request) -> bool:
    return media_type(request) == JSON


def check_content_type(request: Request) -> None:
    if media_type(request) not in (PROTOBUF, JSON):
        named = request.headers.get("content-type", "")
        raise Unsupported(f"cannot decode content type {named!r}: not {PROTOBUF} or {JSON}")


def encoding_of(request: Request) -> str:
    encoding = request.headers.get("content-encoding", "").strip().lower() or "identity"
    if encoding not in ENCODINGS:
        accepted = ", ".join(ENCODINGS)
        raise Unsupported(f"cannot decode content encoding {encoding!r}: not one of {accepted}")
    return encoding


def render_error(error: OrreryError) -> Response:
    if isinstance(error, InForm):
        return answer_to(error.error, is_json=error.is_json)
    return answer_to(error, is_json=False)


def answer_to(error: OrreryError, *, is_json: bool) -> Response:
    failure = failure_of(error)
    body = status(code=failure.code, message=failure.message, is_json=is_json)
    return Response(failure.status, body, failure.headers, JSON if is_json else PROTOBUF)
