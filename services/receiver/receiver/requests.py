"""What a person asks of the spool. Each request is met or refused, and answered in words."""

import time

import structlog

from crossdock.bus import Bus
from crossdock.bus.topology import RETRY, publish
from crossdock.errors import BusError, SpoolError
from crossdock.messages import (
    BatchFinished,
    BatchRequested,
    DeliveryDiscardRequested,
    DeliveryMoveRequested,
    DeliveryRetryRequested,
    Message,
    ParcelDiscarded,
    ParcelDiscardRequested,
    ParcelRouteRequested,
    ParcelSendRequested,
    RequestFinished,
)
from crossdock.model import delivery_id, split_delivery_id
from crossdock.spool import Spool, StoredParcel
from receiver.ending import Unfinished, discard
from receiver.facts import discarded_unseen, parcel_received
from receiver.retelling import tell
from receiver.sending import Sending


log = structlog.get_logger(__name__)

BATCH_SECONDS = 3.0
"""For how long a batch is worked at: whoever asked waits, and so does everybody else."""

DONE = RequestFinished(done=True)

OnDelivery = DeliveryRetryRequested | DeliveryDiscardRequested | DeliveryMoveRequested


def refused(detail: str) -> RequestFinished:
    """Return the answer that a request cannot be met, and why."""
    return RequestFinished(done=False, detail=detail)


def gone(detail: str) -> RequestFinished:
    """Return the answer that there is nothing unfinished to meet a request on."""
    return RequestFinished(done=False, detail=detail, gone=True)


class Requests:
    """Meets a person's requests on deliveries and parcels."""

    def __init__(self, spool: Spool, bus: Bus) -> None:
        self._spool = spool
        self._bus = bus
        self._sending = Sending(spool, bus)

    def answer(self, message: Message) -> RequestFinished | BatchFinished:
        """Meet a request, or as many of a batch as there is time for."""
        if not isinstance(message, BatchRequested):
            return self.respond(message)
        until = time.monotonic() + BATCH_SECONDS
        answers: list[RequestFinished] = []
        for request in message.requests:
            answers.append(self._meet(request))
            if time.monotonic() > until:
                break
        done = sum(answer.done for answer in answers)
        asked = len(message.requests)
        log.info("batch.finished", requests=asked, answered=len(answers), done=done)
        return BatchFinished(answers=tuple(answers))

    def respond(self, message: Message) -> RequestFinished:
        """Meet one request and say what came of it."""
        answer = self._meet(message)
        log.info("request.finished", request=message.type, done=answer.done, detail=answer.detail)
        return answer

    def _meet(self, message: Message) -> RequestFinished:
        try:
            return self._respond(message)
        except (OSError, SpoolError, BusError) as error:
            return refused(f"it did not work: {error}")

    def _respond(self, message: Message) -> RequestFinished:
        match message:
            case DeliveryRetryRequested() | DeliveryDiscardRequested() | DeliveryMoveRequested():
                return self._on_delivery(message)
            case ParcelRouteRequested() | ParcelDiscardRequested():
                return self._on_parcel(message)
            case ParcelSendRequested():
                return _answer(self._sending.send(message))
        return refused(f"{message.type} is no request on the spool")

    def _on_delivery(self, message: OnDelivery) -> RequestFinished:
        try:
            parcel, target = split_delivery_id(message.delivery)
        except ValueError as error:
            return refused(str(error))
        stored = self._spool.find(parcel)
        if stored is None:
            return self._on_gone(parcel, message)
        if isinstance(message, DeliveryRetryRequested) and target in stored.targets("held"):
            stored.resume(target)
            return self._schedule(stored, target)
        with Unfinished.take(stored, target) as delivery:
            if delivery is None:
                if target in stored.targets("pending"):
                    return refused("it is being worked at right now")
                return gone("there is no such unfinished delivery")
            return self._on_unfinished(delivery, message)

    def _on_gone(self, parcel: str, message: OnDelivery) -> RequestFinished:
        """Tell the ledger, which may think otherwise, how a delivery ended or that it is no more."""
        stored = self._spool.locate(parcel)
        if stored is not None:
            tell(self._spool, stored, self._bus)
            return gone("the delivery is final")
        if isinstance(message, DeliveryDiscardRequested):
            publish(self._bus, discarded_unseen(message.delivery, message.reason))
            return gone("nothing of it is in the spool any more: its record is closed")
        return gone("its parcel is not in the spool any more: the delivery is final")

    def _on_unfinished(self, delivery: Unfinished, message: OnDelivery) -> RequestFinished:
        match message:
            case DeliveryRetryRequested():
                delivery.hasten()
                return self._schedule(delivery.stored, delivery.target)
            case DeliveryDiscardRequested():
                discard(delivery, self._spool, self._bus, f"discarded: {message.reason}")
                return DONE
            case DeliveryMoveRequested():
                return _answer(self._sending.move(delivery, message))

    def _schedule(self, stored: StoredParcel, target: str) -> RequestFinished:
        routed = stored.record(target).routed.model_copy(update={"at": time.time()})
        publish(self._bus, stored.delivery_routed(routed))
        wanted = DeliveryRetryRequested(delivery=delivery_id(stored.id, target))
        self._bus.broadcast(RETRY, wanted)  # its target may be left alone
        return DONE

    def _on_parcel(self, message: ParcelRouteRequested | ParcelDiscardRequested) -> RequestFinished:
        held = self._spool.find_held(message.parcel)
        if held is None:
            return self._on_gone_parcel(message)
        if isinstance(message, ParcelRouteRequested):
            publish(self._bus, parcel_received(self._spool.unhold(held).parcel))
            return DONE
        publish(
            self._bus,
            ParcelDiscarded(parcel=held.id, reason=message.reason, at=time.time()),
        )
        self._spool.discard(held, message.reason)
        return DONE

    def _on_gone_parcel(
        self, message: ParcelRouteRequested | ParcelDiscardRequested
    ) -> RequestFinished:
        """Have the ledger, which may think otherwise, know that a parcel is held no longer."""
        known = self._spool.locate(message.parcel)
        if known is not None or not isinstance(message, ParcelDiscardRequested):
            return refused("there is no such held parcel")
        reason = f"{message.reason}; nothing of it was in the spool any more"
        fact = ParcelDiscarded(parcel=message.parcel, reason=reason, at=time.time(), gone=True)
        publish(self._bus, fact)
        return refused("nothing of it is in the spool any more: its record is closed")


def _answer(refusal: str) -> RequestFinished:
    """Return the answer that a refusal is, done if it is empty."""
    return refused(refusal) if refusal else DONE
