"""How long each tenant keeps its samples and its buckets: the rules an operator set, then the
tenant's limits (docs/retention.md).

``app`` hands :meth:`TenantRetention.of` to the store; ``Administration`` shows and sets the rules.
"""

import re
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise

from msgspec import Struct

from orrery.errors import Invalid
from orrery.settings import Limits
from orrery.store.documents import decode_document, encode_document
from orrery.store.retention import KEEP_ALL, KeepRule, Policy, policy_of
from orrery.tenancy.documents import Documents
from orrery.tenancy.limits import COLLECTION as TENANTS
from orrery.tenancy.limits import STALE_SECONDS_MAX, TenantLimits
from orrery.tenancy.names import name_of_part, object_part

COLLECTION = "retention"
FORMAT = 1
RULES_MAX = 32
MATCHERS_MAX = 16
RESOLUTIONS_MAX = 4
DAYS_MAX = 36_500.0
SECOND_NS = 1_000_000_000
DAY_SECONDS = 86_400
RESOLUTION_SECONDS_MIN = 60
_UNITS_SECONDS = {
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": DAY_SECONDS,
    "w": 7 * DAY_SECONDS,
    "y": 365 * DAY_SECONDS,
}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdwy])", re.ASCII)


class RetentionRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What series that meet all ``matchers`` keep; None is for ever.

    ``resolutions`` are buckets like ``5m``, with their days.
    """

    matchers: list[tuple[str, str, str]] = []
    raw_days: float | None = None
    resolutions: dict[str, float | None] = {}


class Rules(Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant's document: the first rule that matches a series holds."""

    rules: tuple[RetentionRule, ...]


class TenantRetention:
    """Answers from memory unless one of the tenant's documents changed."""

    def __init__(self, *, documents: Documents, limits: TenantLimits) -> None:
        self._documents = documents
        self._limits = limits
        self._computed: dict[str, tuple[int, Limits, Policy]] = {}
        self._defaults = (limits.defaults, policy_of(default_rule(limits.defaults)))

    def of(self, tenant: str) -> Policy:
        document = self._documents.read(document_name(tenant), stale_seconds_max=STALE_SECONDS_MAX)
        limits = self._limits.of(tenant)
        if document.content is None and limits is self._defaults[0]:
            return self._defaults[1]
        version, computed_of, policy = self._computed.get(tenant, (-1, limits, Policy()))
        if version != document.version or computed_of is not limits:
            own = () if document.content is None else decode(document.content).rules
            policy = policy_of(*map(keep_rule, own), default_rule(limits))
            self._computed[tenant] = (document.version, limits, policy)
        return policy

    def among(
        self, tenants: Callable[[], Collection[str]], known: Collection[str]
    ) -> dict[str, Policy]:
        """Of all but those ``known``: only who has a document is read, two listings tell who that
        is. ``tenants`` is called only where nobody keeps all by default, or where a document does
        not tell by its name whose it is; else who keeps all is left out."""
        default = self._defaults[1]
        names = [*self._documents.names(COLLECTION), *self._documents.names(TENANTS)]
        parts = {name.partition("/")[2] for name in names}
        own = {name_of_part(part) for part in parts}
        policies: dict[str, Policy] = {}
        if default is not KEEP_ALL or None in own:
            asked = [tenant for tenant in tenants() if tenant not in known]
            if default is not KEEP_ALL:
                policies = dict.fromkeys(asked, default)
            own = {tenant for tenant in asked if object_part(tenant) in parts}
        ruled = (tenant for tenant in own if tenant is not None and tenant not in known)
        return policies | {tenant: self.of(tenant) for tenant in ruled}

    def raw_days_min(self, tenant: str) -> float | None:
        """The shortest that any rule keeps samples: older ones are refused. A bucket that lost its
        samples could not take them in without counting one twice that is sent again."""
        days = [rule.raw_days for rule in self.of(tenant).rules if rule.raw_days is not None]
        return min(days, default=None)

    def rules(self, tenant: str) -> tuple[RetentionRule, ...]:
        """Those set for the tenant, without the one that its limits make."""
        document = self._documents.read(document_name(tenant), keep_absent=False)
        return () if document.content is None else decode(document.content).rules

    def set(self, tenant: str, rules: Sequence[RetentionRule]) -> None:
        """In place of those before; none gives back the default."""
        check_rules(rules)
        content = encode(Rules(tuple(rules)))
        self._documents.change(document_name(tenant), lambda _current: content)


