"""OTLP metrics over gRPC: ``MetricsService/Export``; ``app`` gives :func:`wire` to the server."""

from orrery.errors import OrreryError
from orrery.ingest.parts import WriteParts
from orrery.kernels.otlp import OtlpOptions
from orrery.protocols.otlp.errors import failure_of
from orrery.protocols.otlp.messages import export_response, status, status_with_retry
from orrery.protocols.otlp.storing import Storing
from orrery.server.grpc import GrpcAnswer, GrpcWire
from orrery.server.http import Request
from orrery.server.listen import TcpListener
from orrery.tenancy.access import gate
from orrery.tenancy.tokens import Permission

METHOD = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
GZIP_MAGIC = b"\x1f\x8b"
"""No message of protobuf begins so: its first byte would be of a wire type that is none."""

MESSAGE_CHARACTERS_MAX = 1000
"""It is sent twice in the trailing metadata, of which clients take 8 KiB unless told otherwise."""


def wire(listener: TcpListener, parts: WriteParts, options: OtlpOptions) -> GrpcWire:
    storing = Storing(parts=parts, options=options)

    async def export(request: Request) -> GrpcAnswer:
        caller = parts.access.caller(request, permission=Permission.WRITE, scheme="otlp")
        encoding = "gzip" if request.body.startswith(GZIP_MAGIC) else "identity"
        stored = await storing.store(request, caller, is_json=False, encoding=encoding)
        return GrpcAnswer(
            export_response(
                rejected_count=stored.rejected_count, message=stored.message, is_json=False
            )
        )

    return GrpcWire(
        listener=listener,
        method=METHOD,
        handler=export,
        render_error=render_error,
        admit=gate(parts.access, permission=Permission.WRITE, scheme="otlp"),
    )


def render_error(error: OrreryError) -> GrpcAnswer:
    failure = failure_of(error)
    message = failure.message
    if len(message) > MESSAGE_CHARACTERS_MAX:
        message = message[:MESSAGE_CHARACTERS_MAX] + "..."
    retry = failure.retry_after_seconds
    if retry is None:
        details = status(code=failure.code, message=message, is_json=False)
    else:
        details = status_with_retry(code=failure.code, message=message, retry_after_seconds=retry)
    return GrpcAnswer(code=failure.code, message=message, details=details)
