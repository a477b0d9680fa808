"""Which delivery a message is about, and whether it is to be attempted now.

A delivery is claimed first, so that nobody else works at it, and waits for its time, for older
ones of its series, and for its turn.
"""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import structlog

from crossdock.bus import Bus, Retry
from crossdock.bus.topology import publish
from crossdock.config.targets import Target
from crossdock.errors import BusError, SpoolError
from crossdock.faults import reached
from crossdock.messages import DeliveryRouted, Message
from crossdock.model import delivery_id
from crossdock.spool import Claim, Spool, StoredParcel
from dispatcher.adapters import Adapters
from dispatcher.deliver import Stopped
from dispatcher.delivery import Delivery, Enough, Means, Report
from dispatcher.facts import held_unread
from dispatcher.fallback import Fallbacks
from dispatcher.order import SeriesOrder
from dispatcher.retry import RetryPolicy


log = structlog.get_logger(__name__)

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
        fallbacks = fallbacks or Fallbacks(spool, bus, ())
        self._means = Means(spool, bus, policy, stopping, fallbacks, clock)
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
        stored = self._means.spool.find(message.parcel)
        if stored is None:
            log.debug("delivery.stale", delivery=message.delivery)
            return
        try:
            self._claimed(adapters, stored, report, turn)
        except BusError as error:
            log.warning("delivery.unreported", delivery=message.delivery, reason=str(error))
            raise Retry(self._means.policy.first) from error
        except OSError as error:
            log.error("spool.failed", delivery=message.delivery, reason=error.strerror)
            raise Retry(self._means.policy.spool) from error

    def hold(self, stored: StoredParcel, target: str, reason: str) -> None:
        """Hold a pending delivery that nobody works at, for a person; see ``Delivery.abandon``.

        Raises:
            BusError: nobody could be told; the delivery is still pending.
            OSError: the marker could not be moved.
        """
        claim = self._claim(stored, target)
        if claim is None:
            return
        try:
            Delivery(self._means, stored, claim).abandon(reason)
        finally:
            claim.release()

    def _claimed(
        self, adapters: Adapters, stored: StoredParcel, report: Report, turn: Turn
    ) -> None:
        claim = self._claim(stored, adapters.target.name)
        if claim is None:
            return
        try:
            self._wait_for_its_time(claim)
            self._keep_order(adapters.target, stored)
            with turn() as enough:
                Delivery(self._means, stored, claim).attempt(adapters, report, enough)
        except Stopped:
            raise Retry from None
        except SpoolError as error:
            reason = f"its parcel in the spool is damaged: {error}"
            Delivery(self._means, stored, claim).hold(reason)
        finally:
            claim.release()

    def _wait_for_its_time(self, claim: Claim) -> None:
        early = claim.record.next_try - self._means.clock()
        if early > 0:
            raise Retry(early)

    def _keep_order(self, target: Target, stored: StoredParcel) -> None:
        """Have a delivery wait for older ones of its series, where its target wants that."""
        if not target.keep_order:
            return
        order = self._orders.setdefault(target.name, SeriesOrder(self._means.spool, target.name))
        older = order.older(stored)
        if older is not None:
            log.debug("delivery.not_its_turn", delivery=delivery_id(stored.id, target.name))
            raise Retry(order.patience(older, self._means.clock()))

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

    def _report_damage(self, parcel: str, target: str, error: SpoolError) -> None:
        """Say once that a delivery cannot go on because its marker is damaged."""
        delivery = delivery_id(parcel, target)
        if delivery in self._damaged:
            return
        log.error("spool.damaged", delivery=delivery, reason=str(error))
        reason = f"its marker in the spool is damaged: {error}"
        publish(self._means.bus, held_unread(parcel, target, self._means.clock(), reason))
        self._damaged.add(delivery)