def document_name(tenant: str) -> str:
    return f"{COLLECTION}/{object_part(tenant)}"


def encode(rules: Rules) -> bytes:
    return encode_document(rules, format_version=FORMAT)


def decode(content: bytes) -> Rules:
    return decode_document(content, Rules, name="a retention document", format_version=FORMAT)


def default_rule(limits: Limits) -> KeepRule:
    """What holds for series that no rule matches."""
    seconds = limits.retention_seconds
    resolutions: dict[str, float | None] = {}
    for part in filter(None, limits.downsampling.split(",")):
        resolution, _, kept = part.partition(":")
        resolutions[resolution] = duration_seconds(kept) / DAY_SECONDS if kept else None
    raw_days = seconds / DAY_SECONDS if seconds else None
    return keep_rule(RetentionRule(raw_days=raw_days, resolutions=resolutions))


def keep_rule(rule: RetentionRule) -> KeepRule:
    """As the store is told; ``Invalid`` where it cannot be kept."""
    found = {resolution_ns(text): days for text, days in rule.resolutions.items()}
    coarse = tuple(sorted(found.items()))
    if len(coarse) != len(rule.resolutions) or len(coarse) > RESOLUTIONS_MAX:
        raise Invalid(
            f"cannot keep resolutions {sorted(rule.resolutions)}: each once, at most "
            f"{RESOLUTIONS_MAX}"
        )
    for (finer, _), (coarser, _) in pairwise(coarse):
        if coarser % finer:
            raise Invalid(
                f"cannot keep resolutions {sorted(rule.resolutions)}: each must be a multiple of "
                "the one before"
            )
    spans = [("samples", rule.raw_days), *rule.resolutions.items()]
    for name, days in spans:
        if days is not None and not 0 < days <= DAYS_MAX:
            raise Invalid(f"cannot keep {name} for {days} days: it is not in 0..{DAYS_MAX:g}")
    ladder = [rule.raw_days, *(days for _, days in coarse)]
    if any(_is_shorter(after, before) for before, after in pairwise(ladder)):
        raise Invalid(
            f"cannot keep samples for {_shown(rule.raw_days)} and resolutions for "
            f"{', '.join(f'{text}: {_shown(days)}' for text, days in rule.resolutions.items())}: "
            "what is coarser must be kept at least as long"
        )
    return KeepRule(tuple(rule.matchers), rule.raw_days, coarse)


def _is_shorter(after: float | None, before: float | None) -> bool:
    return after is not None and (before is None or after < before)


def _shown(days: float | None) -> str:
    return "ever" if days is None else f"{days:g} days"


def resolution_ns(text: str) -> int:
    seconds = duration_seconds(text)
    whole = int(seconds)
    if whole != seconds or whole < RESOLUTION_SECONDS_MIN or DAY_SECONDS % whole:
        raise Invalid(
            f"cannot keep resolution {text!r}: it must divide a day and be a minute or longer"
        )
    return whole * SECOND_NS


def duration_seconds(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Invalid(f"cannot read duration {text!r}: it is not like 5m, 1h or 90d")
    return float(match[1]) * _UNITS_SECONDS[match[2]]


def check_rules(rules: Sequence[RetentionRule]) -> None:
    if len(rules) > RULES_MAX:
        raise Invalid(f"cannot set {len(rules)} retention rules: at most {RULES_MAX}")
    for rule in rules:
        if len(rule.matchers) > MATCHERS_MAX:
            raise Invalid(f"cannot set a retention rule: more than {MATCHERS_MAX} matchers")
        keep_rule(rule)
