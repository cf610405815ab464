"""How long a tenant keeps what: a policy as ``app`` hands it in, and the times it comes to.

A policy is a list of rules by selector; the first that matches a series holds for it. Which
resolutions a tenant's series are rolled up to is the tenant's affair: all that any rule names.
Called by the engine, compaction and roll-ups.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from orrery.store.bounds import DAY_NS
from orrery.store.kernels import KeepRow, Matchers

TIME_MIN_NS, TIME_MAX_NS = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class KeepRule:
    """``raw_days`` and the days of each resolution (rising, in nanoseconds); None is for ever.

    No resolution is kept shorter than a finer one, or than the samples.
    """

    matchers: Matchers = ()
    raw_days: float | None = None
    coarse_days: tuple[tuple[int, float | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """The last rule matches every series; without rules all is kept for ever."""

    rules: tuple[KeepRule, ...] = ()
    resolutions_ns: frozenset[int] = frozenset()


KEEP_ALL = Policy()


def policy_of(*rules: KeepRule) -> Policy:
    named = frozenset(resolution_ns for rule in rules for resolution_ns, _ in rule.coarse_days)
    if not named and all(rule.raw_days is None for rule in rules):
        return KEEP_ALL
    return Policy(rules, named)


Tenants = Callable[[], Collection[str]]
Among = Callable[[Tenants, Collection[str]], dict[str, Policy]]


@dataclass(frozen=True, slots=True)
class Retention:
    """How a store asks what its tenants keep.

    ``of`` is asked for one tenant, often, and must be quick; ``among`` for all of them but those
    that are known, a few times a round of upkeep, and may leave out who keeps all. Without it each
    is asked for. ``tenants`` gathers thousands from the blocks: only where ``among`` calls it.
    """

    of: Callable[[str], Policy] = lambda _tenant: KEEP_ALL
    among: Among | None = None

    def each(self, tenants: Tenants, known: Collection[str]) -> dict[str, Policy]:
        if self.among is not None:
            return self.among(tenants, known)
        return {tenant: self.of(tenant) for tenant in tenants() if tenant not in known}


@dataclass(slots=True)
class Policies:
    """What one round of upkeep has found out: policies, and of which blocks' tenants."""

    found: dict[str, Policy] = field(default_factory=dict)
    blocks: set[str] = field(default_factory=set)


def kept(policy: Policy, now_ns: int) -> list[KeepRow]:
    """From when on each rule's series are shown."""
    return [
        (
            rule.matchers,
            _from_ns(rule.raw_days, now_ns),
            [(resolution_ns, _from_ns(days, now_ns)) for resolution_ns, days in rule.coarse_days],
        )
        for rule in policy.rules
    ]


def held(policy: Policy, now_ns: int, *, unrolled_ns: int) -> list[KeepRow]:
    """From when on they stay on the disk. Samples that are rolled up are held for whole days, a day
    longer than they are shown, and never let go before that is done: what is accepted late enters
    the coarse data. ``unrolled_ns``: all before this time is rolled up."""
    rows = kept(policy, now_ns)
    if not policy.resolutions_ns:
        return rows
    return [(matchers, _day_ns(raw_ns, unrolled_ns), coarse) for matchers, raw_ns, coarse in rows]


def whole_from_ns(policy: Policy, now_ns: int) -> int:
    """From when on every sample of every series is there. Never with coarser resolutions: what is
    rolled up next changes what a question is answered from."""
    if policy.resolutions_ns:
        return TIME_MAX_NS
    return max((from_ns for _, from_ns, _ in kept(policy, now_ns)), default=TIME_MIN_NS)


def _day_ns(raw_ns: int, unrolled_ns: int) -> int:
    if raw_ns == TIME_MIN_NS:
        return raw_ns
    # One more than a multiple: a sample at midnight belongs to the day before.
    whole_ns = min(raw_ns - DAY_NS, unrolled_ns) // DAY_NS * DAY_NS + 1
    return max(TIME_MIN_NS, whole_ns)


def _from_ns(days: float | None, now_ns: int) -> int:
    return TIME_MIN_NS if days is None else max(TIME_MIN_NS, now_ns - int(days * DAY_NS))


def floors_ns(rows: Mapping[str, list[KeepRow]]) -> dict[str, int]:
    """Before which time a tenant keeps no sample of any series; who keeps some is not in it."""
    floors = {tenant: min(row[1] for row in own) for tenant, own in rows.items() if own}
    return {tenant: floor_ns for tenant, floor_ns in floors.items() if floor_ns > TIME_MIN_NS}


def wanted_from_ns(row: KeepRow, resolution_ns: int) -> int | None:
    """From when on a rule keeps buckets of a resolution; None where it does not name it."""
    return next((from_ns for named, from_ns in row[2] if named == resolution_ns), None)
