"""One export request from body to what of it was stored: what HTTP and gRPC share."""

from collections.abc import Sequence
from dataclasses import dataclass

from orrery.errors import Invalid
from orrery.ingest.parts import WriteParts
from orrery.ingest.requests import Outcome, store
from orrery.kernels.batch import Batch
from orrery.kernels.otlp import OtlpOptions, decode_otlp
from orrery.server.http import Request
from orrery.settings import Settings
from orrery.tenancy.access import Caller

REASONS_IN_MESSAGE_MAX = 10


@dataclass(frozen=True, slots=True)
class Stored:
    """``message`` is empty where everything was stored; it may tell of what no data point is, such
    as exemplars, without a data point being rejected."""

    rejected_count: int
    message: str
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    parts: WriteParts
    options: OtlpOptions

    async def store(
        self, request: Request, caller: Caller, *, is_json: bool, encoding: str
    ) -> Stored:
        """``Invalid`` where not one data point could be stored."""

        def decode(size_bytes_max: int) -> Batch:
            batch = decode_otlp(
                request.body,
                options=self.options,
                is_json=is_json,
                encoding=encoding,
                size_bytes_max=size_bytes_max,
            )
            request.hold(batch.memory_bytes)
            return batch

        outcome = await store(
            caller.tenant,
            decode,
            body_bytes=len(request.body),
            forced=caller.forced_labels,
            parts=self.parts,
        )
        return stored(outcome)


def stored(outcome: Outcome) -> Stored:
    rejected_count = outcome.points_refused_count
    message = _message([reason for _, reason in outcome.refused])
    if rejected_count and not outcome.sample_count:
        raise Invalid(f"nothing stored, {rejected_count} data points rejected: {message}")
    return Stored(rejected_count, message, outcome.headers)


def options_of(settings: Settings) -> OtlpOptions:
    promotes_all = settings.otlp_promote_all_resource_attributes
    listed = (
        settings.otlp_ignore_resource_attributes
        if promotes_all
        else settings.otlp_promote_resource_attributes
    )
    return OtlpOptions(
        translation=settings.otlp_translation_strategy,
        promoted=list(listed),
        promotes_all_others=promotes_all,
        keeps_identifying=settings.otlp_keep_identifying_resource_attributes,
        has_scope_labels=settings.otlp_promote_scope_metadata,
    )


def _message(reasons: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(reasons))
    shown = distinct[:REASONS_IN_MESSAGE_MAX]
    if len(distinct) > len(shown):
        shown.append(f"and {len(distinct) - len(shown)} more reasons")
    return "; ".join(shown)
