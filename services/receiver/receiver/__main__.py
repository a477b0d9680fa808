"""Wires the receiver: store nodes → spool → ``parcel.received``."""

import queue
import threading
from functools import partial
from pathlib import Path

import structlog

from crossdock import traces
from crossdock.bus import Bus
from crossdock.bus.topology import publish
from crossdock.errors import BusError
from crossdock.faults import reached
from crossdock.messages import ParcelReceived
from crossdock.service import Service
from crossdock.settings import Settings
from crossdock.spool import Spool
from crossdock.spool.room import Room
from receiver.admission import CountedAdmission
from receiver.facts import parcel_received
from receiver.parcels import Parcels
from receiver.serving import LocalServing, Serving
from receiver.store_nodes import StoreNodes
from receiver.workers import counts
from receiver.workers.nursery import Nursery
from receiver.workers.pool import Workers
from receiver.workers.process import work


log = structlog.get_logger(__name__)

_GRACE_SECONDS = 5.0


class Announcer:
    """Tells the router of closed parcels, in a thread of its own: a slow broker delays nobody."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._parcels: queue.SimpleQueue[ParcelReceived | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)
        self._thread.start()

    def announce(self, received: ParcelReceived) -> None:
        """Have ``parcel.received`` published."""
        traces.record(
            "receive",
            received.parcel,
            received.received_at,
            received.closed_at,
            first=True,
            store_node=received.store_node,
            instances=received.instances,
            bytes=received.bytes,
        )
        self._parcels.put(received)

    def close(self) -> None:
        """Publish what is left and stop."""
        self._parcels.put(None)
        self._thread.join(timeout=_GRACE_SECONDS)

    def _run(self) -> None:
        while (received := self._parcels.get()) is not None:
            try:
                publish(self._bus, received)
                reached("receiver.parcel_published")
            except BusError as error:
                # It is safe in the spool, and the reconciler announces it again.
                log.warning("parcel.not_announced", parcel=received.parcel, reason=str(error))


def main(settings: Settings) -> int:
    """Run the receiver until it is told to stop; return the exit code."""
    nursery = None
    if settings.receiver_workers > 1:
        nursery = Nursery(partial(work, settings, _counts(settings)))
    with Service("receiver", settings) as service:
        service.closing(traces.begin(service.name))
        receiver = _Receiver(service)
        nodes = StoreNodes(
            receiver.alone() if nursery is None else receiver.with_workers(nursery), receiver.room
        )
        nodes.start()
        service.closing(lambda: nodes.stop(_GRACE_SECONDS))
        service.health.watch("store nodes", nodes.problems)
        service.follow_configuration(nodes.configure)
        service.run()
    return receiver.exit_code


class _Receiver:
    """What is behind the ports: this process alone, or workers."""

    def __init__(self, service: Service) -> None:
        self.exit_code = 0
        self._service = service
        self._settings = settings = service.settings
        self._spool = Spool(settings.spool)
        self._spool.prepare()
        self._announcer = Announcer(service.bus)
        service.closing(self._announcer.close)
        self.room = Room(settings.spool, settings.spool_reserve)
        service.health.watch("spool", self.room.problem)
        self._admission = CountedAdmission(self.room)

    def alone(self) -> Serving:
        """Return what serves in this process."""
        parcels = Parcels(
            self._spool, lambda parcel: self._announcer.announce(parcel_received(parcel))
        )
        parcels.start()
        self._service.closing(parcels.stop)
        return LocalServing(self._spool, parcels, self.room, self._admission)

    def with_workers(self, nursery: Nursery) -> Serving:
        """Return what serves in worker processes."""
        counts.prepare(_counts(self._settings))
        self._service.metrics.registry = counts.Summed(_counts(self._settings))
        workers = Workers(
            self._settings.receiver_workers,
            nursery,
            self._admission,
            self._announcer.announce,
            self._give_up,
        )
        workers.start()
        self._service.health.watch("workers", workers.problem)
        return workers

    def _give_up(self) -> None:
        """End, so that whoever looks after this process starts it anew."""
        self.exit_code = 1
        self._service.stopping.set()


def _counts(settings: Settings) -> Path:
    return settings.run / "receiver-counts"
