"""Wires the router: ``parcel.received`` → markers → ``delivery.routed``, and what keeps house."""

from crossdock import traces
from crossdock.bus.topology import PARCELS, SPOOL
from crossdock.config import Gateway
from crossdock.service import Service
from crossdock.settings import Settings
from crossdock.spool import Spool
from receiver.commitment_reports import CommitmentReports
from receiver.housekeeping import Housekeeping
from receiver.reconcile import Reconciler, ReconcilerThread
from receiver.requests import Requests
from receiver.retention import Retention, RetentionThread
from receiver.router import Router


def main(settings: Settings) -> int:
    """Run the router until it is told to stop; return the exit code."""
    with Service("router", settings) as service:
        service.closing(traces.begin(service.name))
        spool = Spool(settings.spool)
        spool.prepare()
        router = Router(spool, service.bus)
        reconciler = Reconciler(spool, service.bus, router.queue_of)
        house = Housekeeping(spool)
        service.closing(house.close)
        reports = CommitmentReports(spool, is_ours=house.is_ours)

        def configure(gateway: Gateway, revision: int) -> None:
            router.configure(gateway, revision)
            reports.configure(gateway)

        service.follow_configuration(configure)
        consumers = [
            service.bus.consume(PARCELS, router.handle, prefetch=2),
            service.bus.serve(SPOOL, Requests(spool, service.bus).answer),
        ]
        for consumer in consumers:
            service.closing(consumer.close)
        service.closing(ReconcilerThread(reconciler, house.is_ours).close)
        retention = Retention(spool, settings, is_ours=house.is_ours)
        service.closing(RetentionThread(retention).close)
        reports.start()
        service.closing(reports.close)
        service.run()
    return 0
