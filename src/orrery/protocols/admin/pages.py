"""What a server says of itself: ``/``, ``/-/healthy``, ``/-/ready``, ``/metrics`` and the
description of its admin API."""

import asyncio
from collections.abc import Callable, Iterable
from html import escape

import msgspec

from orrery.errors import Denied, Unavailable
from orrery.protocols.admin import openapi, wire
from orrery.protocols.admin.operations import PREFIX
from orrery.server.http import Request, Response, Route
from orrery.telemetry import EXPOSITION_TYPE, Telemetry
from orrery.tenancy.access import Access
from orrery.tenancy.tokens import Permission

GET = frozenset({"GET"})
PLAIN = "text/plain; charset=utf-8"


def routes(
    *,
    access: Access,
    telemetry: Telemetry,
    is_open: bool,
    not_ready: Callable[[], str | None],
    links: Iterable[tuple[str, str]],
    version: str,
) -> list[Route]:
    """``not_ready`` says why writes and queries cannot be served now, or None; ``links`` are
    (path, what is there) for the landing page; ``is_open`` serves metrics without a token."""

    async def healthy(_request: Request) -> Response:
        return Response(200, b"Orrery is healthy.\n", content_type=PLAIN)

    async def ready(_request: Request) -> Response:
        reason = not_ready()
        if reason is not None:
            raise Unavailable(f"cannot serve yet: {reason}")
        return Response(200, b"Orrery is ready.\n", content_type=PLAIN)

    async def metrics(request: Request) -> Response:
        if not is_open:
            caller = access.caller(request, permission=Permission.READ, scheme="prometheus")
            if not caller.is_system:
                raise Denied("cannot read metrics: only a token for tenant '*' may")
        exposition = await asyncio.to_thread(telemetry.exposition)
        return Response(200, exposition, content_type=EXPOSITION_TYPE)

    page = _landing_page([*links, *OWN_LINKS], version)
    described = msgspec.json.encode(openapi.description(version))

    async def landing(_request: Request) -> Response:
        return Response(200, page, content_type="text/html; charset=utf-8")

    async def describe(_request: Request) -> Response:
        return Response(200, described)

    served = {
        "/": landing,
        "/-/healthy": healthy,
        "/-/ready": ready,
        "/metrics": metrics,
        f"{PREFIX}/openapi.json": describe,
    }
    return [Route(GET, path, handler, wire.render_error) for path, handler in served.items()]


OWN_LINKS = (
    ("/-/ready", "whether writes and queries are served"),
    ("/-/healthy", "whether the process lives"),
    ("/metrics", "this server's own metrics"),
    (f"{PREFIX}/openapi.json", "the admin API, described"),
)


def _landing_page(links: Iterable[tuple[str, str]], version: str) -> bytes:
    rows = "\n".join(
        f'<li><a href="{escape(path)}"><code>{escape(path)}</code></a> {escape(what)}</li>'
        for path, what in links
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Orrery</title>
<style>body{{font:16px/1.5 sans-serif;margin:3em auto;max-width:44em;padding:0 1em}}</style>
<h1>Orrery</h1><p>Version {escape(version)}.</p>
<ul>
{rows}
</ul>
</html>
""".encode()
