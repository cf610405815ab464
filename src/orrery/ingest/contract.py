"""What a wire's write handler is handed: who asks, and where a batch goes.

``protocols/<wire>/write`` programs against these; ``app`` hands in the parts that keep them.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from orrery.kernels.batch import Batch
from orrery.server.http import Request

Label = tuple[str, str]
Rejected = tuple[int, str]
"""(1-based line of the body or series of the request, reason)."""


class Caller(Protocol):
    """Who asks; ``forced_labels`` stand in every series written, whatever the client sent."""

    @property
    def tenant(self) -> str: ...
    @property
    def forced_labels(self) -> tuple[Label, ...]: ...


class Access(Protocol):
    def caller(self, request: Request, *, permission: str, scheme: str) -> Caller:
        """``Denied`` where the caller is unknown or lacks the permission; with ``headers`` where
        it may try again with credentials."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch once it is as durable as ``acknowledgement`` says.

    ``acknowledgement`` is the class reached: fsynced, memory or replicated.
    """

    sample_count: int
    rejected: Sequence[Rejected]
    acknowledgement: str


class Accept(Protocol):
    def write(
        self,
        tenant: str,
        batch: Batch,
        *,
        defaults: Sequence[Label],
        forced: Sequence[Label],
    ) -> "Future[Written]":
        """Names the series, appends, and completes once durable and readable.

        Refusals of single series or samples are in ``Written.rejected``; ``Exhausted`` and
        ``Unavailable`` (raised here or in the future) refuse the whole batch. Called from any
        thread.
        """
