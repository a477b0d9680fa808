"""Reads the ledger: lists that can be filtered and paged, single records, and numbers."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from config_api.answers import (
    AttemptAnswer,
    DeliveryAnswer,
    DeliverySummary,
    ParcelAnswer,
    ParcelSummary,
    WaitingAnswer,
)
from config_api.database import Database
from config_api.queued import UNFINISHED, Unfinished, unfinished, waiting_for
from config_api.tables import AttemptRow, DeliveryRow, ParcelRow
from crossdock.model import DeliveryState, InstanceOutcome, ParcelState, Priority


Query = Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted: up to ``limit`` records older than ``before``."""

    limit: int = 50
    before: str | None = None


class Records:
    """Answers questions about parcels and deliveries.

    Every method raises DatabaseUnavailable where the database cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def deliveries(
        self,
        page: Page,
        *,
        state: str | None = None,
        target: str | None = None,
        study: str | None = None,
        parcel: str | None = None,
    ) -> list[DeliverySummary]:
        """Return deliveries, newest first."""
        query = _deliveries(state=state, target=target, parcel=parcel)
        if study is not None:
            query = query.where(ParcelRow.study_instance_uid == study)
        query = _paged(query, DeliveryRow.id, page)
        with self._database.reading() as session:
            return _summaries(session, query)

    def delivery(self, identifier: str) -> DeliveryAnswer | None:
        """Return a delivery with its attempts and exceptions, None if there is none."""
        with self._database.reading() as session:
            found = _summaries(session, _deliveries(id=identifier))
            if not found:
                return None
            query = select(AttemptRow).where(AttemptRow.delivery == identifier)
            order = (AttemptRow.started_at, AttemptRow.attempt)
            attempts = list(session.scalars(query.order_by(*order)))
            return DeliveryAnswer(
                **found[0].model_dump(),
                history=[_attempt(row) for row in attempts],
                exceptions=_exceptions(attempts),
            )

    def parcels(
        self,
        page: Page,
        *,
        state: str | None = None,
        study: str | None = None,
        store_node: str | None = None,
    ) -> list[ParcelSummary]:
        """Return parcels, newest first."""
        wanted = {"state": state, "study_instance_uid": study, "store_node": store_node}
        query = _paged(_matching(select(ParcelRow), ParcelRow, wanted), ParcelRow.id, page)
        with self._database.reading() as session:
            return [_parcel(row) for row in session.scalars(query)]

    def parcel(self, identifier: str) -> ParcelAnswer | None:
        """Return a parcel with its deliveries, None if there is none."""
        with self._database.reading() as session:
            row = session.get(ParcelRow, identifier)
            if row is None:
                return None
            query = _deliveries(parcel=identifier).order_by(DeliveryRow.id)
            summaries = _summaries(session, query)
            return ParcelAnswer(**_parcel(row).model_dump(), deliveries=summaries)

    def older_waiting(self, delivery: DeliverySummary) -> str | None:
        """Return the oldest waiting delivery before this one of its series and target, if any."""
        query = (
            select(DeliveryRow.id)
            .join(ParcelRow, ParcelRow.id == DeliveryRow.parcel)
            .where(
                DeliveryRow.target == delivery.target,
                DeliveryRow.state == DeliveryState.WAITING.value,
                DeliveryRow.id < delivery.id,
                ParcelRow.series_instance_uid == delivery.series_instance_uid,
            )
        )
        with self._database.reading() as session:
            return session.scalar(query.order_by(DeliveryRow.id).limit(1))

    def waiting(self, target: str) -> WaitingAnswer:
        """Return what waits for a target, why, and when it is tried again."""
        with self._database.reading() as session:
            return waiting_for(session, target)

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many deliveries there are, by target and state."""
        query = select(DeliveryRow.target, DeliveryRow.state, func.count())
        with self._database.reading() as session:
            rows = session.execute(query.group_by(DeliveryRow.target, DeliveryRow.state))
            return {(target, state): count for target, state, count in rows}

    def unfinished(self) -> dict[str, Unfinished]:
        """Return what waits and what is held, by target; a target without either is left out."""
        with self._database.reading() as session:
            return unfinished(session)

    def unfinished_ids(
        self, criteria: dict[str, Any], *, after: str | None = None, limit: int
    ) -> list[str]:
        """Return the identifiers of unfinished deliveries that fit, in the order of the ledger."""
        query = _unfinished(select(DeliveryRow.id), criteria)
        if after is not None:
            query = query.where(DeliveryRow.id > after)
        with self._database.reading() as session:
            return list(session.scalars(query.order_by(DeliveryRow.id).limit(limit)))

    def count_unfinished(self, criteria: dict[str, Any]) -> int:
        """Return how many unfinished deliveries fit."""
        query = _unfinished(select(func.count()).select_from(DeliveryRow), criteria)
        with self._database.reading() as session:
            return session.scalar(query) or 0


_NEWEST_ATTEMPT = (
    select(AttemptRow.delivery, func.max(AttemptRow.started_at).label("started_at"))
    .add_columns(func.count().label("attempts"))
    .group_by(AttemptRow.delivery)
)


