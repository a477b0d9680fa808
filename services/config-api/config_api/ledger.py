"""Keeps the ledger from events that may come twice and in any order.

What is kept does not depend on the order: of each thing that can happen more than once the newest
is kept, by the time in the event and not by its arrival, and the state is worked out from what is
kept.
"""

from typing import Any

from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config_api.checks import record_change, record_check
from config_api.database import Database, DatabaseUnavailable
from config_api.sql import insert_once, storable
from config_api.tables import AttemptRow, DeliveryRow, ParcelRow
from crossdock.bus import Retry
from crossdock.faults import reached
from crossdock.messages import (
    CheckFinished,
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
from crossdock.model import DeliveryState, ParcelState, split_delivery_id


_AGAIN_SECONDS = 2.0


class Ledger:
    """Writes events down. Recording one twice changes nothing."""

    def __init__(self, database: Database, registry: CollectorRegistry) -> None:
        self._database = database
        self._events = Counter(
            "crossdock_ledger_events_total", "Events written down.", ["type"], registry=registry
        )

    def handle(self, event: Message) -> None:
        """Write down an event from the bus.

        Raises:
            Retry: the database is away, so that the broker keeps the event.
        """
        reached("config-api.event_consumed")
        try:
            self.record(event)
        except DatabaseUnavailable as error:
            raise Retry(_AGAIN_SECONDS) from error
        reached("config-api.event_recorded")
        self._events.labels(event.type).inc()

    def record(self, event: Message) -> None:
        """Write down an event; returns when it is durable.

        Raises:
            DatabaseUnavailable: it was not written down.
            TypeError: the message is not an event of the ledger.
            ValueError: the delivery's identifier makes no sense.
        """
        with self._database.writing() as session:
            match event:
                case ParcelDiscarded(gone=True) if session.get(ParcelRow, event.parcel) is None:
                    pass  # a name that somebody mistyped
                case ParcelReceived() | ParcelRouted() | ParcelHeld() | ParcelDiscarded():
                    _record_on_parcel(session, event)
                case DeliveryRouted() | DeliveryAttempted() | DeliveryFinished():
                    _record_on_delivery(session, event)
                case CheckFinished():
                    record_check(session, event)
                case TargetChanged():
                    record_change(session, event)
                case _:
                    raise TypeError(f"{event.type} is no event of the ledger")


def _record_on_parcel(
    session: Session, event: ParcelReceived | ParcelRouted | ParcelHeld | ParcelDiscarded
) -> None:
    row = _locked(session, ParcelRow, id=event.parcel, state=ParcelState.RECEIVED)
    match event:
        case ParcelReceived():
            _describe(row, event)
        case ParcelHeld():
            if event.store_node and not row.store_node:
                _describe(row, event)
            if _newer(event.at, row.held_at):
                row.held_at, row.held_reason, row.split_from = (
                    event.at,
                    event.reason,
                    event.split_from,
                )
        case ParcelRouted():
            row.routed_at = _newest(row.routed_at, event.at)
        case ParcelDiscarded():
            if _newer(event.at, row.discarded_at):
                row.discarded_at, row.discard_reason = event.at, event.reason
    row.state = _parcel_state(row)


def _describe(row: ParcelRow, event: ParcelReceived | ParcelHeld) -> None:
    row.store_node = event.store_node
    row.calling_ae_title = event.calling_ae_title
    row.address = event.address
    row.study_instance_uid = event.study_instance_uid
    row.series_instance_uid = event.series_instance_uid
    row.instances = event.instances
    row.bytes = event.bytes
    row.received_at = event.received_at
    row.closed_at = event.closed_at


def _parcel_state(row: ParcelRow) -> ParcelState:
    """Return what happened last; at the same time, what is further along the way."""
    happened = [
        (row.held_at, 0, ParcelState.HELD),
        (row.routed_at, 1, ParcelState.ROUTED),
        (row.discarded_at, 2, ParcelState.DISCARDED),
    ]
    times = [(at, rank, state) for at, rank, state in happened if at is not None]
    return max(times)[2] if times else ParcelState.RECEIVED


def _record_on_delivery(
    session: Session, event: DeliveryRouted | DeliveryAttempted | DeliveryFinished
) -> None:
    parcel, target = split_delivery_id(event.delivery)
    if isinstance(event, DeliveryFinished) and event.gone:
        _close(session, event)
        return
    row = _locked(
        session,
        DeliveryRow,
        id=event.delivery,
        state=DeliveryState.WAITING,
        parcel=parcel,
        target=target,
        rules=[],
    )
    match event:
        case DeliveryRouted():
            _note_routed(row, event)
        case DeliveryAttempted():
            _note_attempt(session, row, event)
        case DeliveryFinished():
            _note_finished(row, event)
    row.state = _delivery_state(session, row)


def _note_routed(row: DeliveryRow, event: DeliveryRouted) -> None:
    if event.again_at:
        row.again_at = _newest(row.again_at, event.again_at)
    if _newer(event.at, row.routed_at):
        row.protocol = event.protocol
        row.rules = list(event.rules)
        row.priority = event.priority
        row.instead_of = event.instead_of
        row.instances = event.instances
        row.revision = event.revision
        row.routed_at = event.at


def _note_attempt(session: Session, row: DeliveryRow, event: DeliveryAttempted) -> None:
    insert_once(
        session,
        AttemptRow,
        delivery=event.delivery,
        started_at=event.started_at,
        attempt=event.attempt,
        finished_at=event.finished_at,
        delivered=event.delivered,
        warnings=event.warnings,
        refused=event.refused,
        not_sent=event.not_sent,
        kind=event.kind,
        detail=event.detail,
        next_try=event.next_try,
        failures=storable([item.model_dump(mode="json") for item in event.failures]),
        warned=storable([item.model_dump(mode="json") for item in event.warned]),
    )
    row.attempted_at = _newest(row.attempted_at, event.finished_at)


def _close(session: Session, event: DeliveryFinished) -> None:
    """End what the ledger alone has unfinished, at a time before any end that it may yet hear of."""
    row = session.get(DeliveryRow, event.delivery, with_for_update=True)
    if row is None or _is_final(row.state):
        return
    at, again_at = row.routed_at or row.attempted_at or event.at, row.again_at or 0.0
    missing = {"missing": row.instances, "at": at, "again_at": again_at}
    _note_finished(row, event.model_copy(update=missing))
    row.state = _delivery_state(session, row)


def _note_finished(row: DeliveryRow, event: DeliveryFinished) -> None:
    """Keep the newest end of the newest run, in which nothing undoes delivered and discarded."""
    run, final, at = row.finished_again_at or 0.0, _is_final(row.finished_state), row.finished_at
    known = (run, final, at or 0.0, row.finished_state)
    if (event.again_at, _is_final(event.state), event.at, event.state.value) < known:
        return
    row.finished_again_at = event.again_at
    row.finished_state = event.state
    row.finished_at = event.at
    row.delivered = event.delivered
    row.warnings = event.warnings
    row.missing = event.missing
    row.reason = event.reason or event.remark


def _is_final(state: str) -> bool:
    return state in (DeliveryState.DELIVERED, DeliveryState.DISCARDED)


def _delivery_state(session: Session, row: DeliveryRow) -> str:
    """Return how its newest run ended; a held one waits again once routed or tried after that."""
    if row.finished_at is None or (row.finished_again_at or 0.0) < (row.again_at or 0.0):
        return DeliveryState.WAITING
    if _is_final(row.finished_state):
        return row.finished_state
    started = select(func.max(AttemptRow.started_at)).where(AttemptRow.delivery == row.id)
    moved_on = max(row.routed_at or 0.0, session.scalar(started) or 0.0)
    return DeliveryState.WAITING if moved_on > row.finished_at else row.finished_state


def _locked(session: Session, table: type[Any], **values: Any) -> Any:
    """Return the row of ``values["id"]``, made if it is missing, for this transaction alone."""
    insert_once(session, table, **values)
    return session.get_one(table, values["id"], with_for_update=True)


def _newer(at: float, known: float | None) -> bool:
    return known is None or at >= known


def _newest(known: float | None, at: float) -> float:
    return at if known is None else max(known, at)
