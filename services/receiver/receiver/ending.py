"""Ends deliveries by a person's decision, in an order that loses none whatever dies between."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from crossdock.bus import Bus
from crossdock.bus.topology import publish
from crossdock.messages import DeliveryFinished
from crossdock.model import DeliveryState, delivery_id
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
        wanted = self.record.routed.instances
        if wanted is None:
            wanted = tuple(instance.number for instance in self.stored.parcel.instances)
        return [number for number in wanted if not self.record.confirmed(number)]


def discard(delivery: Unfinished, spool: Spool, bus: Bus, reason: str) -> None:
    """Give a delivery up: tell it, then end it, and retire its parcel if it was the last.

    Raises:
        BusError: nobody could be told; the delivery is as before.
        OSError: the marker could not be moved; asking again is harmless.
    """
    publish(bus, _discarded(delivery, reason))
    stored, claim = delivery.stored, delivery.claim
    if claim is None:
        stored.discard_held(delivery.target, reason)
    else:
        claim.note(reason=reason)
        stored.conclude(claim, DeliveryState.DISCARDED)
    stored.retire(spool.retired)


def _discarded(delivery: Unfinished, reason: str) -> DeliveryFinished:
    outcomes = list(delivery.record.outcomes.values())
    confirmed = sum(outcome.confirmed for outcome in outcomes)
    warnings = sum(outcome.outcome == "warning" for outcome in outcomes)
    return DeliveryFinished(
        delivery=delivery_id(delivery.stored.id, delivery.target),
        state=DeliveryState.DISCARDED,
        delivered=confirmed - warnings,
        warnings=warnings,
        missing=len(delivery.missing()),
        reason=reason,
        at=time.time(),
        again_at=delivery.record.routed.again_at,
    )
