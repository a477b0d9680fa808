"""What becomes of one delivery: claimed, attempted, told about, and concluded or tried again.

The order is journal, facts, marker. Facts that the broker did not take are published when the
message comes again, at which nothing is sent twice, because the journal knows.
"""

import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import structlog

from crossdock.bus import Bus, Retry
from crossdock.bus.topology import publish
from crossdock.config.targets import Target
from crossdock.errors import BusError, SpoolError
from crossdock.faults import reached
from crossdock.messages import DeliveryRouted, Message
from crossdock.model import DeliveryState, delivery_id
from crossdock.protocols import Outgoing
from crossdock.spool import Claim, Spool, StoredParcel
from dispatcher.adapters import Adapters
from dispatcher.commitment import Waits, is_final_when_stored, settings_of, settle
from dispatcher.deliver import Stopped, Until, deliver
from dispatcher.facts import attempted, finished, held_unread, routed_instances
from dispatcher.fallback import Fallbacks
from dispatcher.metrics import ATTEMPTS
from dispatcher.order import SeriesOrder
from dispatcher.retry import Failure, Hold, RetryAt, RetryPolicy, WithTarget, decide, spent


log = structlog.get_logger(__name__)


class Report(Protocol):
    """Hears how an attempt at a target ended; see ``Breaker.report``."""

    def __call__(self, failure: Failure | None, *, again: bool) -> float | None:
        """Return for how many seconds the target is left alone, if it is."""


Enough = Callable[[], bool]
"""Says whether a delivery is to end after the instance that is under way, without a failure."""

Turn = Callable[[], AbstractContextManager[Enough]]
"""Waits until a delivery may begin; the block is the attempt."""


