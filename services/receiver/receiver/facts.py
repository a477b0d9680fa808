"""What the receiver and its router tell the others, made from what is in the spool."""

import time
from typing import Any

from crossdock.messages import DeliveryFinished, ParcelHeld, ParcelReceived
from crossdock.model import DeliveryState, Parcel


def parcel_received(parcel: Parcel) -> ParcelReceived:
    """Return the fact that a parcel is closed and safe."""
    return ParcelReceived(
        parcel=parcel.id,
        **_about(parcel),
    )


def parcel_held(parcel: Parcel, reason: str, split_from: str = "") -> ParcelHeld:
    """Return the fact that nobody wanted a parcel, or that part of another one."""
    return ParcelHeld(
        parcel=parcel.id,
        reason=reason,
        at=time.time(),
        split_from=split_from,
        **_about(parcel),
    )


def discarded_unseen(delivery: str, reason: str) -> DeliveryFinished:
    """Return the fact that a person gave a delivery up of which nothing is in the spool."""
    return DeliveryFinished(
        delivery=delivery,
        state=DeliveryState.DISCARDED,
        delivered=0,
        warnings=0,
        missing=0,
        reason=f"discarded: {reason}; nothing of it was in the spool any more",
        at=time.time(),
        gone=True,
    )


def _about(parcel: Parcel) -> dict[str, Any]:
    """Return what every fact on a parcel tells of it."""
    return {
        "store_node": parcel.store_node,
        "calling_ae_title": parcel.calling_ae_title,
        "address": parcel.address,
        "study_instance_uid": parcel.study_instance_uid,
        "series_instance_uid": parcel.series_instance_uid,
        "instances": len(parcel.instances),
        "bytes": parcel.size,
        "received_at": parcel.received_at,
        "closed_at": parcel.closed_at,
    }
