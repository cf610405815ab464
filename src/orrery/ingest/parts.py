"""What the write side of every wire is handed; ``app`` fills it."""

from concurrent.futures import Executor
from dataclasses import dataclass

from orrery.clock import Clock
from orrery.ingest.contract import Accept
from orrery.server.framing import Lines
from orrery.server.listen import TcpListener, parse_address
from orrery.server.tls import Certificate
from orrery.settings import Settings
from orrery.telemetry import Events, Telemetry
from orrery.tenancy.access import Access, Bearers
from orrery.tenancy.names import DEFAULT_TENANT, check_tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteParts:
    """``size_bytes_max`` bounds a body with its encoding taken off; ``decode_executor`` runs what
    is too long for the event loop."""

    access: Access
    accept: Accept
    decode_executor: Executor
    clock: Clock
    size_bytes_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a wire that is no HTTP listens, and the tenant it is for where no token tells."""

    listener: TcpListener
    tenant: str


def listening_of(text: str, certificate: Certificate | None = None) -> Listening:
    """``host:port``, or ``host:port=tenant``."""
    address, separator, tenant = text.partition("=")
    host, port = parse_address(address)
    return Listening(
        listener=TcpListener(host, port, certificate),
        tenant=check_tenant(tenant) if separator else DEFAULT_TENANT,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketParts:
    """What wires that are no HTTP are handed besides; ``certificate`` is that of HTTPS."""

    writing: WriteParts
    bearers: Bearers
    settings: Settings
    certificate: Certificate | None
    telemetry: Telemetry
    events: Events

    @property
    def lines(self) -> Lines:
        """The framing of wires whose messages are lines."""
        return Lines(self.settings.stream_line_bytes_max)
