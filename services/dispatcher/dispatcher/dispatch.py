"""What becomes of one delivery: claimed, attempted, told about, and concluded or tried again.

The order is journal, facts, marker. Facts that the broker did not take are published when the
message comes again, at which nothing is sent twice, because the journal knows.
"""

import random
import threading
import time
from collections.abc import Callable

import structlog

from crossdock.bus import Bus, Retry
from crossdock.bus.topology import publish
from crossdock.errors import BusError, SpoolError
from crossdock.messages import DeliveryRouted, Message
from crossdock.model import DeliveryState, delivery_id
from crossdock.protocols import Outgoing
from crossdock.spool import Claim, Spool, StoredParcel
from dispatcher.adapters import Adapters
from dispatcher.deliver import Stopped, deliver
from dispatcher.facts import attempted, finished, held_unread, routed_instances
from dispatcher.metrics import ATTEMPTS
from dispatcher.repeats import Repeats
from dispatcher.retry import Failure, Hold, RetryAt, RetryPolicy, decide, spent


log = structlog.get_logger(__name__)

Report = Callable[[Failure | None], None]
"""Hears how an attempt at a target ended: with a failure, or with None where it worked."""


class Dispatch:
    """Deals with deliveries, for any target and from any thread."""

    def __init__(
        self,
        spool: Spool,
        bus: Bus,
        policy: RetryPolicy,
        stopping: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._spool = spool
        self._bus = bus
        self._policy = policy
        self._stopping = stopping
        self._clock = clock
        self._damaged: set[str] = set()

    def handle(self, adapters: Adapters, message: Message, report: Report) -> None:
        """Make an attempt at the delivery that a message asks for, if there is one to make.

        A message whose marker is gone or claimed by somebody else is stale and dealt with.

        Raises:
            Retry: the same message is wanted again.
        """
        if not isinstance(message, DeliveryRouted):
            log.error("message.unexpected", type=message.type)
            return
        stored = self._spool.find(message.parcel)
        if stored is None:
            log.debug("delivery.stale", delivery=message.delivery)
            return
        try:
            self._claimed(adapters, stored, report)
        except BusError as error:
            log.warning("delivery.unreported", delivery=message.delivery, reason=str(error))
            raise Retry(self._policy.first) from error
        except OSError as error:
            log.error("spool.failed", delivery=message.delivery, reason=error.strerror)
            raise Retry(self._policy.spool) from error

    def hold(self, stored: StoredParcel, target: str, reason: str) -> None:
        """Hold a pending delivery that nobody works at, for a person.

        Raises:
            BusError: nobody could be told; the delivery is still pending.
            OSError: the marker could not be moved.
        """
        claim = self._claim(stored, target)
        if claim is None:
            return
        try:
            self._hold(stored, claim, reason)
        finally:
            claim.release()

    def _claimed(self, adapters: Adapters, stored: StoredParcel, report: Report) -> None:
        claim = self._claim(stored, adapters.target.name)
        if claim is None:
            return
        try:
            early = claim.record.next_try - self._clock()
            if early > 0:
                raise Retry(early)
            hold = spent(claim.record, self._policy)
            if hold is not None:
                self._hold(stored, claim, hold.reason)
                return
            self._attempt(adapters, stored, claim, report)
        except Stopped:
            raise Retry from None
        except SpoolError as error:
            self._hold(stored, claim, f"its parcel in the spool is damaged: {error}")
        finally:
            claim.release()

    def _claim(self, stored: StoredParcel, target: str) -> Claim | None:
        """Claim a delivery; None if it is final, in work, or its marker damaged."""
        try:
            claim = stored.claim(target)
        except SpoolError as error:
            self._report_damage(stored.id, target, error)
            return None
        if claim is None:
            log.debug("delivery.stale", delivery=delivery_id(stored.id, target))
        return claim

    def _attempt(
        self, adapters: Adapters, stored: StoredParcel, claim: Claim, report: Report
    ) -> None:
        started = self._clock()
        routed = [
            Outgoing(instance, stored.file(instance))
            for instance in routed_instances(stored.parcel, claim.record)
        ]
        if not all(claim.record.confirmed(each.instance.number) for each in routed):
            claim.note(**{"try": started})
        with Repeats(self._spool.delivered, adapters.target, stored.id, self._clock) as repeats:
            failure = deliver(adapters, claim, routed, self._stopping, repeats)
        report(None if failure is not None and failure.counts else failure)
        result = failure.kind.value if failure else "delivered"
        ATTEMPTS.labels(adapters.target.name, result).inc()
        if failure is None:
            self._conclude(stored, claim, started)
        else:
            self._failed(stored, claim, failure, started)

    def _conclude(self, stored: StoredParcel, claim: Claim, started: float) -> None:
        now = self._clock()
        parcel, record = stored.parcel, claim.record
        publish(self._bus, attempted(parcel, record, started, now))
        publish(self._bus, finished(parcel, record, DeliveryState.DELIVERED, now))
        stored.conclude(claim, DeliveryState.DELIVERED)
        stored.retire(self._spool.retired)
        log.info(
            "delivery.delivered",
            delivery=delivery_id(parcel.id, record.routed.target),
            target=record.routed.target,
            instances=len(record.outcomes),
            attempt=record.tries,
            seconds=round(now - started, 3),
        )

    def _failed(self, stored: StoredParcel, claim: Claim, failure: Failure, started: float) -> None:
        now = self._clock()
        chance = random.random()  # noqa: S311 — it spreads retries, it protects nothing
        match decide(claim.record, failure, self._policy, now, chance):
            case RetryAt(when, counts):
                self._note(claim, failure, when, counts=counts)
                self._publish_attempt(stored, claim, failure, started, when)
                log.warning(
                    "delivery.retry",
                    delivery=delivery_id(stored.id, claim.record.routed.target),
                    target=claim.record.routed.target,
                    kind=failure.kind.value,
                    attempt=claim.record.tries,
                    seconds=round(when - now, 1),
                )
                raise Retry(max(0.0, when - self._clock()))
            case Hold(reason):
                self._publish_attempt(stored, claim, failure, started, None)
                self._note(claim, failure, 0.0, counts=True)
                self._hold(stored, claim, reason)

    def _note(self, claim: Claim, failure: Failure, when: float, *, counts: bool) -> None:
        claim.note(
            failed={
                "kind": failure.kind.value,
                "reason": failure.detail,
                "next_try": when,
                "counts": counts,
            }
        )

    def _publish_attempt(
        self,
        stored: StoredParcel,
        claim: Claim,
        failure: Failure,
        started: float,
        next_try: float | None,
    ) -> None:
        fact = attempted(
            stored.parcel,
            claim.record,
            started,
            self._clock(),
            failure=failure,
            next_try=next_try,
        )
        publish(self._bus, fact)

    def _hold(self, stored: StoredParcel, claim: Claim, reason: str) -> None:
        """Tell that a claimed delivery is held, and hold it; its parcel may be unreadable."""
        target, now = claim.record.routed.target, self._clock()
        try:
            fact = finished(stored.parcel, claim.record, DeliveryState.HELD, now, reason)
        except SpoolError:
            fact = held_unread(stored.id, target, now, reason)
        publish(self._bus, fact)
        claim.note(reason=reason)
        stored.conclude(claim, DeliveryState.HELD)
        log.error(
            "delivery.held",
            delivery=fact.delivery,
            target=target,
            missing=fact.missing,
            kind=claim.record.kind,
            attempt=claim.record.tries,
        )

    def _report_damage(self, parcel: str, target: str, error: SpoolError) -> None:
        """Say once that a delivery cannot go on because its marker is damaged."""
        delivery = delivery_id(parcel, target)
        if delivery in self._damaged:
            return
        log.error("spool.damaged", delivery=delivery, reason=str(error))
        reason = f"its marker in the spool is damaged: {error}"
        publish(self._bus, held_unread(parcel, target, self._clock(), reason))
        self._damaged.add(delivery)