def _unfinished(query: Any, criteria: dict[str, Any]) -> Any:
    """Choose unfinished deliveries by state, target, parcel, study and ids, as far as given."""
    columns = {name: criteria.get(name) for name in ("state", "target", "parcel")}
    query = _matching(query.where(DeliveryRow.state.in_(UNFINISHED)), DeliveryRow, columns)
    if criteria.get("study") is not None:
        studies = select(ParcelRow.id).where(ParcelRow.study_instance_uid == criteria["study"])
        query = query.where(DeliveryRow.parcel.in_(studies))
    if criteria.get("ids") is not None:
        query = query.where(DeliveryRow.id.in_(criteria["ids"]))
    return query


def _deliveries(**wanted: str | None) -> Query:
    query = select(DeliveryRow, ParcelRow).outerjoin(ParcelRow, ParcelRow.id == DeliveryRow.parcel)
    return _matching(query, DeliveryRow, wanted)


def _matching(query: Query, table: Any, wanted: dict[str, str | None]) -> Query:
    for column, value in wanted.items():
        if value is not None:
            query = query.where(getattr(table, column) == value)
    return query


def _paged(query: Query, column: Any, page: Page) -> Query:
    if page.before is not None:
        query = query.where(column < page.before)
    return query.order_by(column.desc()).limit(page.limit)


def _summaries(session: Session, query: Query) -> list[DeliverySummary]:
    rows = [(row, parcel) for row, parcel in session.execute(query)]
    newest = _newest_attempts(session, [row.id for row, _ in rows])
    return [_summary(row, parcel, *newest.get(row.id, (None, 0))) for row, parcel in rows]


def _newest_attempts(session: Session, ids: list[str]) -> dict[str, tuple[AttemptRow, int]]:
    """Return the newest attempt of each delivery, and how many there are."""
    newest = _NEWEST_ATTEMPT.where(AttemptRow.delivery.in_(ids)).subquery()
    query = (
        select(AttemptRow, newest.c.attempts)
        .join(
            newest,
            (newest.c.delivery == AttemptRow.delivery)
            & (newest.c.started_at == AttemptRow.started_at),
        )
        .order_by(AttemptRow.attempt)
    )
    return {row.delivery: (row, count) for row, count in session.execute(query)}


def _summary(
    row: DeliveryRow, parcel: ParcelRow | None, last: AttemptRow | None, attempts: int
) -> DeliverySummary:
    waiting = row.state == DeliveryState.WAITING
    delivered, warnings, missing, reason = row.delivered, row.warnings, row.missing, row.reason
    if waiting and last and last.started_at < (row.again_at or 0.0):
        last = None  # of an earlier run
    if waiting and last:
        delivered, warnings, reason = last.delivered, last.warnings, last.detail
        missing = last.refused + last.not_sent
    elif waiting:
        delivered, warnings, missing = 0, 0, row.instances
        reason = f"as the fallback of {row.instead_of}" if row.instead_of else ""
    return DeliverySummary(
        id=row.id,
        state=DeliveryState(row.state),
        parcel=row.parcel,
        target=row.target,
        protocol=row.protocol,
        rules=row.rules,
        priority=Priority(row.priority),
        instead_of=row.instead_of,
        revision=row.revision,
        store_node=parcel.store_node if parcel else "",
        study_instance_uid=parcel.study_instance_uid if parcel else "",
        series_instance_uid=parcel.series_instance_uid if parcel else "",
        instances=row.instances,
        delivered=delivered,
        warnings=warnings,
        missing=missing,
        reason=reason,
        attempts=attempts,
        routed_at=row.routed_at,
        attempted_at=row.attempted_at,
        finished_at=None if waiting else row.finished_at,
        next_try=last.next_try if waiting and last else None,
    )


def _attempt(row: AttemptRow) -> AttemptAnswer:
    return AttemptAnswer.model_validate(row, from_attributes=True)


def _exceptions(attempts: list[AttemptRow]) -> list[InstanceOutcome]:
    """Return what stood out after the newest attempt."""
    items = [*attempts[-1].failures, *attempts[-1].warned] if attempts else []
    outcomes = [InstanceOutcome.model_validate(item) for item in items]
    return sorted(outcomes, key=lambda outcome: outcome.number)


def _parcel(row: ParcelRow) -> ParcelSummary:
    reasons = {
        ParcelState.HELD.value: row.held_reason,
        ParcelState.DISCARDED.value: row.discard_reason,
    }
    return ParcelSummary(
        id=row.id,
        state=ParcelState(row.state),
        store_node=row.store_node,
        calling_ae_title=row.calling_ae_title,
        address=row.address,
        study_instance_uid=row.study_instance_uid,
        series_instance_uid=row.series_instance_uid,
        split_from=row.split_from,
        instances=row.instances,
        bytes=row.bytes,
        reason=reasons.get(row.state, ""),
        received_at=row.received_at,
        closed_at=row.closed_at,
        routed_at=row.routed_at,
    )
