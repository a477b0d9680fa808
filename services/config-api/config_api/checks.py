"""Keeps the newest checks of each target and how it stands, and tells of both.

Facts may come twice and in any order, as everywhere in the ledger: what is told of an older check
than the newest known changes nothing but the history.
"""

from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from config_api.answers import CheckAnswer, StandingAnswer
from config_api.database import Database
from config_api.sql import insert_once, storable
from config_api.tables import CheckRow, StandingRow
from crossdock.messages import CheckFinished, TargetChanged
from crossdock.model import CheckReport


KEPT = 100
"""Checks that are kept of each target."""


def record_check(session: Session, fact: CheckFinished) -> None:
    """Add a check to the history of its target, and forget the oldest beyond ``KEPT``."""
    stages = storable([stage.model_dump(mode="json") for stage in fact.report.stages])
    green = fact.report.green
    values = {"green": green, "seconds": fact.seconds, "stages": stages}
    insert_once(session, CheckRow, target=fact.target, at=fact.at, **values)
    _forget_oldest(session, fact.target)
    failure = fact.report.failure
    _note(session, fact.target, fact.at, green, "" if failure is None else failure.detail)


def record_change(session: Session, fact: TargetChanged) -> None:
    """Note how a target stands."""
    _note(session, fact.target, fact.at, fact.green, fact.reason)


def forget(session: Session, targets: list[str]) -> None:
    """Forget all that is known of targets that are no more."""
    for table in (CheckRow, StandingRow):
        session.execute(delete(table).where(table.target.in_(targets)))


class CheckRecords:
    """Answers questions about checks. Every method raises DatabaseUnavailable as it must."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def history(self, target: str, limit: int = KEPT) -> list[CheckAnswer]:
        """Return the checks of a target, newest first."""
        query = select(CheckRow).where(CheckRow.target == target)
        with self._database.reading() as session:
            rows = session.scalars(query.order_by(CheckRow.at.desc()).limit(limit))
            return [CheckAnswer(**_said(row)) for row in rows]

    def standings(self) -> list[StandingAnswer]:
        """Return the last check of each target that was ever checked, by name."""
        newest = (
            select(CheckRow.target, func.max(CheckRow.at).label("at"))
            .group_by(CheckRow.target)
            .subquery()
        )
        query = (
            select(CheckRow, StandingRow)
            .join(newest, (newest.c.target == CheckRow.target) & (newest.c.at == CheckRow.at))
            .join(StandingRow, StandingRow.target == CheckRow.target)
            .order_by(CheckRow.target)
        )
        with self._database.reading() as session:
            rows = session.execute(query)
            return [StandingAnswer(**_said(row), since=standing.since) for row, standing in rows]


def _note(session: Session, target: str, at: float, green: bool, reason: str) -> None:
    values = {"green": green, "since": at, "at": at, "reason": reason}
    insert_once(session, StandingRow, target=target, **values)
    row = session.get_one(StandingRow, target, with_for_update=True)
    if at < row.at:
        return
    if row.green is not green:
        row.green, row.since = green, at
    row.at, row.reason = at, reason


def _forget_oldest(session: Session, target: str) -> None:
    times = select(CheckRow.at).where(CheckRow.target == target).order_by(CheckRow.at.desc())
    oldest_kept = session.scalar(times.offset(KEPT - 1).limit(1))
    if oldest_kept is not None:
        session.execute(
            delete(CheckRow).where(CheckRow.target == target, CheckRow.at < oldest_kept)
        )


def _said(row: CheckRow) -> dict[str, Any]:
    report = CheckReport.model_validate({"stages": row.stages})
    return {
        "target": row.target,
        "green": row.green,
        "report": report,
        "at": row.at,
        "seconds": row.seconds,
    }
