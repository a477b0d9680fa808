"""Wires the receiver: store nodes → spool → ``parcel.received``."""

import queue
import threading

import structlog

from crossdock.bus import Bus
from crossdock.bus.topology import publish
from crossdock.errors import BusError
from crossdock.model import Parcel
from crossdock.service import Service
from crossdock.settings import Settings
from crossdock.spool import Room, Spool
from receiver.admission import CountedAdmission
from receiver.facts import parcel_received
from receiver.parcels import Parcels
from receiver.serving import LocalServing
from receiver.store_nodes import StoreNodes


log = structlog.get_logger(__name__)

_GRACE_SECONDS = 5.0


class Announcer:
    """Tells the router of closed parcels, in a thread of its own: a slow broker delays nobody."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._parcels: queue.SimpleQueue[Parcel | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)
        self._thread.start()

    def announce(self, parcel: Parcel) -> None:
        """Have ``parcel.received`` published."""
        self._parcels.put(parcel)

    def close(self) -> None:
        """Publish what is left and stop."""
        self._parcels.put(None)
        self._thread.join(timeout=_GRACE_SECONDS)

    def _run(self) -> None:
        while (parcel := self._parcels.get()) is not None:
            try:
                publish(self._bus, parcel_received(parcel))
            except BusError as error:
                # It is safe in the spool, and the reconciler announces it again.
                log.warning("parcel.not_announced", parcel=parcel.id, reason=str(error))


def main(settings: Settings) -> int:
    """Run the receiver until it is told to stop; return the exit code."""
    with Service("receiver", settings) as service:
        spool = Spool(settings.spool)
        spool.prepare()
        announcer = Announcer(service.bus)
        service.closing(announcer.close)
        parcels = Parcels(spool, announcer.announce)
        parcels.start()
        service.closing(parcels.stop)
        room = Room(settings.spool, settings.spool_reserve)
        service.health.watch("spool", room.problem)
        serving = LocalServing(spool, parcels, room, CountedAdmission(room))
        nodes = StoreNodes(serving, room)
        nodes.start()
        service.closing(lambda: nodes.stop(_GRACE_SECONDS))
        service.health.watch("store nodes", nodes.problems)
        service.follow_configuration(nodes.configure)
        service.run()
    return 0
