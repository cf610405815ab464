"""A store with everything around it, opened and reopened on one directory."""

from orrery.durable import Disk
from orrery.ingest.accept import Accept
from orrery.log.local import LocalLog, LogLimits
from orrery.model.selector import Matcher, Operator, Selector
from orrery.objects.local import LocalObjects
from orrery.store.bounds import HOUR_NS, StoreBounds
from orrery.store.engine import Store
from orrery.store.layout import DataDirectory
from orrery.store.retention import KeepRule, Retention, policy_of

NOW_NS = 236_111 * 2 * HOUR_NS
TENANT = "acme"


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self, now_ns=NOW_NS):
        self.ns = now_ns

    def now_ns(self):
        return self.ns

    def monotonic_seconds(self):
        return self.ns / 1e9

    def sleep_seconds(self, seconds):
        self.ns += int(seconds * 1e9)


class FreeBounds:
    time_min_ns = -(2**63)
    time_max_ns = 2**63 - 1
    active_series_max = label_count_max = label_bytes_max = 2**62
    new_series_allowed = True


class FreeLimits:
    """No limits; counts what it was told."""

    def __init__(self):
        self.counts = {}

    def _count(self, word, count):
        self.counts[word] = self.counts.get(word, 0) + count

    def admit(self, tenant, sample_count):
        self._count("admitted", sample_count)

    def give_back(self, tenant, sample_count):
        self._count("given back", sample_count)

    def bounds(self, tenant, now_ns):
        return FreeBounds()

    def new_series_exhausted(self, tenant):
        raise AssertionError("free limits allow every new series")

    def registered(self, tenant, series_count):
        self._count("registered", series_count)

    def accepted(self, tenant, sample_count):
        self._count("accepted", sample_count)

    def refused(self, tenant, reason, sample_count):
        self._count(reason, sample_count)


class Running:
    """One life of a database; ``crash`` ends it as a killed process would."""

    def __init__(self, path, core, **options):
        self.path = path
        self.core = core
        self.clock = options.pop("clock", None) or FakeClock()
        self.limits = FreeLimits()
        self.events = []
        wrap_log = options.pop("wrap_log", lambda log: log)
        wrap_objects = options.pop("wrap_objects", lambda objects: objects)
        log_limits = options.pop("log_limits", LogLimits(segment_bytes_max=2000))
        days = options.pop("retention_days", None)
        if days is not None:
            options["retention"] = Retention(
                lambda tenant: policy_of(KeepRule(raw_days=days(tenant)))
            )
        bounds = options.pop("bounds", StoreBounds(grace_seconds=0.0, disk_reserve_bytes=0))
        disk = options.pop("disk", None) or Disk()
        threaded = options.pop("threaded", True)
        self.directory = DataDirectory(path).open()
        try:
            self.plain_log = LocalLog(
                self.directory.log_path, limits=log_limits, disk=disk, threaded=threaded
            )
            self.log = wrap_log(self.plain_log)
            self.objects = wrap_objects(LocalObjects(self.directory.objects_path, disk=disk))
            self.store = Store(
                blocks_path=self.directory.blocks_path,
                objects=self.objects,
                log=self.log,
                kernels=core.kernels,
                clock=self.clock,
                bounds=bounds,
                disk=disk,
                observe=lambda event, fields: self.events.append((event, dict(fields))),
                **options,
            )
        except BaseException:
            self.directory.close()
            if hasattr(self, "plain_log"):
                self.plain_log.close()
            raise
        self.accept = Accept(store=self.store, log=self.log, limits=self.limits, clock=self.clock)

    def write(self, *rows, tenant=TENANT, durable=True):
        batch = self.core.batch(rows)
        return self.accept.write(tenant, batch, durable=durable).result(30)

    def delete(self, name, min_ns, max_ns, tenant=TENANT):
        selector = Selector((Matcher("__name__", Operator.EQUAL, name),))
        return self.accept.delete(tenant, selector, min_ns=min_ns, max_ns=max_ns).result(30)

    def read(self, tenant=TENANT):
        return self.core.read(self.store.snapshot(), tenant)

    def close(self):
        self.accept.close()
        self.store.close()
        self.plain_log.close()
        self.directory.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
