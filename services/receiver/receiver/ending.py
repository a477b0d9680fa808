"""Ends deliveries by a person's decision, in an order that loses none whatever dies between."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from crossdock.bus import Bus
from crossdock.bus.topology import publish
from crossdock.model import DeliveryState
from crossdock.spool import Claim, DeliveryRecord, Spool, StoredParcel


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A delivery that is held, or pending and claimed: nobody works at it while we decide."""

    stored: StoredParcel
    target: str
    record: DeliveryRecord
    claim: Claim | None

    @classmethod
    @contextmanager
    def take(cls, stored: StoredParcel, target: str) -> Iterator[Self | None]:
        """Give a held or pending delivery for the block; None if there is none or it is in work.

        Raises:
            SpoolError: its marker is damaged.
        """
        if target in stored.targets("held"):
            yield cls(stored, target, stored.record(target, "held"), None)
            return
        claim = stored.claim(target)
        try:
            yield None if claim is None else cls(stored, target, claim.record, claim)
        finally:
            if claim is not None:
                claim.release()

    def hasten(self) -> None:
        """Have a pending delivery tried now."""
        if self.claim is not None:
            self.claim.note(retry=True)
            self.claim.release()

    def missing(self) -> list[int]:
        """Return the numbers of the instances that the target does not have yet, in order."""
        return [each.number for each in self.record.missing(self.stored.parcel)]


def discard(delivery: Unfinished, spool: Spool, bus: Bus, reason: str) -> None:
    """Give a delivery up: tell it, then end it, and retire its parcel if it was the last.

    Raises:
        BusError: nobody could be told; the delivery is as before.
        OSError: the marker could not be moved; asking again is harmless.
    """
    stored, claim = delivery.stored, delivery.claim
    now = time.time()
    publish(bus, stored.delivery_finished(delivery.record, DeliveryState.DISCARDED, now, reason))
    if claim is None:
        stored.discard_held(delivery.target, reason)
    else:
        claim.note(reason=reason)
        stored.conclude(claim, DeliveryState.DISCARDED)
    stored.retire(spool.retired)
