"""Which queue or topic each message travels by. The only place that knows queue names."""

from typing import Final

from crossdock.bus.base import Bus
from crossdock.faults import Point
from crossdock.messages import (
    CheckFinished,
    ConfigChanged,
    DeliveryAttempted,
    DeliveryFinished,
    DeliveryRouted,
    Message,
    ParcelDiscarded,
    ParcelHeld,
    ParcelReceived,
    ParcelRouted,
    TargetChanged,
)
from crossdock.model import Priority


PARCELS = "parcels"  # parcel.received, to the router
LEDGER = "ledger"  # everything that happened, to config-api
CONFIG = "config"  # config.requested, to config-api
SPOOL = "spool"  # a person's requests on deliveries and parcels, to the router
CHECKS = "checks"  # check.requested, to the tester

CONFIG_CHANGED = "config.changed"  # topic, to all
CHECK_FINISHED = "check.finished"  # topic, to the testers
TARGET_CHANGED = "target.changed"  # topic, to whoever waits for a target
RETRY = "delivery.retry"  # topic, delivery.retry.requested, to the dispatchers

QUEUES: Final = (PARCELS, LEDGER, CONFIG, SPOOL, CHECKS)
"""The queues that are there whatever is configured; each target has its own besides."""

TOPICS: Final = (CONFIG_CHANGED, CHECK_FINISHED, TARGET_CHANGED, RETRY)


_ACKNOWLEDGED: Final[dict[str, Point]] = {
    PARCELS: "router.acknowledged",
    "deliveries": "dispatcher.acknowledged",
    LEDGER: "config-api.acknowledged",
}


def acknowledged(queue: str) -> Point | None:
    """Return the fault point at which the service that consumes a queue has dealt with a message."""
    return _ACKNOWLEDGED.get(queue.partition(".")[0])


def deliveries(target: str, priority: Priority = Priority.NORMAL) -> str:
    """Return the name of a target's own queue for deliveries of a priority."""
    kind = "deliveries" if priority is Priority.NORMAL else f"deliveries-{priority}"
    return f"{kind}.{target}"


def publish(bus: Bus, message: Message) -> None:
    """Send a fact to everyone who must hear of it.

    Raises:
        BusError: the broker did not confirm all of it; publishing again is harmless.
    """
    match message:
        case ParcelReceived():
            bus.send(LEDGER, message)
            bus.send(PARCELS, message)
        case DeliveryRouted():
            bus.send(LEDGER, message)
            bus.send(deliveries(message.target, message.priority), message)
        case (
            ParcelRouted()
            | ParcelHeld()
            | ParcelDiscarded()
            | DeliveryAttempted()
            | DeliveryFinished()
        ):
            bus.send(LEDGER, message)
        case CheckFinished():
            bus.send(LEDGER, message)
            bus.broadcast(CHECK_FINISHED, message)
        case TargetChanged():
            bus.send(LEDGER, message)
            bus.broadcast(TARGET_CHANGED, message)
        case ConfigChanged():
            bus.broadcast(CONFIG_CHANGED, message)
        case _:
            raise TypeError(f"{message.type} is no fact: send it to the queue that serves it")
