"""What becomes of one claimed delivery: attempted, told about, and concluded, held, or tried again.

The order is journal, facts, marker. Facts that the broker did not take are published when the
message comes again, at which nothing is sent twice, because the journal knows.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from crossdock import traces
from crossdock.bus import Bus, Retry
from crossdock.bus.topology import publish
from crossdock.config.targets import Target
from crossdock.errors import SpoolError
from crossdock.faults import reached
from crossdock.messages import DeliveryAttempted
from crossdock.model import DeliveryState, delivery_id
from crossdock.protocols import Outgoing
from crossdock.spool import Claim, Spool, StoredParcel
from dispatcher.adapters import Adapters
from dispatcher.commitment import Waits, is_final_when_stored, settings_of, settle
from dispatcher.deliver import Until, deliver
from dispatcher.facts import attempted, held_unread
from dispatcher.fallback import Fallbacks
from dispatcher.metrics import ATTEMPTS, LATENCY
from dispatcher.repeats import Repeats
from dispatcher.retry import Failure, Hold, RetryAt, RetryPolicy, WithTarget, decide, spent


log = structlog.get_logger(__name__)


class Report(Protocol):
    """Hears how an attempt at a target ended; see ``Breaker.report``."""

    def __call__(self, failure: Failure | None, *, again: bool) -> float | None:
        """Return for how many seconds the target is left alone, if it is."""


Enough = Callable[[], bool]
"""Says whether a delivery is to end after the instance that is under way, without a failure."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a dispatcher has for all its deliveries; ``clock`` tells the Unix time."""

    spool: Spool
    bus: Bus
    policy: RetryPolicy
    stopping: threading.Event
    fallbacks: Fallbacks
    clock: Callable[[], float]


