"""Where a write goes: database, retention policy and precision from its arguments.

1.x names them ``db`` (which may be left out here), ``rp`` and ``precision``; 2.x names a
``bucket``, which is
``database/policy`` as InfluxDB 1.8 maps it. ``org`` is taken and means nothing, as in 1.8: who
owns the data is told by the credentials. Called by ``write``.
"""

from dataclasses import dataclass
from urllib.parse import parse_qsl

from orrery.errors import Invalid
from orrery.ingest.contract import Label
from orrery.model.selector import DATABASE, RETENTION_POLICY
from orrery.protocols.influxdb.errors import NotFound
from orrery.server.http import Request

DEFAULT_DATABASE = "metrics"
DEFAULT_POLICIES = frozenset({"", "autogen"})

MICROSECOND_NS = 1_000
MILLISECOND_NS = 1_000_000
SECOND_NS = 1_000_000_000

PRECISIONS_1_NS = {
    "": 1,
    "n": 1,
    "ns": 1,
    "u": MICROSECOND_NS,
    "us": MICROSECOND_NS,
    "ms": MILLISECOND_NS,
    "s": SECOND_NS,
    "m": 60 * SECOND_NS,
    "h": 3600 * SECOND_NS,
}
PRECISIONS_2_NS = {
    "": 1,
    "ns": 1,
    "us": MICROSECOND_NS,
    "ms": MILLISECOND_NS,
    "s": SECOND_NS,
}
CONSISTENCIES = frozenset({"", "any", "one", "quorum", "all"})
"""Taken for the sake of 1.x clients; on one machine they mean the same."""


@dataclass(frozen=True, slots=True)
class Target:
    database: str
    policy: str
    precision_ns: int

    @property
    def labels(self) -> tuple[Label, ...]:
        """The reserved labels; the default database and policy are their absence."""
        labels = []
        if self.database != DEFAULT_DATABASE:
            labels.append((DATABASE, self.database))
        if self.policy not in DEFAULT_POLICIES:
            labels.append((RETENTION_POLICY, self.policy))
        return tuple(labels)


def target_1(request: Request) -> Target:
    arguments = _arguments(request)
    precision = arguments.get("precision", "")
    if precision not in PRECISIONS_1_NS:
        raise Invalid(f'invalid precision "{precision}" (use n, u, ms, s, m or h)')
    if arguments.get("consistency", "") not in CONSISTENCIES:
        raise Invalid("invalid consistency level")
    database = arguments.get("db") or DEFAULT_DATABASE
    return Target(database, arguments.get("rp", ""), PRECISIONS_1_NS[precision])


def target_2(request: Request) -> Target:
    arguments = _arguments(request)
    precision = arguments.get("precision", "")
    if precision not in PRECISIONS_2_NS:
        raise Invalid(f'invalid precision "{precision}" (use ns, us, ms or s)')
    bucket = arguments.get("bucket", "")
    if not bucket:
        raise NotFound(
            'bucket name "" is missing a slash; not in "database/retention-policy" format'
        )
    database, _, policy = bucket.partition("/")
    if not database:
        raise NotFound(f'bucket name "{bucket}" is in db/rp form but has an empty database')
    return Target(database, policy, PRECISIONS_2_NS[precision])


def _arguments(request: Request) -> dict[str, str]:
    """Those of the query alone: a body may call itself a form and is lines. The first wins."""
    try:
        pairs = parse_qsl(request.query, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as error:
        raise Invalid(f"cannot read query {request.query!r}: it is not UTF-8") from error
    except ValueError as error:
        raise Invalid(f"cannot read query {request.query!r}: {error}") from error
    return dict(reversed(pairs))
