"""The processes that bring the load of bench/load.py: two that write and one that asks.

Each is told by its queue what to do, does it on a few threads with a connection each, and answers
with what it saw and the CPU it took.
"""

import multiprocessing
import pickle
import resource
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import load_bodies
import numpy as np

NS = 1_000_000_000
STEPS_COUNT = 64
QUESTION_SERIES = 500
"""About so many series one question reads, over one hour."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What is written: half of ``series`` each by remote write and by lines."""

    series: int
    body_samples: int
    lines_per_body: int

    @property
    def host_count(self) -> int:
        return max(1, self.series // 2 // load_bodies.FIELD_COUNT)

    @property
    def rack_count(self) -> int:
        return max(1, self.host_count // QUESTION_SERIES)

    def bodies(self, kind: str, folder: Path) -> list[load_bodies.Body]:
        """Kept in ``folder`` for the next run."""
        size = self.body_samples if kind == "remote" else self.lines_per_body
        kept = folder / f"{kind}-{self.host_count}-{size}.bodies"
        if kept.exists():
            return pickle.loads(kept.read_bytes())
        make = load_bodies.remote_bodies if kind == "remote" else load_bodies.line_bodies
        made = list(make(load_bodies.hosts(self.host_count, self.rack_count), size))
        kept.write_bytes(pickle.dumps(made))
        return made


@dataclass(slots=True)
class Seen:
    """What one process saw of a run; ``late_seconds`` is how far behind its plan it ended."""

    sent: int = 0
    refused: dict[int, int] = field(default_factory=dict)
    waits_seconds: list[float] = field(default_factory=list)
    late_seconds: float = 0.0
    cpu_seconds: float = 0.0
    first_refusal: str = ""


class Http:
    """One connection; requests one after another."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=300)

    def ask(self, head: bytes, body: bytes = b"") -> tuple[int, bytes]:
        self._socket.sendall(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._part()
        top, _, rest = answer.partition(b"\r\n\r\n")
        _, _, length = top.lower().partition(b"content-length: ")
        wanted = int(length.partition(b"\r\n")[0] or 0)
        while len(rest) < wanted:
            rest += self._part()
        return int(top[9:12]), rest

    def _part(self) -> bytes:
        part = self._socket.recv(1 << 20)
        if not part:
            raise ConnectionError("the server closed the connection")
        return part


WRITE_HEADS = {
    "remote": b"POST /api/v1/write HTTP/1.1\r\nhost: localhost\r\ncontent-encoding: snappy\r\n"
    b"content-type: application/x-protobuf\r\n",
    "line": b"POST /write HTTP/1.1\r\nhost: localhost\r\n",
}


class Writer:
    """Sends every body once a round; all of a round's samples are of one time."""

    def __init__(self, kind: str, shape: Shape, folder: Path, port: int, connections: int) -> None:
        self._head = WRITE_HEADS[kind]
        self._bodies = shape.bodies(kind, folder)
        self._port = port
        self._connections = connections
        size = max(body.sample_count for body in self._bodies)
        chance = np.random.default_rng(7)
        self._steps = chance.integers(-1, 2, (STEPS_COUNT, size))

    @property
    def round_samples(self) -> int:
        return sum(body.sample_count for body in self._bodies)

    def fill(self, times_ns: Sequence[int]) -> Seen:
        """One round a time, as fast as the server takes them."""
        return self._send(len(times_ns), lambda turn: times_ns[turn], seconds_a_round=0)

    def hold(self, rate: float, begin: float, seconds: float) -> Seen:
        """``rate`` samples a second from ``begin`` on, at the times they are due."""
        seconds_a_round = self.round_samples / rate
        turns = max(1, round(seconds / seconds_a_round))

        def time_ns(turn: int) -> int:
            return int((begin + turn * seconds_a_round) * NS)

        return self._send(turns, time_ns, seconds_a_round=seconds_a_round, begin=begin)

    def _send(
        self,
        turns: int,
        time_ns: Callable[[int], int],
        *,
        seconds_a_round: float,
        begin: float = 0.0,
    ) -> Seen:
        count = len(self._bodies)
        numbers = iter(range(turns * count))
        seen, lock = Seen(), threading.Lock()

        def send() -> None:
            http = Http(self._port)
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                turn, index = divmod(number, count)
                due = begin + number / count * seconds_a_round
                body = self._bodies[index]
                body.walk(self._steps[(turn + index) % STEPS_COUNT])
                patched = body.patched(time_ns(turn))
                if seconds_a_round and due > time.time():
                    time.sleep(due - time.time())
                begun = time.time()
                status, answer = http.ask(self._head, patched)
                ended = time.time()
                with lock:
                    seen.waits_seconds.append(ended - begun)
                    seen.late_seconds = begun - due if seconds_a_round else 0.0
                    if status < 300:
                        seen.sent += body.sample_count
                    else:
                        seen.refused[status] = seen.refused.get(status, 0) + 1
                        seen.first_refusal = seen.first_refusal or answer[:300].decode("latin-1")

        _on_threads(send, self._connections)
        return seen


class Asker:
    """Asks for the rate of one metric in one rack after another, so that no sample is read again
    before all have been."""

    def __init__(self, shape: Shape, port: int, connections: int) -> None:
        self._port = port
        self._connections = connections
        fields = load_bodies.tsbs.FIELDS
        names = [load_bodies.REMOTE_PREFIX + name for name in fields]
        names += [f"{load_bodies.LINE_MEASUREMENT}_{name}" for name in fields]
        self._selectors = [
            f'{name}{{rack="r{rack}"}}' for rack in range(shape.rack_count) for name in names
        ]
        self._series = shape.host_count / shape.rack_count

    def hold(self, rate: float, begin: float, seconds: float, at: float, samples: float) -> Seen:
        """Questions at ``at`` that read ``rate`` samples a second; a series has ``samples``."""
        every = self._series * samples / rate
        numbers = iter(range(round(seconds / every)))
        seen, lock = Seen(), threading.Lock()

        def ask() -> None:
            http = Http(self._port)
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                selector = self._selectors[number % len(self._selectors)]
                due = begin + number * every
                if due > time.time():
                    time.sleep(due - time.time())
                begun = time.time()
                arguments = {"query": f"sum(rate({selector}[1h]))", "time": at, "nocache": 1}
                target = "/api/v1/query?" + urllib.parse.urlencode(arguments)
                head = f"GET {target} HTTP/1.1\r\nhost: localhost\r\n".encode()
                status, answer = http.ask(head)
                with lock:
                    seen.waits_seconds.append(time.time() - begun)
                    seen.late_seconds = begun - due
                    seen.sent += 1
                    if status != 200 or b'"result":[]' in answer:
                        seen.refused[status] = seen.refused.get(status, 0) + 1
                        seen.first_refusal = seen.first_refusal or answer[:300].decode("latin-1")

        _on_threads(ask, self._connections)
        return seen


def _on_threads(work: Callable[[], None], count: int) -> None:
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


class Sender:
    """A process with a :class:`Writer` or an :class:`Asker` in it, told what to do by name."""

    def __init__(self, make: Callable[..., Any], *arguments: object) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, make, arguments), daemon=True)
        self._process.start()
        self.answer()

    def tell(self, method: str, *arguments: object) -> None:
        self._pipe.send((method, arguments))

    def answer(self) -> Seen:
        answer = self._pipe.recv()
        if isinstance(answer, BaseException):
            raise SystemExit(f"a sender failed: {answer!r}")
        return answer

    def close(self) -> None:
        self._process.terminate()
        self._process.join()


def _serve(pipe: Connection, make: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    served = None
    name, told = "", ()
    while True:
        before = _cpu_seconds()
        try:
            if served is None:
                served, answer = make(*arguments), Seen()
            else:
                answer = getattr(served, name)(*told)
                answer.cpu_seconds = _cpu_seconds() - before
        except BaseException as failure:
            answer = failure
        pipe.send(answer)
        name, told = pipe.recv()


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
