"""Wires the router: ``parcel.received`` → markers → ``delivery.routed``, and the reconciler."""

from crossdock.bus.topology import PARCELS, SPOOL
from crossdock.service import Service
from crossdock.settings import Settings
from crossdock.spool import Spool
from receiver.reconcile import Reconciler, ReconcilerThread
from receiver.requests import Requests
from receiver.router import Router


def main(settings: Settings) -> int:
    """Run the router until it is told to stop; return the exit code."""
    with Service("router", settings) as service:
        spool = Spool(settings.spool)
        spool.prepare()
        router = Router(spool, service.bus)
        reconciler = Reconciler(spool, service.bus, settings.retention_seconds)
        service.follow_configuration(router.configure)
        consumers = [
            service.bus.consume(PARCELS, router.handle, prefetch=2),
            service.bus.serve(SPOOL, Requests(spool, service.bus).answer),
        ]
        for consumer in consumers:
            service.closing(consumer.close)
        service.closing(ReconcilerThread(reconciler).close)
        service.run()
    return 0
