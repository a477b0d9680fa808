"""All that the spool knows, told to the ledger once more: for a database that was lost.

The ledger takes a fact that it has already as no news, so telling too much is harmless. What only a
message said is not in the spool, such as each attempt's time, and is not told.
"""

from collections.abc import Iterator
from pathlib import Path

import structlog

from crossdock.bus import Bus
from crossdock.bus.topology import LEDGER
from crossdock.errors import SpoolError
from crossdock.messages import Message, ParcelDiscarded, ParcelRouted
from crossdock.model import PART, DeliveryState
from crossdock.spool import DeliveryRecord, Spool, StoredParcel
from receiver.facts import parcel_held, parcel_received


log = structlog.get_logger(__name__)


def retell(spool: Spool, bus: Bus) -> int:
    """Tell the ledger of every parcel and delivery in the spool; return how many parcels that are.

    Raises:
        BusError: the broker did not take all of it; doing it again is harmless.
        OSError: the spool cannot be read.
    """
    count = 0
    for place in (spool.stored(), spool.all_held(), spool.all_retired()):
        for stored in place:
            try:
                tell(spool, stored, bus)
            except FileNotFoundError:
                continue  # it was moved on: whoever did that tells the ledger
            except SpoolError as error:
                log.error("spool.damaged", parcel=stored.id, reason=str(error))
                continue
            count += 1
    return count


def tell(spool: Spool, stored: StoredParcel, bus: Bus) -> None:
    """Tell the ledger of one parcel and its deliveries.

    Raises:
        FileNotFoundError: it was moved meanwhile.
        SpoolError: it is damaged.
        BusError: as ``retell``.
    """
    for fact in list(_facts(stored, held=stored.path.parent == spool.held)):
        bus.send(LEDGER, fact)


def _facts(stored: StoredParcel, *, held: bool) -> Iterator[Message]:
    if held:
        origin = stored.id.removesuffix(PART) if stored.id.endswith(PART) else ""
        fact = parcel_held(stored.parcel, stored.note(), split_from=origin)
        yield fact.model_copy(update={"at": _changed(stored.path)})
        return
    yield parcel_received(stored.parcel)
    if stored.routed:
        yield from _deliveries(stored)
    elif stored.note():  # nobody wanted it, and a person gave it up
        yield ParcelDiscarded(parcel=stored.id, reason=stored.note(), at=_changed(stored.path))


def _deliveries(stored: StoredParcel) -> Iterator[Message]:
    found = [
        (state, target, stored.record(target, state))
        for state in ("pending", "held", "done")
        for target in stored.targets(state)
    ]
    routed = [record.routed for _, _, record in found]
    if not routed:
        return  # the last one ends just now
    yield ParcelRouted(
        parcel=stored.id,
        targets=tuple(each.target for each in routed),
        revision=max(each.revision for each in routed),
        at=min(each.at for each in routed),
    )
    for state, target, record in found:
        yield stored.delivery_routed(record.routed)
        if state != "pending":
            # The kernel stamps files by a clock that is some milliseconds behind.
            ended = max(_changed(stored.marker(target, state)), record.routed.at)
            yield _end(stored, state, record, ended)


def _end(stored: StoredParcel, state: str, record: DeliveryRecord, at: float) -> Message:
    """Return how a delivery ended, which its marker says without a word for it."""
    if state == "held":
        return stored.delivery_finished(record, DeliveryState.HELD, at, record.reason)
    if record.missing(stored.parcel):
        return stored.delivery_finished(record, DeliveryState.DISCARDED, at, record.reason)
    return stored.delivery_finished(record, DeliveryState.DELIVERED, at)


def _changed(path: Path) -> float:
    return path.stat().st_mtime
