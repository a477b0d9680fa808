"""What a person asks of the spool: retry, discard, route again. Each is answered in words."""

import time

import structlog

from crossdock.bus import Bus
from crossdock.bus.topology import RETRY, publish
from crossdock.errors import BusError, SpoolError
from crossdock.messages import (
    DeliveryDiscardRequested,
    DeliveryFinished,
    DeliveryRetryRequested,
    Message,
    ParcelDiscarded,
    ParcelDiscardRequested,
    ParcelRouteRequested,
    RequestFinished,
)
from crossdock.model import DeliveryState, delivery_id, split_delivery_id
from crossdock.spool import Spool, StoredParcel
from receiver.facts import parcel_received


log = structlog.get_logger(__name__)

DONE = RequestFinished(done=True)


def refused(detail: str) -> RequestFinished:
    """Return the answer that a request cannot be met, and why."""
    return RequestFinished(done=False, detail=detail)


class Requests:
    """Meets a person's requests on deliveries and parcels."""

    def __init__(self, spool: Spool, bus: Bus) -> None:
        self._spool = spool
        self._bus = bus

    def respond(self, message: Message) -> RequestFinished:
        """Meet one request and say what came of it."""
        try:
            answer = self._respond(message)
        except (OSError, SpoolError, BusError) as error:
            return refused(f"it did not work: {error}")
        log.info("request.finished", request=message.type, done=answer.done, detail=answer.detail)
        return answer

    def _respond(self, message: Message) -> RequestFinished:
        match message:
            case DeliveryRetryRequested() | DeliveryDiscardRequested():
                return self._on_delivery(message)
            case ParcelRouteRequested() | ParcelDiscardRequested():
                return self._on_parcel(message)
        return refused(f"{message.type} is no request on the spool")

    def _on_delivery(
        self, message: DeliveryRetryRequested | DeliveryDiscardRequested
    ) -> RequestFinished:
        try:
            parcel, target = split_delivery_id(message.delivery)
        except ValueError as error:
            return refused(str(error))
        stored = self._spool.find(parcel)
        if stored is None:
            return refused("its parcel is not in the spool any more: the delivery is final")
        if isinstance(message, DeliveryRetryRequested):
            return self._retry(stored, target, message)
        return self._discard(stored, target, message)

    def _retry(
        self, stored: StoredParcel, target: str, message: DeliveryRetryRequested
    ) -> RequestFinished:
        if target in stored.targets("held"):
            stored.resume(target)
        elif target in stored.targets("pending"):
            claim = stored.claim(target)
            if claim is None:
                return refused("it is being worked at right now")
            claim.note(retry=True)
            claim.release()
        else:
            return refused("there is no such unfinished delivery")
        routed = stored.record(target).routed.model_copy(update={"at": time.time()})
        publish(self._bus, stored.delivery_routed(routed))
        self._bus.broadcast(RETRY, message)  # its target may be left alone
        return DONE

    def _discard(
        self, stored: StoredParcel, target: str, message: DeliveryDiscardRequested
    ) -> RequestFinished:
        reason = f"discarded: {message.reason}"
        if target in stored.targets("held"):
            self._say_discarded(stored, target, "held", reason)
            stored.discard_held(target, reason)
        else:
            claim = stored.claim(target)
            if claim is None:
                return refused("there is no such unfinished delivery, or it is in work right now")
            self._say_discarded(stored, target, "pending", reason)
            claim.note(reason=reason)
            stored.conclude(claim, DeliveryState.DISCARDED)
        stored.retire(self._spool.retired)
        return DONE

    def _say_discarded(self, stored: StoredParcel, target: str, state: str, reason: str) -> None:
        record = stored.record(target, state)
        wanted = record.routed.instances
        total = len(stored.parcel.instances) if wanted is None else len(wanted)
        outcomes = list(record.outcomes.values())
        confirmed = sum(outcome.confirmed for outcome in outcomes)
        warnings = sum(outcome.outcome == "warning" for outcome in outcomes)
        publish(
            self._bus,
            DeliveryFinished(
                delivery=delivery_id(stored.id, target),
                state=DeliveryState.DISCARDED,
                delivered=confirmed - warnings,
                warnings=warnings,
                missing=total - confirmed,
                reason=reason,
                at=time.time(),
            ),
        )

    def _on_parcel(self, message: ParcelRouteRequested | ParcelDiscardRequested) -> RequestFinished:
        held = self._spool.find_held(message.parcel)
        if held is None:
            return refused("there is no such held parcel")
        if isinstance(message, ParcelRouteRequested):
            publish(self._bus, parcel_received(self._spool.unhold(held).parcel))
            return DONE
        publish(
            self._bus,
            ParcelDiscarded(parcel=held.id, reason=message.reason, at=time.time()),
        )
        self._spool.discard(held, message.reason)
        return DONE
