"""Brings spool and queues back together: nothing that is in the spool may wait unheard.

A message may be lost with its broker, a process may die between a rename and a message. So at start
and every few seconds: parcels that no living receiver owns are closed, closed parcels without
markers are announced again, due deliveries that nobody works at are scheduled again, finished
parcels are retired, and retired ones deleted when their time has come.

What is already queued is not queued again: where a queue is at least as long as what could be
missing from it, nothing is. Where it is not, all of it is sent once more, because a message without
its marker, or for a delivery in work, is skipped by whoever gets it.
"""

import threading
import time
from collections import defaultdict

import structlog

from crossdock.bus import Bus
from crossdock.bus.topology import PARCELS, deliveries, publish
from crossdock.errors import BusError, SpoolError
from crossdock.messages import DeliveryRouted, ParcelReceived
from crossdock.spool import Spool, StoredParcel
from receiver.facts import parcel_received


log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 5.0
_GRACE_SECONDS = 3.0  # what happened just now is still on its way


class Reconciler:
    """Reconciles one spool with the queues; ``keep_seconds`` is how long retired parcels stay."""

    def __init__(self, spool: Spool, bus: Bus, keep_seconds: float) -> None:
        self._spool = spool
        self._bus = bus
        self._keep_seconds = keep_seconds

    def run(self, grace: float = _GRACE_SECONDS) -> None:
        """Reconcile once. ``grace`` seconds must have passed since the last change of a thing.

        A part that fails is logged and tried again next time; the others go on.
        """
        now = time.time()
        recovered = self._recover_open()
        received, due = self._unheard(now - grace, now)
        self._announce(recovered + received)
        self._schedule(due)
        self._spool.sweep_incoming(now)
        self._spool.sweep_retired(self._keep_seconds, now)

    def _recover_open(self) -> list[ParcelReceived]:
        recovered: list[ParcelReceived] = []
        try:
            for parcel in self._spool.recover():
                log.warning("parcel.recovered", parcel=parcel.id, instances=len(parcel.instances))
                recovered.append(parcel_received(parcel))
        except OSError as error:
            log.error("parcels.not_recovered", reason=f"{error.filename}: {error.strerror}")
        return recovered

    def _unheard(
        self, before: float, now: float
    ) -> tuple[list[ParcelReceived], dict[str, list[DeliveryRouted]]]:
        received: list[ParcelReceived] = []
        due: dict[str, list[DeliveryRouted]] = defaultdict(list)
        for stored in self._spool.stored():
            try:
                self._look_at(stored, before, now, received, due)
            except FileNotFoundError:
                continue  # somebody else moved it on
            except SpoolError as error:
                log.error("spool.damaged", parcel=stored.id, reason=str(error))
            except OSError as error:
                log.error("spool.failed", parcel=stored.id, reason=error.strerror)
        return received, due

    def _look_at(
        self,
        stored: StoredParcel,
        before: float,
        now: float,
        received: list[ParcelReceived],
        due: dict[str, list[DeliveryRouted]],
    ) -> None:
        if not stored.routed:
            if stored.path.stat().st_mtime <= before:
                received.append(parcel_received(stored.parcel))
            return
        pending = stored.targets("pending")
        if not pending:
            stored.retire(self._spool.retired)
        for target in pending:
            if stored.marker(target).stat().st_mtime > before:
                continue
            record = stored.record(target)
            if record.next_try <= now and not stored.in_work(target):
                due[target].append(stored.delivery_routed(record.routed))

    def _announce(self, received: list[ParcelReceived]) -> None:
        if received and self._bus.depth(PARCELS) < len(received):
            log.warning("parcels.announced_again", count=len(received))
            for message in received:
                publish(self._bus, message)

    def _schedule(self, due: dict[str, list[DeliveryRouted]]) -> None:
        for target, messages in due.items():
            if self._bus.depth(deliveries(target)) >= len(messages):
                continue
            log.warning("deliveries.scheduled_again", target=target, count=len(messages))
            for message in messages:
                self._bus.send(deliveries(target), message)


class ReconcilerThread:
    """Reconciles at once, taking nothing as too recent, and then every few seconds."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler = reconciler
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconcile", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the pass that may be running."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        self._once(grace=0.0)
        while not self._stopping.wait(INTERVAL_SECONDS):
            self._once(_GRACE_SECONDS)

    def _once(self, grace: float) -> None:
        try:
            self._reconciler.run(grace)
        except BusError as error:
            log.warning("reconcile.postponed", reason=str(error))
        except OSError as error:
            log.error("reconcile.postponed", reason=f"{error.filename}: {error.strerror}")
