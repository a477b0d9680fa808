"""Brings spool and queues back together: nothing that is in the spool may wait unheard.

A message may be lost with its broker, a process may die between a rename and a message. So at start
and every few seconds: parcels that no living receiver owns are closed, closed parcels without
markers are announced again, due deliveries that nobody works at are scheduled again, finished
parcels are retired.

What is already queued is not queued again: where a queue is at least as long as what could be
missing from it, nothing is. Where it is empty, or too short twice in a row, all of it is sent once
more, because a message without its marker, or for a delivery in work, is skipped by whoever gets it.
"""

import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import structlog

from crossdock.bus import Bus
from crossdock.bus.topology import LEDGER, PARCELS, deliveries, publish
from crossdock.errors import BusError, SpoolError
from crossdock.model import Priority
from crossdock.spool import Spool, StoredParcel
from receiver.facts import parcel_received


log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 5.0
_SHARE = 0.05  # of the time, at most, that is spent on looking through a large spool
_ASK_SECONDS = 0.001  # for the length of a queue
_GRACE_SECONDS = 3.0  # what happened just now is still on its way


@dataclass(frozen=True, slots=True)
class _Read:
    """What a marker said when it had last ``changed`` (nanoseconds)."""

    changed: int
    next_try: float
    priority: Priority


_Thing = TypeVar("_Thing")

_Delivery = tuple[str, str]
"""The identifier of a parcel, and the target that it waits for: there may be very many of them."""


class Reconciler:
    """Reconciles one spool with the queues; ``queue_of`` says by which a delivery is consumed.

    Once ``stopping`` is set a pass ends early; what it leaves is found again by another.
    """

    def __init__(
        self, spool: Spool, bus: Bus, queue_of: Callable[[str, Priority], str] = deliveries
    ) -> None:
        self._spool = spool
        self._bus = bus
        self._queue_of = queue_of
        self._read: dict[_Delivery, _Read] = {}
        self._short: set[str] = set()
        self.stopping = threading.Event()

    def run(self, grace: float = _GRACE_SECONDS, now: float | None = None) -> float:
        """Reconcile once. ``grace`` seconds must have passed since the last change of a thing.

        A part that fails is logged and tried again next time; the others go on. Return how many
        seconds of spool and broker it takes to look, without those that a broker was waited for.
        """
        began = time.monotonic()
        now = time.time() if now is None else now
        recovered = self._recover_open()
        received, due = self._unheard(now - grace, now)
        looked = time.monotonic() - began + _ASK_SECONDS * len(due)
        short, self._short = self._short if grace else {PARCELS, *due}, set()
        self._announce(list(dict.fromkeys([*recovered, *received])), short)
        for queue, waiting in self._until_stopped(due.items()):
            self._schedule(queue, waiting, short)
        self._spool.sweep_incoming(now)
        return looked

    def _recover_open(self) -> list[str]:
        """Close what a dead receiver left, and return the parcels: nobody else knows of them."""
        recovered: list[str] = []
        try:
            for parcel in self._spool.recover():
                log.warning("parcel.recovered", parcel=parcel.id, instances=len(parcel.instances))
                recovered.append(parcel.id)
        except OSError as error:
            log.error("parcels.not_recovered", reason=f"{error.filename}: {error.strerror}")
        return recovered

    def _unheard(self, before: float, now: float) -> tuple[list[str], dict[str, list[_Delivery]]]:
        """Return the parcels that no rule has seen, and by queue what should be in it."""
        received: list[str] = []
        due: dict[str, list[_Delivery]] = defaultdict(list)
        known, self._read = self._read, {}
        for stored in self._until_stopped(self._spool.stored()):
            with _others_go_on(stored):
                if stored.routed:
                    for target, marker in self._markers(stored, known):
                        if marker.changed <= before * 1e9 and marker.next_try <= now:
                            queue = self._queue_of(target, marker.priority)
                            due[queue].append((stored.id, target))
                elif stored.path.stat().st_mtime <= before:
                    received.append(stored.id)
        return received, due

    def _markers(
        self, stored: StoredParcel, known: dict[_Delivery, _Read]
    ) -> list[tuple[str, _Read]]:
        """Return the targets of a parcel's pending deliveries, and what their markers say."""
        pending = stored.targets("pending")
        if not pending:
            stored.retire(self._spool.retired)
        return [(target, self._marker(stored, target, known)) for target in pending]

    def _marker(self, stored: StoredParcel, target: str, known: dict[_Delivery, _Read]) -> _Read:
        """Return what a marker says; it is read only if it has changed since the last pass."""
        delivery = (stored.id, target)
        changed = stored.marker(target).stat().st_mtime_ns
        marker = known.get(delivery)
        if marker is None or marker.changed != changed:
            record = stored.record(target)
            marker = _Read(changed, record.next_try, record.routed.priority)
        self._read[delivery] = marker
        return marker

    def _announce(self, parcels: list[str], short: set[str]) -> None:
        if not self._is_short(PARCELS, len(parcels), short):
            return
        log.warning("parcels.announced_again", count=len(parcels))
        for stored in self._until_stopped(map(self._stored, parcels)):
            with _others_go_on(stored):
                publish(self._bus, parcel_received(stored.parcel))

    def _schedule(self, queue: str, waiting: list[_Delivery], short: set[str]) -> None:
        if not self._is_short(queue, len(waiting), short):
            return
        idle = [each for each in waiting if not self._stored(each[0]).in_work(each[1])]
        if not self._is_short(queue, len(idle), short):
            return
        log.warning("deliveries.scheduled_again", queue=queue, count=len(idle))
        for parcel, target in self._until_stopped(idle):
            stored = self._stored(parcel)
            with _others_go_on(stored):
                message = stored.delivery_routed(stored.record(target).routed)
                self._bus.send(LEDGER, message)  # it may not know of what a person had sent again
                self._bus.send(queue, message)

    def _until_stopped(self, things: Iterable[_Thing]) -> Iterator[_Thing]:
        return itertools.takewhile(lambda _: not self.stopping.is_set(), things)

    def _stored(self, parcel: str) -> StoredParcel:
        return StoredParcel(self._spool.parcels / parcel)

    def _is_short(self, queue: str, count: int, short: set[str]) -> bool:
        """Whether a queue lacks messages: it is empty, or has lacked some for two passes."""
        depth = self._bus.depth(queue) if count else 0
        if depth >= count:
            return False
        self._short.add(queue)
        return depth == 0 or queue in short


