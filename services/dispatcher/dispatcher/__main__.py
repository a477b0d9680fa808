"""Wires the dispatcher: deliveries of its protocols' targets → adapters."""

import os
from collections.abc import Sequence

from crossdock import traces
from crossdock.bus.topology import RETRY, TARGET_CHANGED
from crossdock.config import Gateway
from crossdock.service import Service
from crossdock.settings import Settings
from crossdock.spool import Spool
from dispatcher.consume import Consumers
from dispatcher.dispatch import Dispatch
from dispatcher.fallback import Fallbacks
from dispatcher.orphans import Orphanage
from dispatcher.reports import Reports
from dispatcher.retry import RetryPolicy


_GRACE_SECONDS = 1.0  # the bus waits 5 more for what hangs, and all of it may take 8


def main(settings: Settings, protocols: Sequence[str]) -> int:
    """Run the dispatcher of some protocols until it is told to stop; return the exit code."""
    policy = RetryPolicy.from_environment(os.environ)
    with Service("dispatcher", settings) as service:
        service.closing(traces.begin(service.name))
        spool = Spool(settings.spool)
        spool.prepare()
        service.health.watch("spool", lambda: spool_problem(spool))
        fallbacks = Fallbacks(spool, service.bus, protocols)
        dispatch = Dispatch(spool, service.bus, policy, service.stopping, fallbacks)
        consumers = Consumers(service.bus, dispatch.handle, protocols, policy)
        orphanage = Orphanage(spool, protocols, dispatch.hold)

        def configure(gateway: Gateway, revision: int) -> None:
            fallbacks.configure(gateway, revision)
            consumers.configure(gateway)
            orphanage.configure(gateway, revision)

        service.follow_configuration(configure)
        orphanage.start()
        service.closing(orphanage.close)
        fallbacks.start()
        service.closing(fallbacks.close)
        for topic in (TARGET_CHANGED, RETRY):
            service.closing(service.bus.listen(topic, consumers.heard).close)
        reports = Reports(spool, service.bus, protocols)
        reports.start()
        service.closing(reports.close)
        consumers.start()
        service.closing(lambda: consumers.close(_GRACE_SECONDS))
        service.run()
    return 0


def spool_problem(spool: Spool) -> str | None:
    """Return why nothing can be read from the spool, None if it is there."""
    if spool.parcels.is_dir() and spool.retired.is_dir():
        return None
    return f"{spool.root} is not there: is the volume mounted?"
