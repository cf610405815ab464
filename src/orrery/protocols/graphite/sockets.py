"""Graphite's own sockets: plaintext over TCP and UDP, pickles over TCP; ``app`` mounts them.

A plaintext connection may begin with the line ``auth TOKEN``. Where tokens are asked for, what
comes without one is refused and counted, and closes the connection, as there is no other answer.
"""

from functools import partial

from orrery.ingest.parts import SocketParts, listening_of
from orrery.kernels.graphite import decode_graphite_lines, decode_graphite_pickles
from orrery.protocols.graphite.inlet import Inlet
from orrery.server.datagrams import DatagramWire
from orrery.server.framing import Prefixed
from orrery.server.streams import HangUp, StreamWire
from orrery.settings import Settings

LINES, PICKLES, DATAGRAMS = "graphite", "graphite_pickle", "graphite_udp"
UDP_PEER = "udp"
"""Datagrams of many senders are stored together."""
AUTH = b"auth"


class Lines:
    """One plaintext connection."""

    def __init__(self, inlet: Inlet, peer: str) -> None:
        self._inlet = inlet
        self._peer = peer
        self._secret: str | None = None
        self._is_first = True

    async def take(self, data: bytes) -> bytes:
        if self._is_first:
            self._is_first = False
            data = self._authenticated(data)
        if data and await self._inlet.take(data, secret=self._secret, peer=self._peer):
            raise HangUp("denied")
        return b""

    async def end(self, rest: bytes) -> None:
        """Half a number may look like a whole one: a line without its end is none."""
        if rest.strip():
            self._inlet.refusals.add(
                "unfinished", 1, "the last line has no end", peer=self._peer, bytes=len(rest)
            )

    def _authenticated(self, data: bytes) -> bytes:
        """Takes the first line off, where it shows a token."""
        first, _, rest = data.partition(b"\n")
        words = first.split()
        if len(words) != 2 or words[0] != AUTH:
            return data
        self._secret = words[1].decode("utf-8", "replace")
        if self._inlet.check(self._secret, self._peer):
            raise HangUp("denied")
        return rest


class Pickles:
    """One connection of pickles."""

    def __init__(self, inlet: Inlet, peer: str) -> None:
        self._inlet = inlet
        self._peer = peer

    async def take(self, data: bytes) -> bytes:
        if await self._inlet.take(data, secret=None, peer=self._peer):
            raise HangUp("denied")
        return b""

    async def end(self, rest: bytes) -> None:
        if rest:
            self._inlet.refusals.add(
                "unfinished", 1, "the last pickle is cut off", peer=self._peer, bytes=len(rest)
            )


def addresses(settings: Settings) -> list[str]:
    return [*settings.graphite_tcp, *settings.graphite_pickle, *settings.graphite_udp]


def streams(parts: SocketParts) -> list[StreamWire]:
    settings = parts.settings
    certificate = parts.certificate if settings.graphite_tls else None
    wires = []
    for address in settings.graphite_tcp:
        listening = listening_of(address, certificate)
        inlet = _lines_inlet(LINES, parts, listening.tenant, waits=True)
        wires.append(
            StreamWire(
                name=LINES,
                listener=listening.listener,
                framing=parts.lines,
                converse=partial(Lines, inlet),
            )
        )
    for address in settings.graphite_pickle:
        listening = listening_of(address, certificate)
        inlet = Inlet(
            wire=PICKLES,
            parts=parts,
            tenant=listening.tenant,
            decode=decode_graphite_pickles,
            count_lines=lambda _data: 1,
            waits=True,
        )
        wires.append(
            StreamWire(
                name=PICKLES,
                listener=listening.listener,
                framing=Prefixed(settings.graphite_pickle_bytes_max),
                converse=partial(Pickles, inlet),
            )
        )
    return wires


def datagrams(parts: SocketParts) -> list[DatagramWire]:
    return [_datagram_wire(parts, address) for address in parts.settings.graphite_udp]


def _datagram_wire(parts: SocketParts, address: str) -> DatagramWire:
    listening = listening_of(address)
    inlet = _lines_inlet(DATAGRAMS, parts, listening.tenant, waits=False)

    async def take(data: bytes) -> None:
        await inlet.take(data, secret=None, peer=UDP_PEER)

    return DatagramWire(name=DATAGRAMS, listener=listening.listener, take=take)


def _lines_inlet(wire: str, parts: SocketParts, tenant: str, *, waits: bool) -> Inlet:
    return Inlet(
        wire=wire,
        parts=parts,
        tenant=tenant,
        decode=decode_graphite_lines,
        count_lines=lambda data: data.count(b"\n") + (not data.endswith(b"\n")),
        waits=waits,
    )
