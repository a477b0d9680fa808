"""Sends parcels where no rule sent them: to another target, once more, or instead of a target.

The marker of the new delivery is durable before anybody is told and before an old one ends. So a
router that dies in between has lost nothing: the reconciler schedules what has a marker, and asking
again finds what was done.
"""

import time
from collections.abc import Iterable

from crossdock.bus import Bus
from crossdock.bus.topology import publish
from crossdock.errors import SpoolError
from crossdock.messages import DeliveryMoveRequested, ParcelRouted, ParcelSendRequested
from crossdock.spool import Routed, Spool, StoredParcel
from receiver.ending import Unfinished, discard


_IN_WORK = "its delivery to {target} is being worked at right now; try again"


class Sending:
    """Adds deliveries to parcels. Each method returns why not, empty where it was done."""

    def __init__(self, spool: Spool, bus: Bus) -> None:
        self._spool = spool
        self._bus = bus

    def send(self, wish: ParcelSendRequested) -> str:
        """Send a parcel, or some of its instances, to a target; see ``StoredParcel.add``.

        Raises:
            BusError: it will be sent, but not all could be told; asking again is harmless.
            SpoolError, OSError: it was not done, and why.
        """
        stored = self._spool.locate(wish.parcel)
        if stored is None:
            return "the parcel is not in the spool any more"
        known = {instance.number for instance in stored.parcel.instances}
        unknown = {*(wish.instances or ())} - known
        if unknown:
            return f"the parcel has no instance {min(unknown)}"
        return self._add(stored, wish, wish.instances or sorted(known))

    def move(self, delivery: Unfinished, wish: DeliveryMoveRequested) -> str:
        """Send what a delivery misses to another target, and end it as discarded.

        Raises:
            BusError, SpoolError, OSError: it goes on as before, and may go to both; ask again.
        """
        if delivery.target == wish.target:
            return "it goes there already"
        missing = delivery.missing()
        refusal = self._add(delivery.stored, wish, missing) if missing else ""
        if not refusal:
            discard(delivery, self._spool, self._bus, f"moved to {wish.target}")
        return refusal

    def _add(
        self,
        stored: StoredParcel,
        wish: ParcelSendRequested | DeliveryMoveRequested,
        numbers: Iterable[int],
    ) -> str:
        """Have a target get these instances besides what waits for it already, and tell it."""
        target, now, numbers = wish.target, time.time(), sorted({*numbers})
        if isinstance(wish, DeliveryMoveRequested) and target in stored.targets("held"):
            stored.resume(target)  # what it misses itself is to arrive, too
        wanted = Routed(
            target=target,
            protocol=wish.protocol,
            rules=(),
            revision=wish.revision,
            at=now,
            instances=None if len(numbers) == len(stored.parcel.instances) else tuple(numbers),
            again_at=_again_at(stored, target, now),
        )
        unrouted = not stored.routed
        live = self._spool.add(stored.id, wanted)
        if live is None:
            return "the parcel is not in the spool any more"
        if not live.widen(target, numbers):
            return _IN_WORK.format(target=target)
        if unrouted:
            self._tell_routed(live, target, wish.revision, now)
        publish(self._bus, live.delivery_routed(live.record(target).routed))
        return ""

    def _tell_routed(self, stored: StoredParcel, target: str, revision: int, at: float) -> None:
        fact = ParcelRouted(parcel=stored.id, targets=(target,), revision=revision, at=at)
        publish(self._bus, fact)


def _again_at(stored: StoredParcel, target: str, now: float) -> float:
    """Return what tells this run of a delivery from earlier ones; 0 where there is none."""
    for state in ("held", "done"):
        try:
            before = stored.record(target, state).routed.again_at
        except FileNotFoundError:
            continue
        except SpoolError:
            return now
        return max(now, before + 0.001)  # the clock may have been set back
    return 0.0
