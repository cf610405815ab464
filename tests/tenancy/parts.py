"""Tenancy put together over memory, with a clock that the test turns."""

import contextlib
import threading

from orrery.clock import SystemChance
from orrery.errors import Invalid
from orrery.model.selector import Operator
from orrery.server.http import Request
from orrery.settings import Limits
from orrery.telemetry import Telemetry
from orrery.tenancy.access import EVERYTHING, Caller, OpenAccess, TokenAccess
from orrery.tenancy.administration import Administration, TokenRequest
from orrery.tenancy.admission import Admission
from orrery.tenancy.documents import Documents
from orrery.tenancy.limits import TenantLimits
from orrery.tenancy.names import SYSTEM
from orrery.tenancy.retention import TenantRetention
from orrery.tenancy.tokens import Permission

OPERATOR = Caller(SYSTEM, EVERYTHING, is_system=True)
DAY_NS = 86_400 * 10**9


class FakeClock:
    def __init__(self, now_ns=20_000 * DAY_NS):
        self.time_ns = now_ns
        self.seconds = 0.0

    def now_ns(self):
        return self.time_ns

    def monotonic_seconds(self):
        return self.seconds

    def sleep_seconds(self, seconds):
        self.advance(seconds)

    def advance(self, seconds):
        self.seconds += seconds
        self.time_ns += int(seconds * 10**9)


class FakeObjects:
    """Objects in a dictionary."""

    def __init__(self):
        self.contents = {}
        self.lock = threading.Lock()

    def put(self, name, content):
        self.contents[name] = content

    def put_if_absent(self, name, content):
        with self.lock:
            if name in self.contents:
                return False
            self.contents[name] = content
            return True

    def get(self, name, start=0, length=None):
        return self.contents.get(name)

    def list(self, prefix):
        assert prefix.endswith("/")
        with self.lock:
            names = sorted(self.contents)
        return ((name, len(self.contents[name])) for name in names if name.startswith(prefix))

    def delete(self, name):
        self.contents.pop(name, None)


class FakeAudit:
    def __init__(self):
        self.lines = []

    @contextlib.contextmanager
    def action(self, action, *, actor, tenant, relieves=False, **facts):
        line = {"action": action, "actor": actor, "tenant": tenant, **facts}
        self.lines.append(line)
        try:
            yield
        except BaseException as failure:
            line["failed"] = str(failure)
            raise


def check_matchers(matchers):
    for _, operator, value in matchers:
        if operator in (Operator.REGEX, Operator.NOT_REGEX) and "(" in value:
            raise Invalid(f"cannot use pattern {value!r}: not closed")


class Parts:
    """One process's tenancy; ``Parts(objects=other.objects)`` is another process's."""

    def __init__(self, *, objects=None, clock=None, defaults=None, recheck_seconds=0.0):
        self.objects = objects or FakeObjects()
        self.clock = clock or FakeClock()
        self.audit = FakeAudit()
        self.telemetry = Telemetry()
        self.documents = Documents(
            objects=self.objects, clock=self.clock, recheck_seconds=recheck_seconds
        )
        self.limits = TenantLimits(documents=self.documents, defaults=defaults or Limits())
        self.retention = TenantRetention(documents=self.documents, limits=self.limits)
        self.admission = Admission(limits=self.limits, clock=self.clock, telemetry=self.telemetry)
        self.administration = Administration(
            documents=self.documents,
            limits=self.limits,
            retention=self.retention,
            audit=self.audit,
            check_matchers=check_matchers,
            tenants_with_data=lambda: ["with-data"],
            clock=self.clock,
            chance=SystemChance(),
        )
        self.open_access = OpenAccess(telemetry=self.telemetry)
        self.token_access = TokenAccess(
            documents=self.documents, clock=self.clock, telemetry=self.telemetry
        )

    def token(self, tenant="a", permissions="read write", caller=OPERATOR, **more):
        request = TokenRequest(
            tenant=tenant,
            permissions=tuple(Permission(name) for name in permissions.split()),
            **more,
        )
        return self.administration.create_token(caller, request)


def request(headers=None, *, query="", peer="127.0.0.1:5000", body=b"", method="GET"):
    return Request(method, "/", query, headers or {}, body, peer)
