"""Reads from the ledger what waits for a target, why, and when it is tried again."""

from dataclasses import dataclass, replace

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config_api.answers import WaitingAnswer
from config_api.tables import AttemptRow, DeliveryRow
from crossdock.model import DeliveryState


UNFINISHED = (DeliveryState.WAITING.value, DeliveryState.HELD.value)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """How many deliveries of a target wait, since when (Unix time) the oldest, and how many are held."""

    waiting: int = 0
    held: int = 0
    oldest_waiting: float | None = None


def unfinished(session: Session, target: str | None = None) -> dict[str, Unfinished]:
    """Return what waits and what is held, by target, or of one; one without either is left out."""
    oldest = func.min(DeliveryRow.routed_at)
    query = select(DeliveryRow.target, DeliveryRow.state, func.count(), oldest)
    query = query.where(DeliveryRow.state.in_(UNFINISHED))
    if target is not None:
        query = query.where(DeliveryRow.target == target)
    found: dict[str, Unfinished] = {}
    rows = session.execute(query.group_by(DeliveryRow.target, DeliveryRow.state))
    for name, state, count, since in rows:
        known = found.get(name, Unfinished())
        if state == DeliveryState.HELD:
            found[name] = replace(known, held=count)
        else:
            found[name] = replace(known, waiting=count, oldest_waiting=since)
    return found


def waiting_for(session: Session, target: str) -> WaitingAnswer:
    """Return what waits for a target."""
    left = unfinished(session, target).get(target, Unfinished())
    last = _last_failure(session, target)
    return WaitingAnswer(
        target=target,
        waiting=left.waiting,
        held=left.held,
        oldest_at=left.oldest_waiting,
        next_try=_next_try(session, target),
        failed_at=last.finished_at if last else None,
        kind=last.kind if last else "",
        reason=last.detail if last else "",
    )


def _last_failure(session: Session, target: str) -> AttemptRow | None:
    query = (
        select(AttemptRow)
        .join(DeliveryRow, DeliveryRow.id == AttemptRow.delivery)
        .where(DeliveryRow.target == target, DeliveryRow.state == DeliveryState.WAITING.value)
        .where(AttemptRow.kind != "")
        .order_by(AttemptRow.finished_at.desc())
    )
    return session.scalar(query.limit(1))


def _next_try(session: Session, target: str) -> float | None:
    """Return the first next try of those that wait, by the newest attempt at each."""
    newest = (
        select(AttemptRow.delivery, func.max(AttemptRow.started_at).label("started_at"))
        .join(DeliveryRow, DeliveryRow.id == AttemptRow.delivery)
        .where(DeliveryRow.target == target, DeliveryRow.state == DeliveryState.WAITING.value)
        .group_by(AttemptRow.delivery)
        .subquery()
    )
    query = select(func.min(AttemptRow.next_try)).join(
        newest,
        (newest.c.delivery == AttemptRow.delivery) & (newest.c.started_at == AttemptRow.started_at),
    )
    return session.scalar(query)
