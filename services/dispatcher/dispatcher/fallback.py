"""Fallback targets: who gets what a target does not take, or has been failing to take for long.

What is missing of a delivery becomes a delivery to the fallback: its marker first, then the fact.
That happens once for each delivery. The delivery itself is held, or goes on waiting for its target.
"""

import threading
import time
from collections.abc import Callable, Collection

import structlog

from crossdock.bus import Bus
from crossdock.bus.topology import publish
from crossdock.config.snapshot import Gateway
from crossdock.errors import BusError, SpoolError
from crossdock.model import delivery_id
from crossdock.spool import Claim, Routed, Spool, StoredParcel
from dispatcher.retry import Failure


log = structlog.get_logger(__name__)

MOST_HOPS = 2
"""A fallback may have one of its own, and there it ends."""

_INTERVAL_SECONDS = 10.0
_SHARE = 0.02  # of the time, at most, that is spent on looking through a large spool


class Fallbacks:
    """Gives deliveries to fallback targets; ``clock`` is monotonic.

    What waits for a target that has been failing for its ``fallback_after`` is looked for by the
    clock, in a thread of its own: most of it has not been tried, because its target is left alone.
    """

    def __init__(
        self,
        spool: Spool,
        bus: Bus,
        protocols: Collection[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = spool
        self._bus = bus
        self._protocols = protocols
        self._clock = clock
        self._gateway, self._revision = Gateway(), 0
        self._failing: dict[str, float] = {}
        self._seen: dict[str, set[str]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fallbacks", daemon=True)

    def start(self) -> None:
        """Begin to look by the clock."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the delivery that is looked at."""
        self._stopping.set()
        self._thread.join()

    def configure(self, gateway: Gateway, revision: int) -> None:
        """Use the fallbacks of this configuration; changed targets begin to fail anew."""
        with self._lock:
            for name in [*self._failing]:
                if gateway.target(name) != self._gateway.target(name):
                    del self._failing[name]
            self._gateway, self._revision = gateway, revision

    def note(self, target: str, failure: Failure | None) -> None:
        """Take note of how an attempt at a target ended; None where the target works."""
        with self._lock:
            if failure is None:
                self._failing.pop(target, None)
            else:
                self._failing.setdefault(target, self._clock())

    def divert(self, stored: StoredParcel, claim: Claim) -> str:
        """Give what is missing of a claimed delivery to its fallback target, if it has one.

        Returns in words what was done, empty if nothing was. Doing it twice is harmless.

        Raises:
            BusError: nobody could be told; to be done again.
            OSError, SpoolError: the spool cannot be used, or the parcel is damaged.
        """
        record = claim.record
        if record.fallback:
            return f"its fallback target {record.fallback} has been given it"
        name = self._fallback_of(record.routed)
        if not name:
            return ""
        target = self._gateway.target(name)
        if target is None:
            return f"its fallback target {name} is not configured"
        missing = [each.number for each in record.missing(stored.parcel)]
        routed = Routed(
            target=name,
            protocol=target.type,
            rules=record.routed.rules,
            revision=self._revision,
            at=time.time(),
            instances=tuple(missing),
            priority=record.routed.priority,
            instead_of=(*record.routed.instead_of, record.routed.target),
        )
        words = self._give(stored, routed)
        claim.note(fallback=name)
        log.warning(
            "delivery.diverted",
            delivery=delivery_id(stored.id, record.routed.target),
            fallback=name,
            instances=len(missing),
        )
        return words

    def look(self) -> None:
        """Give away what waits for targets that have been failing for too long."""
        self._seen = {name: self._seen.get(name, set()) for name in self._overdue()}
        for name, seen in self._seen.items():
            for stored in self._spool.stored():
                if self._stopping.is_set():
                    return
                if stored.id not in seen and self._divert_waiting(stored, name):
                    seen.add(stored.id)

    def _fallback_of(self, routed: Routed) -> str:
        """Return the name of a delivery's fallback target, empty for none."""
        target = self._gateway.target(routed.target)
        own = target.fallback if target is not None else None
        return (routed.fallback or own or "") if len(routed.instead_of) < MOST_HOPS else ""

    def _give(self, stored: StoredParcel, routed: Routed) -> str:
        stored.also_route(routed)
        try:
            found = stored.record(routed.target).routed
        except FileNotFoundError:  # held or final
            found = None
        if found is None or found.instead_of != routed.instead_of:
            return f"its fallback target {routed.target} has a delivery of this parcel already"
        publish(self._bus, stored.delivery_routed(found))
        count = len(routed.instances or ())
        return f"its fallback target {routed.target} gets what is missing, {count} in number"

    def _overdue(self) -> list[str]:
        now = self._clock()
        with self._lock:
            failing = dict(self._failing)
        return [
            target.name
            for target in self._gateway.targets
            if target.fallback_after is not None
            and target.name in failing
            and now - failing[target.name] >= target.fallback_after
        ]

    def _divert_waiting(self, stored: StoredParcel, target: str) -> bool:
        """Give a delivery to its fallback if nobody works at it; return whether that is over."""
        try:
            claim = stored.claim(target)
        except SpoolError:  # damaged, and said so by whoever tries it
            return True
        if claim is None:
            return False
        try:
            ours = claim.record.routed.protocol in self._protocols
            if ours and not claim.record.fallback:
                self.divert(stored, claim)
        except SpoolError as error:
            log.error("delivery.not_diverted", parcel=stored.id, reason=str(error))
        finally:
            claim.release()
        return True

    def _run(self) -> None:
        wait = _INTERVAL_SECONDS
        while not self._stopping.wait(wait):
            began = time.monotonic()
            try:
                self.look()
            except (BusError, OSError) as error:
                log.warning("fallbacks.postponed", reason=str(error))
            wait = max(_INTERVAL_SECONDS, (time.monotonic() - began) / _SHARE)
