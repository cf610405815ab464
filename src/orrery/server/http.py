"""What a wire's handler is given and gives back: values, no sockets.

``server`` reads the request within its limits, finds the route and calls the handler; an
``OrreryError`` the handler raises is rendered by the route's own ``render_error``.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec

from orrery.errors import OrreryError
from orrery.kernels.form import parse_form

UNIX_PEER = "unix"
"""``Request.peer`` of a caller on the Unix socket, which only the server's own user can open."""


class Request(msgspec.Struct, frozen=True):
    """One request, its body read whole and decompressed.

    ``headers`` has lower-case names; ``parameters`` are those of the route's path template;
    ``on_disconnect`` registers what to call once, should the client leave before the answer;
    ``hold`` counts bytes that a handler makes of the body until the answer is sent, and raises
    ``Exhausted`` where all requests together would hold too many; ``admitted`` is what
    ``Route.admit`` gave, where nothing was waited for since.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    peer: str
    parameters: Mapping[str, str] = msgspec.field(default_factory=dict)
    on_disconnect: Callable[[Callable[[], None]], None] = lambda _callback: None
    hold: Callable[[int], None] = lambda _count: None
    admitted: object = None

    def arguments(self) -> list[tuple[str, str]]:
        """Query and, for a form body, form arguments, in order, repeats kept."""
        return self.query_arguments() + self.form_arguments()

    def query_arguments(self) -> list[tuple[str, str]]:
        return parse_form(self.query)

    def form_arguments(self) -> list[tuple[str, str]]:
        kind = self.headers.get("content-type", "")
        if not kind.startswith("application/x-www-form-urlencoded"):
            return []
        return parse_form(self.body.decode("utf-8", "replace"))


class Response(msgspec.Struct, frozen=True):
    status: int
    body: bytes | AsyncIterator[bytes] = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


Handler = Callable[[Request], Awaitable[Response]]
RenderError = Callable[[OrreryError], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """``path`` may hold ``{name}`` parts; the first route that fits serves the request.

    ``compressed_whole`` leaves the body as sent: the handler takes off the encoding itself.
    ``admit`` is called before the body is read, with a request that has none, and raises where the
    handler would refuse its caller: a stranger must not make the server hold what it sends.
    """

    methods: frozenset[str]
    path: str
    handler: Handler
    render_error: RenderError
    compressed_whole: bool = False
    admit: Callable[[Request], object] | None = None
