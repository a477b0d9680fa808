"""The router: evaluates the rules on a parcel, writes its markers, schedules its deliveries."""

import time

import structlog
from prometheus_client import Counter

from crossdock import traces
from crossdock.bus import Bus, Retry
from crossdock.bus.topology import deliveries, publish
from crossdock.config import Gateway
from crossdock.dicom.header import read_keywords
from crossdock.faults import reached
from crossdock.messages import (
    Message,
    ParcelReceived,
    ParcelRouted,
)
from crossdock.model import DeliveryState, Parcel, Priority
from crossdock.spool import Routed, Spool, StoredParcel
from receiver.facts import parcel_held
from receiver.routing import Routing, Rules, Wanted, facts_of


log = structlog.get_logger(__name__)

ROUTED = Counter("crossdock_parcels_routed", "Parcels routed, by result.", ["result"])


class Router:
    """Routes parcels by the configuration that it was last given."""

    def __init__(self, spool: Spool, bus: Bus) -> None:
        self._spool = spool
        self._bus = bus
        self._rules: Rules | None = None
        self._protocols: dict[str, str] = {}
        self._priorities: dict[str, frozenset[Priority]] = {}
        self._revision = 0

    def configure(self, gateway: Gateway, revision: int) -> None:
        """Route by this configuration from now on."""
        self._protocols = {target.name: target.type for target in gateway.targets}
        self._priorities = gateway.priorities()
        self._rules, self._revision = Rules(gateway), revision

    def queue_of(self, target: str, priority: Priority) -> str:
        """Return the queue by which deliveries of a target are consumed now.

        Where no rule has its priority any longer nobody listens to the queue of that, and it
        is a normal one.
        """
        used = self._priorities.get(target, frozenset(Priority))
        return deliveries(target, priority if priority in used else Priority.NORMAL)

    def handle(self, message: Message) -> None:
        """Route the parcel of a ``parcel.received``; one that is gone or routed is no news.

        Raises:
            Retry: there is no configuration yet.
            BusError: the deliveries could not be scheduled; doing it again is harmless.
        """
        if not isinstance(message, ParcelReceived):
            return
        reached("router.parcel_consumed")
        rules = self._rules
        if rules is None:
            raise Retry(1.0)
        stored = self._spool.find(message.parcel)
        if stored is None:
            return
        if not stored.routed:
            started = time.time()
            result = self._route(stored, rules)
            ROUTED.labels(result).inc()
            traces.record("route", stored.id, started, result=result)
        self.schedule(stored)

    def schedule(self, stored: StoredParcel) -> None:
        """Put every pending delivery of a parcel into its target's queue.

        Raises:
            BusError: not all could be scheduled; doing it again is harmless.
        """
        for target in stored.targets("pending"):
            try:
                record = stored.record(target)
            except FileNotFoundError:
                continue  # delivered in the meantime
            publish(self._bus, stored.delivery_routed(record.routed))
            reached("router.delivery_published")
            if target not in self._protocols:
                self._hold_delivery(stored, target)

    def _route(self, stored: StoredParcel, rules: Rules) -> str:
        """Write the markers, or hold the parcel that nobody wants; return which it was."""
        parcel = stored.parcel
        routing = rules.route(parcel.store_node, self._values(stored, rules))
        reason = rules.explain(parcel.store_node)
        if not routing.wanted:
            publish(self._bus, parcel_held(parcel, reason))
            self._spool.hold(stored, reason)
            log.warning("parcel.held", parcel=parcel.id, reason=reason)
            return "held"
        if routing.unwanted:
            self._hold_part(stored, routing, reason)
        publish(
            self._bus,
            ParcelRouted(
                parcel=parcel.id,
                targets=tuple(routing.wanted),
                revision=self._revision,
                at=time.time(),
            ),
        )
        reached("router.event_published")
        stored.route(self._markers(parcel, routing))
        reached("router.marker_written")
        log.info("parcel.routed", parcel=parcel.id, targets=list(routing.wanted))
        return "routed"

    def _values(self, stored: StoredParcel, rules: Rules) -> list[tuple[int, dict[str, str]]]:
        node = stored.parcel.store_node
        keywords = rules.keywords(node)
        return [
            (
                instance.number,
                facts_of(node, instance)
                | (read_keywords(stored.file(instance), keywords) if keywords else {}),
            )
            for instance in stored.parcel.instances
        ]

    def _markers(self, parcel: Parcel, routing: Routing) -> list[Routed]:
        return [self._marker(parcel, target, wanted) for target, wanted in routing.wanted.items()]

    def _marker(self, parcel: Parcel, target: str, wanted: Wanted) -> Routed:
        whole = len(wanted.numbers) == len(parcel.instances)
        return Routed(
            target=target,
            protocol=self._protocols.get(target, ""),
            rules=tuple(wanted.rules),
            revision=self._revision,
            at=time.time(),
            instances=None if whole else tuple(wanted.numbers),
            priority=wanted.priority,
            fallback=wanted.fallback,
        )

    def _hold_part(self, stored: StoredParcel, routing: Routing, reason: str) -> None:
        started = time.time()
        part = self._spool.hold_part(stored, set(routing.unwanted), reason)
        traces.record("split", part.id, started, instances=len(routing.unwanted))
        reached("router.part_held")
        publish(self._bus, parcel_held(part.parcel, reason, split_from=stored.id))
        ROUTED.labels("part_held").inc()
        log.warning("parcel.part_held", parcel=part.id, instances=len(routing.unwanted))

    def _hold_delivery(self, stored: StoredParcel, target: str) -> None:
        """Hold a delivery whose target cannot be used, so that it does not wait unseen."""
        claim = stored.claim(target)
        if claim is None:
            return
        reason = f"target {target} is not configured; add it and retry, or discard"
        claim.note(reason=reason)
        now = time.time()
        publish(self._bus, stored.delivery_finished(claim.record, DeliveryState.HELD, now, reason))
        stored.conclude(claim, DeliveryState.HELD)