@contextmanager
def _others_go_on(stored: StoredParcel) -> Iterator[None]:
    """Have the others go on where a parcel fails, is damaged, or was moved on by somebody else."""
    try:
        yield
    except FileNotFoundError:
        return
    except SpoolError as error:
        log.error("spool.damaged", parcel=stored.id, reason=str(error))
    except OSError as error:
        log.error("spool.failed", parcel=stored.id, reason=error.strerror)


class ReconcilerThread:
    """Reconciles at once, taking nothing as too recent, and then every few seconds.

    It leaves that to another router while ``is_ours`` says so.
    """

    def __init__(self, reconciler: Reconciler, is_ours: Callable[[], bool]) -> None:
        self._reconciler = reconciler
        self._is_ours = is_ours
        self._thread = threading.Thread(target=self._run, name="reconcile", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, within a pass too: one through a large spool takes minutes."""
        self._reconciler.stopping.set()
        self._thread.join()

    def _run(self) -> None:
        wait = self._once(grace=0.0)
        while not self._reconciler.stopping.wait(wait):
            wait = self._once(_GRACE_SECONDS)

    def _once(self, grace: float) -> float:
        """Reconcile, and return how many seconds to wait before the next time."""
        looked = 0.0
        try:
            if self._is_ours():
                looked = self._reconciler.run(grace)
        except BusError as error:
            log.warning("reconcile.postponed", reason=str(error))
        except OSError as error:
            log.error("reconcile.postponed", reason=f"{error.filename}: {error.strerror}")
        return max(INTERVAL_SECONDS, looked / _SHARE)
