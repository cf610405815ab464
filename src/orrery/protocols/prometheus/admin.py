"""``/api/v1/admin/tsdb``: ``delete_series`` as Prometheus has it, and the receipts for it, which
are Orrery's own."""

import asyncio

import msgspec
from msgspec.structs import replace

from orrery.errors import Invalid
from orrery.model.receipts import Receipt
from orrery.model.selector import Selector
from orrery.protocols.prometheus.arguments import (
    TIME_MAX_NS,
    TIME_MIN_NS,
    Arguments,
    bad_argument,
)
from orrery.protocols.prometheus.labels import read_selector
from orrery.protocols.prometheus.parts import Parts
from orrery.protocols.prometheus.render import NotFound, answer
from orrery.server.http import Request, Response
from orrery.tenancy.access import Caller
from orrery.tenancy.tokens import Permission

RECEIPT_HEADER = "x-orrery-receipts"
NOT_COVERED = "backups made before the delete"


async def delete_series(parts: Parts, request: Request) -> Response:
    """Forced matchers of the caller hold here too: nobody deletes what they may not see.

    The header names the receipts' ids; with ``receipt=true`` the answer is the receipts.
    """
    caller = parts.caller(request, Permission.DELETE)
    arguments = Arguments(request)
    texts = arguments.texts("match[]")
    if not texts:
        raise Invalid("no match[] parameter provided")
    start_ns = arguments.time_or("start", TIME_MIN_NS)
    end_ns = arguments.time_or("end", TIME_MAX_NS)
    if end_ns < start_ns:
        raise bad_argument("end", "end timestamp must not be before start time")
    receipts = []
    for selector in [read_selector(text) for text in texts]:
        reduced = Selector((*selector.matchers, *caller.forced_matchers))
        receipts.append(
            await asyncio.to_thread(
                parts.receipts.delete, caller.tenant, reduced, min_ns=start_ns, max_ns=end_ns
            )
        )
    named = ((RECEIPT_HEADER, ",".join(str(receipt.id) for receipt in receipts)),)
    if arguments.text("receipt") == "true":
        return replace(answer(msgspec.json.encode(receipts)), headers=named)
    return Response(204, headers=named)


async def list_receipts(parts: Parts, request: Request) -> Response:
    caller = parts.caller(request, Permission.DELETE)
    found = await asyncio.to_thread(parts.receipts.of, caller.tenant)
    return answer(msgspec.json.encode([one for one in found if _may_see(caller, one)]))


async def show_receipt(parts: Parts, request: Request) -> Response:
    """With what still holds samples that the delete hid."""
    caller = parts.caller(request, Permission.DELETE)
    text = request.parameters["id"]
    receipt_id = int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else -1
    found = await asyncio.to_thread(parts.receipts.show, caller.tenant, receipt_id)
    if found is None or not _may_see(caller, found[0]):
        raise NotFound(f"no receipt {text!r}")
    receipt, held = found
    shown = {**msgspec.structs.asdict(receipt), "held": held, "not_covered": NOT_COVERED}
    return answer(msgspec.json.encode(shown))


def _may_see(caller: Caller, receipt: Receipt) -> bool:
    """Who sees a part of the tenant's series only sees deletes inside that part."""
    forced = [(m.label, str(m.operator), m.value) for m in caller.forced_matchers]
    return all(matcher in receipt.matchers for matcher in forced)
