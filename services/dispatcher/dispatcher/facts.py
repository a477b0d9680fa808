"""What a dispatcher tells the others, made from a delivery's journal.

Numbers are where the delivery stands after the attempt, not what the attempt added, so that a fact
published again says the same.
"""

from crossdock.messages import DeliveryAttempted, DeliveryFinished
from crossdock.model import (
    DeliveryState,
    InstanceOutcome,
    Outcome,
    Parcel,
    delivery_id,
)
from crossdock.spool import DeliveryRecord
from dispatcher.retry import Failure


def attempted(
    parcel: Parcel,
    record: DeliveryRecord,
    started_at: float,
    finished_at: float,
    *,
    failure: Failure | None = None,
    next_try: float | None = None,
) -> DeliveryAttempted:
    """Return the fact that an attempt is over.

    Instances that were never offered are counted in ``not_sent`` and not listed: of a target that
    is down there would be thousands, and ``detail`` says for all of them why.
    """
    outcomes = [outcome for _, outcome in sorted(record.outcomes.items())]
    count = record.tally(parcel)
    return DeliveryAttempted(
        delivery=delivery_id(parcel.id, record.routed.target),
        attempt=record.tries,
        started_at=started_at,
        finished_at=finished_at,
        delivered=count[Outcome.DELIVERED],
        warnings=count[Outcome.WARNING],
        refused=count[Outcome.REFUSED],
        not_sent=count[Outcome.NOT_SENT],
        kind=failure.kind.value if failure else "",
        detail=_in_words(record, failure) if failure else record.remark,
        next_try=next_try,
        failures=tuple(outcome for outcome in outcomes if not outcome.confirmed),
        warned=tuple(outcome for outcome in outcomes if outcome.confirmed and outcome.detail),
    )


def _in_words(record: DeliveryRecord, failure: Failure) -> str:
    given = f"; its fallback target {record.fallback} has been given it" if record.fallback else ""
    return failure.detail + given


def held_unread(parcel: str, target: str, at: float, reason: str) -> DeliveryFinished:
    """Return the fact that a delivery is held whose parcel or marker cannot be read."""
    return DeliveryFinished(
        delivery=delivery_id(parcel, target),
        state=DeliveryState.HELD,
        delivered=0,
        warnings=0,
        missing=0,
        reason=reason,
        at=at,
    )


def first_refusal(record: DeliveryRecord) -> InstanceOutcome | None:
    """Return the first instance that was offered and not taken, None if there is none."""
    missing = (outcome for _, outcome in sorted(record.outcomes.items()) if not outcome.confirmed)
    return next(missing, None)
