"""OpenTSDB's telnet commands on a TCP port of their own; ``app`` serves :func:`streams`.

``put`` answers nothing where all is well, and OpenTSDB's own words where not. Commands are done in
order: what answers ``version`` has stored, or refused, every line before it. With tokens the first
line is ``auth TOKEN``, answered as OpenTSDB answers its own.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from orrery.errors import Denied, Exhausted, Invalid, OrreryError
from orrery.ingest.parts import SocketParts, listening_of
from orrery.ingest.requests import Outcome
from orrery.ingest.unanswered import Body, Refusals, Unanswered
from orrery.kernels.batch import Batch
from orrery.kernels.opentsdb_lines import decode_opentsdb_lines, opentsdb_lines_end
from orrery.protocols.opentsdb.status import shown_version
from orrery.server.streams import HangUp, StreamWire
from orrery.tenancy.access import Bearers, Caller
from orrery.tenancy.tokens import Permission

NAME = "opentsdb"
AUTH_SUCCESS, AUTH_FAIL = b"AUTH_SUCCESS\r\n", b"AUTH_FAIL\r\n"
INVALID_VALUE = "invalid value: "
COMMANDS = ("auth", "exit", "help", "put", "stats", "version")
COMMAND_CHARACTERS_MAX = 64
"""An unknown command is shown up to here."""
SECOND_NS = 1_000_000_000


@dataclass(slots=True)
class Counts:
    """What ``stats`` tells: of this connection alone, as others are other people's."""

    command_count: int = 0
    put_count: int = 0
    stored_count: int = 0
    refused_count: int = 0

    def lines(self, seconds: int) -> bytes:
        rows = (
            ("rpc.received", self.command_count + self.put_count, "type=telnet"),
            ("rpc.received", self.put_count, "type=put"),
            ("rpc.errors", self.refused_count, "type=put"),
            ("datapoints.added", self.stored_count, "type=put"),
        )
        text = "".join(f"tsd.{name} {seconds} {count} {tag}\n" for name, count, tag in rows)
        return text.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What all conversations of one listener share."""

    bearers: Bearers
    unanswered: Unanswered
    tenant: str
    version: str
    now_ns: Callable[[], int]


@dataclass(slots=True)
class Conversation:
    serving: Serving
    peer: str
    counts: Counts = field(default_factory=Counts)
    secret: str | None = None

    async def take(self, data: bytes) -> bytes:
        answers: list[bytes] = []
        at = 0
        try:
            while at < len(data):
                end = opentsdb_lines_end(data, at)
                if end > at:
                    answers.append(await self._put(data[at:end]))
                else:
                    end = data.index(b"\n", at) + 1
                    answers.append(self._command(data[at:end]))
                at = end
        except Denied:
            raise HangUp("denied", b"".join([*answers, AUTH_FAIL])) from None
        except HangUp as end_of_it:
            raise HangUp(end_of_it.reason, b"".join(answers)) from None
        return b"".join(answers)

    async def end(self, rest: bytes) -> None:
        """A line without an end is not one: half a number is a number too."""
        if rest:
            self.serving.unanswered.refusals.add("unfinished", 1, "no newline", peer=self.peer)

    def _caller(self) -> Caller:
        """Asked anew each time, so that revoking a token holds on an open connection."""
        return self.serving.bearers.bearer(
            self.secret, permission=Permission.WRITE, tenant=self.serving.tenant
        )

    async def _put(self, text: bytes) -> bytes:
        caller = self._caller()

        def decode(_size_bytes_max: int) -> Batch:
            batch = decode_opentsdb_lines(text)
            self.counts.put_count += batch.sample_count + len(batch.rejected)
            return batch

        put_count = self.counts.put_count
        body = Body(
            decode=decode,
            byte_count=len(text),
            count_lines=lambda: text.count(b"\n"),
            peer=self.peer,
        )
        done = await self.serving.unanswered.store(caller.tenant, body, forced=caller.forced_labels)
        stored_count = done.sample_count if isinstance(done, Outcome) else 0
        refused_count = self.counts.put_count - put_count - stored_count
        self.counts.stored_count += stored_count
        self.counts.refused_count += refused_count
        if isinstance(done, OrreryError):
            return _told([_reason(done)], 0)
        reasons = [_kind(reason) for _, reason in done.shown]
        return _told(reasons, refused_count - len(reasons)) if refused_count else b""

    def _command(self, line: bytes) -> bytes:
        name, _, argument = line.decode("utf-8", "replace").strip().partition(" ")
        self.counts.command_count += 1
        if name == "auth":
            self.secret = argument.strip()
            self._caller()
            return AUTH_SUCCESS
        self._caller()
        match name:
            case "exit":
                raise HangUp
            case "help":
                return f"available commands: {' '.join(COMMANDS)} \n".encode()
            case "stats":
                return self.counts.lines(self.serving.now_ns() // SECOND_NS)
            case "version":
                return f"{self.serving.version}\n".encode()
        return f"unknown command: {name[:COMMAND_CHARACTERS_MAX]}.  Try `help'.\n".encode()


def streams(parts: SocketParts, *, version: str) -> list[StreamWire]:
    """A wire for each address of the setting; ``version`` is that of Orrery."""
    clock = parts.writing.clock
    certificate = parts.certificate if parts.settings.opentsdb_telnet_tls else None
    unanswered = Unanswered(
        parts=parts.writing,
        refusals=Refusals(
            wire=NAME,
            telemetry=parts.telemetry,
            events=parts.events,
            seconds=clock.monotonic_seconds,
        ),
    )

    def wire(address: str) -> StreamWire:
        listening = listening_of(address, certificate)
        serving = Serving(
            bearers=parts.bearers,
            unanswered=unanswered,
            tenant=listening.tenant,
            version=shown_version(version),
            now_ns=clock.now_ns,
        )
        return StreamWire(
            name=NAME,
            listener=listening.listener,
            framing=parts.lines,
            converse=lambda peer: Conversation(serving, peer),
            drops_answers=True,
        )

    return [wire(address) for address in parts.settings.opentsdb_telnet]


def _kind(reason: str) -> str:
    return reason if reason.startswith(INVALID_VALUE) else f"illegal argument: {reason}"


def _reason(error: OrreryError) -> str:
    if isinstance(error, Exhausted):
        return f"Please throttle writes: {error}"
    if isinstance(error, Invalid):
        return f"illegal argument: {error}"
    return f"Unexpected exception: {error}"


def _told(reasons: list[str], more_count: int) -> bytes:
    if more_count > 0:
        reasons = [*reasons, f"and {more_count} more refusals"]
    return "".join(f"put: {' '.join(reason.splitlines())}\n" for reason in reasons).encode()