class Delivery:
    """A delivery that is ours for now; what it does with it, it tells the ledger first."""

    def __init__(self, means: Means, stored: StoredParcel, claim: Claim) -> None:
        self._means = means
        self._stored = stored
        self._claim = claim
        self._record = claim.record
        self._target = claim.record.routed.target
        self._started = means.clock()

    def attempt(self, adapters: Adapters, report: Report, enough: Enough) -> None:
        """Offer the target what it does not have, and see to what comes of that.

        Raises:
            Retry: the delivery's message is wanted again.
            Stopped: it was ``enough``, or we are to stop; nothing failed.
            BusError: not all could be told; to be told when the message comes again.
            SpoolError, OSError: the parcel is damaged; the spool failed.
        """
        hold = spent(self._record, self._means.policy)
        if hold is not None:
            self.hold(hold.reason)
            return
        ended = self._traced(adapters, enough)
        failure = ended if isinstance(ended, Failure) else None
        of_target = None if failure is not None and failure.counts else failure
        pause = report(of_target, again=self._record.setbacks > 0)
        self._means.fallbacks.note(self._target, of_target)
        if isinstance(ended, Waits):
            self._wait(ended)
        ATTEMPTS.labels(self._target, failure.kind.value if failure else "delivered").inc()
        if failure is None:
            self._conclude()
        else:
            self._failed(failure, pause)

    def hold(self, reason: str) -> None:
        """Keep the delivery for a person; its parcel may be unreadable.

        Raises:
            BusError: nobody could be told; the delivery is still pending.
            OSError: the marker could not be moved.
        """
        now = self._means.clock()
        try:
            fact = self._stored.delivery_finished(self._record, DeliveryState.HELD, now, reason)
        except SpoolError:
            fact = held_unread(self._stored.id, self._target, now, reason)
        publish(self._means.bus, fact)
        self._claim.note(reason=reason)
        self._stored.conclude(self._claim, DeliveryState.HELD)
        self._forget_commitments()
        log.error(
            "delivery.held",
            delivery=fact.delivery,
            target=self._target,
            missing=fact.missing,
            kind=self._record.kind,
            attempt=self._record.tries,
        )

    def abandon(self, reason: str) -> None:
        """Wait no longer for a target that is gone.

        What is stored there and told to be final is concluded: all that was left to know is a
        remark. Anything else is held.

        Raises:
            BusError, OSError: as ``hold``.
        """
        if not self._record.commitment.stored:
            self.hold(reason)
            return
        self._claim.note(commitment="ended", remark=reason)
        self._conclude()

    def _traced(self, adapters: Adapters, enough: Enough) -> Waits | Failure | None:
        """Offer, and tell of it as a span; one that is broken off is ``stopped``."""
        outcome, failure = "stopped", ""
        try:
            ended = self._offer(adapters, enough)
            failure = ended.kind.value if isinstance(ended, Failure) else ""
            outcome = failure or ("waits" if isinstance(ended, Waits) else "delivered")
        finally:
            traces.record(
                "attempt",
                self._stored.id,
                self._started,
                self._means.clock(),
                failure=failure,
                target=self._target,
                protocol=adapters.target.type,
                attempt=self._record.tries,
                outcome=outcome,
            )
        return ended

    def _offer(self, adapters: Adapters, enough: Enough) -> Waits | Failure | None:
        """Return what keeps the delivery from its end, None where nothing does."""
        routed = [
            Outgoing(instance, self._stored.file(instance))
            for instance in self._record.wanted(self._stored.parcel)
        ]
        if self._record.missing(self._stored.parcel):
            self._claim.note(**{"try": self._started})
            reached("dispatcher.try_noted")
        until = Until(self._means.stopping, enough)
        with self._repeats(adapters.target) as repeats:
            failure = deliver(adapters, self._claim, routed, until, repeats)
        if failure is not None or settings_of(adapters.target) is None:
            return failure
        if is_final_when_stored(adapters.target) and not self._record.commitment.stored:
            self._tell_delivered()
            self._claim.note(commitment="stored")
        commitments = self._means.spool.commitments
        return settle(commitments, adapters, self._stored.id, self._claim, routed)

    def _repeats(self, target: Target) -> Repeats:
        """Return what the target has got before; what a person has sent again goes all the same."""
        again = bool(self._record.routed.again_at)
        delivered, clock = self._means.spool.delivered, self._means.clock
        return Repeats(delivered, target, self._stored.id, clock, skips=not again)

    def _wait(self, waits: Waits) -> None:
        fact = self._attempted(next_try=waits.until)
        publish(self._means.bus, fact.model_copy(update={"detail": waits.words}))
        self._claim.note(commitment="waiting")
        raise self._again(waits.until)

    def _conclude(self) -> None:
        self._tell_delivered()
        self._stored.conclude(self._claim, DeliveryState.DELIVERED)
        reached("dispatcher.concluded")
        self._forget_commitments()
        self._stored.retire(self._means.spool.retired)
        reached("dispatcher.retired")
        log.info(
            "delivery.delivered",
            delivery=delivery_id(self._stored.id, self._target),
            target=self._target,
            instances=len(self._record.outcomes),
            attempt=self._record.tries,
            seconds=round(self._means.clock() - self._started, 3),
        )

    def _tell_delivered(self) -> None:
        now = self._means.clock()
        publish(self._means.bus, self._attempted())
        reached("dispatcher.attempt_published")
        end = self._stored.delivery_finished(self._record, DeliveryState.DELIVERED, now)
        publish(self._means.bus, end)
        reached("dispatcher.end_published")
        if not self._record.commitment.stored:  # else it was told, and measured, before
            routed = self._record.routed
            since = max(self._stored.parcel.received_at, routed.again_at)
            LATENCY.labels(self._target, routed.protocol).observe(max(0.0, now - since))

    def _failed(self, failure: Failure, pause: float | None) -> None:
        now, policy = self._means.clock(), self._means.policy
        chance = random.random()  # noqa: S311 — it spreads retries, it protects nothing
        match decide(self._record, failure, policy, pause=pause, now=now, chance=chance):
            case RetryAt(when, counts):
                self._note(failure, when, counts=counts)
                self._postpone(failure, when)
                raise self._again(when)
            case WithTarget(when):
                self._note(failure, 0.0, counts=False)
                self._postpone(failure, when)
                raise Retry
            case Hold(reason):
                diverted = self._means.fallbacks.divert(self._stored, self._claim)
                publish(self._means.bus, self._attempted(failure))
                self._note(failure, 0.0, counts=True)
                self.hold(f"{reason}; {diverted}" if diverted else reason)

    def _note(self, failure: Failure, when: float, *, counts: bool) -> None:
        self._claim.note(
            failed={
                "kind": failure.kind.value,
                "reason": failure.detail,
                "next_try": when,
                "counts": counts,
            }
        )

    def _postpone(self, failure: Failure, when: float) -> None:
        """Tell that a delivery failed and when it is tried again."""
        publish(self._means.bus, self._attempted(failure, when))
        log.warning(
            "delivery.retry",
            delivery=delivery_id(self._stored.id, self._target),
            target=self._target,
            kind=failure.kind.value,
            attempt=self._record.tries,
            seconds=round(when - self._means.clock(), 1),
        )

    def _attempted(
        self, failure: Failure | None = None, next_try: float | None = None
    ) -> DeliveryAttempted:
        return attempted(
            self._stored.parcel,
            self._record,
            self._started,
            self._means.clock(),
            failure=failure,
            next_try=next_try,
        )

    def _again(self, when: float) -> Retry:
        return Retry(max(0.0, when - self._means.clock()))

    def _forget_commitments(self) -> None:
        self._means.spool.commitments.forget(self._record.commitment.asked)
