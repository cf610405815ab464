"""What OpenTSDB's writers ask besides: ``/api/version``, open to everyone; and what is not served,
by name. ``app`` mounts :func:`routes`.
"""

import msgspec

from orrery.ingest.parts import WriteParts
from orrery.protocols.opentsdb.errors import CONTENT_TYPE, NotServed, render_error
from orrery.protocols.opentsdb.put import PREFIXES, SCHEME
from orrery.server.http import Handler, Request, Response, Route
from orrery.tenancy.access import gate
from orrery.tenancy.tokens import Permission

COMPATIBLE_VERSION = "2.4.1"
NOT_SERVED = (
    ("POST", "/rollup", "send raw data points to put, they are rolled up here (downsampling)"),
    ("POST", "/histogram", "histograms are not supported"),
    ("POST", "/annotation", "annotations are not supported"),
    ("GET", "/uid/assign", "a name needs no UID here, it is there once it is written"),
    ("POST", "/uid/assign", "a name needs no UID here, it is there once it is written"),
)
"""What writes, or prepares a write: it must not look as if it had been done."""


def shown_version(version: str) -> str:
    """What is imitated, and who answers."""
    return f"{COMPATIBLE_VERSION}-orrery-{version}"


def routes(parts: WriteParts, *, version: str) -> list[Route]:
    """``version`` is that of Orrery."""
    tell = _version(shown_version(version))
    told = [
        Route(
            methods=frozenset({"GET"}),
            path=prefix + path,
            handler=tell,
            render_error=render_error,
            # Some clients send the headers of a put with it, and nothing that is compressed.
            compressed_whole=True,
        )
        for prefix in PREFIXES
        for path in ("/version", "/version/")
    ]
    refused = [
        Route(
            methods=frozenset({method}),
            path=prefix + path,
            handler=_refusal(parts, path, reason),
            render_error=render_error,
            compressed_whole=True,
            admit=gate(parts.access, permission=Permission.WRITE, scheme=SCHEME),
        )
        for prefix in PREFIXES
        for method, path, reason in NOT_SERVED
    ]
    return told + refused


def _version(version: str) -> Handler:
    body = msgspec.json.encode({"version": version, "repo": "orrery"})

    async def tell(_request: Request) -> Response:
        return Response(200, body, content_type=CONTENT_TYPE)

    return tell


def _refusal(parts: WriteParts, path: str, reason: str) -> Handler:
    async def refuse(request: Request) -> Response:
        parts.access.caller(request, permission=Permission.WRITE, scheme=SCHEME)
        raise NotServed(f"cannot serve /api{path}: {reason}")

    return refuse
