"""Who had what done to parcels and deliveries: written down beside the configuration's revisions."""

import time

import structlog
from sqlalchemy import select

from config_api.answers import ActionAnswer
from config_api.database import Database, DatabaseUnavailable
from config_api.tables import ActionRow


log = structlog.get_logger(__name__)


class Actions:
    """The record of what people did."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, actor: str, action: str, subject: str, outcome: str) -> None:
        """Write down what was done; where the database is away, only the log has it.

        What was asked is done by then, so that its asker must not be told of a failure.
        """
        row = ActionRow(
            at=time.time(), actor=actor, action=action, subject=subject, outcome=outcome
        )
        try:
            with self._database.writing() as session:
                session.add(row)
        except DatabaseUnavailable as error:
            log.error("action.not_recorded", action=action, reason=str(error))

    def list(self, before: int | None, limit: int) -> list[ActionAnswer]:
        """Return up to ``limit`` actions older than ``before``, newest first.

        Raises:
            DatabaseUnavailable: the database cannot be used.
        """
        query = select(ActionRow).order_by(ActionRow.number.desc()).limit(limit)
        if before is not None:
            query = query.where(ActionRow.number < before)
        with self._database.reading() as session:
            rows = session.scalars(query)
            return [ActionAnswer.model_validate(row, from_attributes=True) for row in rows]
