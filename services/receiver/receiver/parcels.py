"""Groups arriving instances into parcels, and closes parcels when their time has come.

A parcel is closed when the last association that contributed to it has ended, when nothing arrived
for it during the store node's quiet time, or when it has reached a size limit, so that forwarding
starts while a long series is still arriving.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from crossdock.config import StoreNode
from crossdock.dicom.storage_scp import Caller
from crossdock.faults import reached
from crossdock.model import Instance, Parcel, new_id
from crossdock.spool import Arrival, OpenParcel, Origin, Spool


log = structlog.get_logger(__name__)

Key = tuple[str, str, str, str, str]
"""Store node, calling AE title, address, study, series."""


class Received(NamedTuple):
    """What is known of an instance when its last byte has arrived."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str


class _Placed(NamedTuple):
    """An instance in a parcel that grows: made into an ``Instance`` when the parcel is closed."""

    number: int
    size: int
    caller: Caller
    received: Received

    def instance(self) -> Instance:
        received, caller = self.received, self.caller
        return Instance(
            number=self.number,
            sop_class_uid=received.sop_class_uid,
            sop_instance_uid=received.sop_instance_uid,
            transfer_syntax_uid=received.transfer_syntax_uid,
            size=self.size,
            calling_ae_title=caller.calling_ae_title,
            called_ae_title=caller.called_ae_title,
            address=caller.address,
        )


@dataclass(slots=True, eq=False)
class _Growing:
    """A parcel that grows: what it holds, who contributes, and when something last arrived."""

    parcel: OpenParcel
    node: StoreNode
    last_arrival: float
    instances: list[_Placed] = field(default_factory=list)
    associations: set[str] = field(default_factory=set)
    numbers: int = 0
    bytes: int = 0
    placing: int = 0
    full: bool = False
    unsynced: list[int] = field(default_factory=list)

    def due_in(self, now: float) -> float:
        """Seconds until it is to be closed; 0 or less means now."""
        if self.placing:
            return self.node.quiet_seconds
        if self.full or not self.associations:
            return 0.0
        return self.last_arrival + self.node.quiet_seconds - now


class Parcels:
    """The parcels that grow in this process.

    ``closed`` is called from one thread with each parcel that was closed; by then it is safe under
    ``parcels/``.
    """

    def __init__(self, spool: Spool, closed: Callable[[Parcel], None]) -> None:
        self._spool = spool
        self._closed = closed
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._open: dict[Key, _Growing] = {}
        self._full: list[_Growing] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="parcels", daemon=True)

    def start(self) -> None:
        """Start to close parcels."""
        self._thread.start()

    def stop(self) -> None:
        """Close what still grows and stop. Call it when no association is left."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def place(self, node: StoreNode, caller: Caller, arrival: Arrival, received: Received) -> None:
        """Put an instance into the parcel where it belongs, and make it safe as the node says.

        Raises:
            OSError: it is not safe: the disk is full or read-only.
        """
        growing, number = self._reserve(node, caller, received)
        placed: _Placed | None = None
        try:
            growing.parcel.add(arrival, number, sync=node.sync == "instance")
            placed = _Placed(number, arrival.size, caller, received)
        finally:
            self._end_placing(growing, placed)

    def association_ended(self, association: str) -> None:
        """Take note that nothing more comes over an association.

        What it brought and its node syncs by association is safe when this returns.
        """
        with self._changed:
            contributed = [
                growing
                for growing in (*self._open.values(), *self._full)
                if association in growing.associations and growing.unsynced
            ]
        for growing in contributed:
            self._sync(growing)
        with self._changed:
            for growing in (*self._open.values(), *self._full):
                growing.associations.discard(association)
            self._changed.notify()

    def _reserve(self, node: StoreNode, caller: Caller, received: Received) -> tuple[_Growing, int]:
        study, series = received.study_instance_uid, received.series_instance_uid
        key = (node.name, caller.calling_ae_title, caller.address, study, series)
        with self._lock:
            growing = self._open.get(key)
            if growing is None:
                growing = self._open[key] = self._opened(key, node)
                self._changed.notify()  # its quiet time may end before any other's
            growing.associations.add(caller.association)
            growing.placing += 1
            growing.numbers += 1
            if growing.numbers >= node.parcel_instances or growing.bytes >= node.parcel_bytes:
                growing.full = True
                self._full.append(self._open.pop(key))
            return growing, growing.numbers

    def _opened(self, key: Key, node: StoreNode) -> _Growing:
        _, calling_ae_title, address, study, series = key
        origin = Origin(
            id=new_id(),
            store_node=node.name,
            calling_ae_title=calling_ae_title,
            address=address,
            study_instance_uid=study,
            series_instance_uid=series,
            received_at=time.time(),
        )
        return _Growing(self._spool.open_parcel(origin), node, time.monotonic())

    def _end_placing(self, growing: _Growing, placed: _Placed | None) -> None:
        with self._lock:
            growing.placing -= 1
            growing.last_arrival = time.monotonic()
            if placed is not None:
                growing.instances.append(placed)
                growing.bytes += placed.size
                if growing.node.sync == "association":
                    growing.unsynced.append(placed.number)
            if growing.full or self._stopping or not growing.associations:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                due = self._take_due(time.monotonic())
                if not due:
                    if self._stopping and not self._open and not self._full:
                        return
                    self._changed.wait(self._until_next(time.monotonic()))
            for growing in due:
                self._close(growing)

    def _take_due(self, now: float) -> list[_Growing]:
        """Detach the parcels that are to be closed, so that later instances open new ones."""
        due = [
            growing
            for growing in (*self._open.values(), *self._full)
            if (self._stopping and not growing.placing) or growing.due_in(now) <= 0
        ]
        self._full = [growing for growing in self._full if growing not in due]
        self._open = {key: growing for key, growing in self._open.items() if growing not in due}
        return due

    def _until_next(self, now: float) -> float | None:
        waits = [growing.due_in(now) for growing in (*self._open.values(), *self._full)]
        return max(0.0, min(waits)) if waits else None

    def _sync(self, growing: _Growing) -> None:
        """Make safe what was not synced when it came; what failed is tried again at the close."""
        with self._changed:
            numbers, growing.unsynced = growing.unsynced, []
        try:
            growing.parcel.sync(numbers)
        except OSError as error:
            log.error("parcel.not_synced", parcel=growing.parcel.origin.id, reason=error.strerror)
            with self._changed:
                growing.unsynced += numbers

    def _close(self, growing: _Growing) -> None:
        if growing.unsynced:
            self._sync(growing)
        try:
            if not growing.instances:
                growing.parcel.remove()
                return
            in_order = tuple(placed.instance() for placed in sorted(growing.instances))
            parcel = growing.parcel.close(self._spool.parcels, in_order)
            reached("receiver.parcel_closed")
        except OSError as error:
            # Left open, it is closed by the reconciler once the disk takes writes again.
            log.error("parcel.not_closed", parcel=growing.parcel.origin.id, reason=error.strerror)
            growing.parcel.abandon()
            return
        log.info("parcel.closed", parcel=parcel.id, instances=len(in_order), bytes=parcel.size)
        self._closed(parcel)
