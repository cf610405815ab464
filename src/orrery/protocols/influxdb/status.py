"""What InfluxDB's clients ask before they write: ``/ping`` and ``/health``, open to everyone.

``app`` mounts :func:`routes`. The version header says what is imitated and who answers.
"""

from urllib.parse import parse_qs

import msgspec

from orrery.protocols.influxdb.errors import render_error_1
from orrery.server.http import Handler, Request, Response, Route

COMPATIBLE_VERSION = "1.8"
NOT_VERBOSE = frozenset({"", "0", "false"})
METHODS = frozenset({"GET", "HEAD"})


def routes(*, version: str) -> list[Route]:
    """``version`` is that of Orrery."""
    shown = f"{COMPATIBLE_VERSION}-orrery-{version}"
    return [
        Route(methods=METHODS, path=prefix + path, handler=handler, render_error=render_error_1)
        for path, handler in (("/ping", _ping(shown)), ("/health", _health(shown)))
        for prefix in ("", "/influxdb")
    ]


def _ping(version: str) -> Handler:
    headers = (("x-influxdb-build", "orrery"), ("x-influxdb-version", version))
    body = msgspec.json.encode({"version": version})

    async def ping(request: Request) -> Response:
        verbose = parse_qs(request.query).get("verbose", [""])[0]
        if verbose in NOT_VERBOSE:
            return Response(204, headers=headers)
        return Response(200, body, headers)

    return ping


def _health(version: str) -> Handler:
    body = msgspec.json.encode(
        {
            "name": "orrery",
            "message": "ready for queries and writes",
            "status": "pass",
            "checks": [],
            "version": version,
        }
    )

    async def health(_request: Request) -> Response:
        return Response(200, body)

    return health
