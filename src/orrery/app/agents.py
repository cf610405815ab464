"""What works by itself while the server runs: the host's metrics, usage, scrubbing."""

import socket
from collections.abc import Callable

from orrery.agents.host import HostAgent
from orrery.agents.periodic import Periodic
from orrery.app.engine import Engine
from orrery.clock import Clock
from orrery.errors import OrreryError
from orrery.ingest.front import OwnSeries
from orrery.settings import Settings
from orrery.store.scrub import TICK_SECONDS, Scrub
from orrery.telemetry import Event, Events
from orrery.tenancy.usage import UsageSeries

DAY_COUNTS_SECONDS = 10.0
RECEIPTS_SECONDS = 10.0


def agents_of(
    engine: Engine, settings: Settings, events: Events, clock: Clock
) -> "list[HostAgent | Periodic]":
    own = OwnSeries(accept=engine.accept)

    def every(seconds: float, name: str, work: Callable[[], object]) -> Periodic:
        return Periodic(
            name=name,
            period_seconds=seconds,
            work=work,
            expected=(OrreryError, TimeoutError),
            on_failure=lambda error: events.warning(Event.USAGE_FAILED, message=error),
            clock=clock,
        )

    agents: list[HostAgent | Periodic] = [
        every(DAY_COUNTS_SECONDS, "day-counts", engine.day_counts.save),
        every(RECEIPTS_SECONDS, "receipts", engine.receipts.follow),
    ]
    if settings.host_metrics_seconds:
        agents.append(
            HostAgent(
                tenant=settings.host_metrics_tenant,
                instance=socket.gethostname(),
                period_seconds=settings.host_metrics_seconds,
                write=own,
                clock=clock,
                events=events,
            )
        )
    if settings.scrub_days:
        scrub = Scrub(
            blocks=engine.store.blocks,
            path_of=lambda name: str(engine.directory.blocks_path / name),
            kernels=engine.store.kernels,
            clock=clock,
            observe=engine.watch.observe,
            suspect=engine.store.suspect,
            days=settings.scrub_days,
        )
        agents.append(every(TICK_SECONDS, "scrub", scrub.step))
    if settings.usage_seconds:
        usage = UsageSeries(
            admission=engine.admission,
            active_series=engine.store.table.active_series,
            write=own,
            clock=clock,
        )
        agents.append(every(settings.usage_seconds, "usage", usage.write))
    return agents
