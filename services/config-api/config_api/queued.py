"""Reads from the ledger what waits for a target, why, and when it is tried again."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from config_api.answers import WaitingAnswer
from config_api.tables import AttemptRow, DeliveryRow
from crossdock.model import DeliveryState


def waiting_for(session: Session, target: str) -> WaitingAnswer:
    """Return what waits for a target."""
    counts = _counts(session, target)
    waiting, oldest = counts.get(DeliveryState.WAITING, (0, None))
    held, _ = counts.get(DeliveryState.HELD, (0, None))
    last = _last_failure(session, target)
    return WaitingAnswer(
        target=target,
        waiting=waiting,
        held=held,
        oldest_at=oldest,
        next_try=_next_try(session, target),
        failed_at=last.finished_at if last else None,
        kind=last.kind if last else "",
        reason=last.detail if last else "",
    )


def _counts(session: Session, target: str) -> dict[str, tuple[int, float | None]]:
    query = select(DeliveryRow.state, func.count(), func.min(DeliveryRow.routed_at))
    query = query.where(DeliveryRow.target == target).group_by(DeliveryRow.state)
    return {state: (count, oldest) for state, count, oldest in session.execute(query)}


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