class Dispatch:
    """Deals with deliveries, for any target and from any thread."""

    def __init__(
        self,
        spool: Spool,
        bus: Bus,
        policy: RetryPolicy,
        stopping: threading.Event,
        fallbacks: Fallbacks | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._spool = spool
        self._bus = bus
        self._policy = policy
        self._stopping = stopping
        self._fallbacks = fallbacks or Fallbacks(spool, bus, ())
        self._clock = clock
        self._damaged: set[str] = set()
        self._orders: dict[str, SeriesOrder] = {}

    def handle(self, adapters: Adapters, message: Message, report: Report, turn: Turn) -> None:
        """Make an attempt at the delivery that a message asks for, if there is one to make.

        It waits for its ``turn``. When that says that it is enough, what is missing goes back. A
        message whose marker is gone or claimed by somebody else is stale and dealt with.

        Raises:
            Retry: the same message is wanted again.
        """
        if not isinstance(message, DeliveryRouted):
            log.error("message.unexpected", type=message.type)
            return
        reached("dispatcher.delivery_consumed")
        stored = self._spool.find(message.parcel)
        if stored is None:
            log.debug("delivery.stale", delivery=message.delivery)
            return
        try:
            self._claimed(adapters, stored, report, turn)
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
            if claim.record.commitment.stored:  # all that is left to know is no more than a remark
                claim.note(commitment="ended", remark=reason)
                self._conclude(stored, claim, self._clock())
            else:
                self._hold(stored, claim, reason)
        finally:
            claim.release()

    def _claimed(
        self, adapters: Adapters, stored: StoredParcel, report: Report, turn: Turn
    ) -> None:
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
            self._keep_order(adapters.target, stored)
            with turn() as enough:
                self._attempt(adapters, stored, claim, report, enough)
        except Stopped:
            raise Retry from None
        except SpoolError as error:
            self._hold(stored, claim, f"its parcel in the spool is damaged: {error}")
        finally:
            claim.release()

    def _keep_order(self, target: Target, stored: StoredParcel) -> None:
        """Have a delivery wait for older ones of its series, where its target wants that."""
        if not target.keep_order:
            return
        order = self._orders.setdefault(target.name, SeriesOrder(self._spool, target.name))
        older = order.older(stored)
        if older is not None:
            log.debug("delivery.not_its_turn", delivery=delivery_id(stored.id, target.name))
            raise Retry(order.patience(older, self._clock()))

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
        self,
        adapters: Adapters,
        stored: StoredParcel,
        claim: Claim,
        report: Report,
        enough: Enough,
    ) -> None:
        started = self._clock()
        routed = [
            Outgoing(instance, stored.file(instance))
            for instance in routed_instances(stored.parcel, claim.record)
        ]
        if not all(claim.record.confirmed(each.instance.number) for each in routed):
            claim.note(**{"try": started})
            reached("dispatcher.try_noted")
        ended: Waits | Failure | None
        ended = deliver(adapters, claim, routed, Until(self._stopping, enough))
        if ended is None and settings_of(adapters.target) is not None:
            ended = self._settle(adapters, stored, claim, routed, started)
        failure = ended if isinstance(ended, Failure) else None
        of_target = None if failure is not None and failure.counts else failure
        pause = report(of_target, again=claim.record.setbacks > 0)
        self._fallbacks.note(adapters.target.name, of_target)
        if isinstance(ended, Waits):
            self._wait(stored, claim, ended, started)
        result = failure.kind.value if failure else "delivered"
        ATTEMPTS.labels(adapters.target.name, result).inc()
        if failure is None:
            self._conclude(stored, claim, started)
        else:
            self._failed(stored, claim, failure, started, pause)

    def _settle(
        self,
        adapters: Adapters,
        stored: StoredParcel,
        claim: Claim,
        routed: list[Outgoing],
        started: float,
    ) -> Waits | Failure | None:
        """See to the commitment of what is stored, having told first that it is, if that is final."""
        if is_final_when_stored(adapters.target) and not claim.record.commitment.stored:
            self._tell_delivered(stored, claim, started)
            claim.note(commitment="stored")
        return settle(self._spool.commitments, adapters, stored.id, claim, routed)

    def _wait(self, stored: StoredParcel, claim: Claim, waits: Waits, started: float) -> None:
        now = self._clock()
        fact = attempted(stored.parcel, claim.record, started, now, next_try=waits.until)
        publish(self._bus, fact.model_copy(update={"detail": waits.words}))
        claim.note(commitment="waiting")
        raise Retry(max(0.0, waits.until - self._clock()))

    def _tell_delivered(self, stored: StoredParcel, claim: Claim, started: float) -> None:
        now = self._clock()
        publish(self._bus, attempted(stored.parcel, claim.record, started, now))
        reached("dispatcher.attempt_published")
        publish(self._bus, finished(stored.parcel, claim.record, DeliveryState.DELIVERED, now))
        reached("dispatcher.end_published")

    def _conclude(self, stored: StoredParcel, claim: Claim, started: float) -> None:
        now = self._clock()
        parcel, record = stored.parcel, claim.record
        self._tell_delivered(stored, claim, started)
        stored.conclude(claim, DeliveryState.DELIVERED)
        reached("dispatcher.concluded")
        self._spool.commitments.forget(record.commitment.asked)
        stored.retire(self._spool.retired)
        reached("dispatcher.retired")
        log.info(
            "delivery.delivered",
            delivery=delivery_id(parcel.id, record.routed.target),
            target=record.routed.target,
            instances=len(record.outcomes),
            attempt=record.tries,
            seconds=round(now - started, 3),
        )

    def _failed(
        self,
        stored: StoredParcel,
        claim: Claim,
        failure: Failure,
        started: float,
        pause: float | None,
    ) -> None:
        now = self._clock()
        chance = random.random()  # noqa: S311 — it spreads retries, it protects nothing
        match decide(claim.record, failure, self._policy, pause=pause, now=now, chance=chance):
            case RetryAt(when, counts):
                self._note(claim, failure, when, counts=counts)
                self._postpone(stored, claim, failure, started, when)
                raise Retry(max(0.0, when - self._clock()))
            case WithTarget(when):
                self._note(claim, failure, 0.0, counts=False)
                self._postpone(stored, claim, failure, started, when)
                raise Retry
            case Hold(reason):
                diverted = self._fallbacks.divert(stored, claim)
                self._publish_attempt(stored, claim, failure, started, None)
                self._note(claim, failure, 0.0, counts=True)
                self._hold(stored, claim, f"{reason}; {diverted}" if diverted else reason)

    def _note(self, claim: Claim, failure: Failure, when: float, *, counts: bool) -> None:
        claim.note(
            failed={
                "kind": failure.kind.value,
                "reason": failure.detail,
                "next_try": when,
                "counts": counts,
            }
        )

    def _postpone(
        self, stored: StoredParcel, claim: Claim, failure: Failure, started: float, when: float
    ) -> None:
        """Tell that a delivery failed and when it is tried again."""
        self._publish_attempt(stored, claim, failure, started, when)
        log.warning(
            "delivery.retry",
            delivery=delivery_id(stored.id, claim.record.routed.target),
            target=claim.record.routed.target,
            kind=failure.kind.value,
            attempt=claim.record.tries,
            seconds=round(when - self._clock(), 1),
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
        self._spool.commitments.forget(claim.record.commitment.asked)
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
