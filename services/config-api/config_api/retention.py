"""Forgets what is finished and old; what is unfinished is never forgotten."""

import threading
import time

import structlog
from sqlalchemy import delete, exists, func, select

from config_api.database import Database, DatabaseUnavailable
from config_api.tables import DeliveryRow, ParcelRow
from crossdock.model import DeliveryState, ParcelState


log = structlog.get_logger(__name__)

_DAY = 86400.0
_FIRST_SECONDS = 10.0  # a start has better things to do
_EVERY_SECONDS = 3600.0
_BATCH = 500  # so that a purge never keeps the ledger waiting for long

_FINISHED = (DeliveryState.DELIVERED.value, DeliveryState.DISCARDED.value)
_DONE = (ParcelState.ROUTED.value, ParcelState.DISCARDED.value)


def purge(database: Database, before: float) -> int:
    """Forget deliveries that finished before a Unix time, and parcels left without any.

    Returns how many deliveries and parcels were forgotten.

    Raises:
        DatabaseUnavailable: the database went away; what was forgotten so far stays so.
    """
    return _in_batches(database, DeliveryRow, _old_deliveries(before)) + _in_batches(
        database, ParcelRow, _old_parcels(before)
    )


def _old_deliveries(before: float) -> tuple[object, ...]:
    return (DeliveryRow.state.in_(_FINISHED), DeliveryRow.finished_at < before)


def _old_parcels(before: float) -> tuple[object, ...]:
    return (
        ParcelRow.state.in_(_DONE),
        func.coalesce(ParcelRow.closed_at, ParcelRow.routed_at, ParcelRow.discarded_at) < before,
        ~exists().where(DeliveryRow.parcel == ParcelRow.id),
    )


def _in_batches(
    database: Database, table: type[DeliveryRow | ParcelRow], conditions: tuple[object, ...]
) -> int:
    forgotten = 0
    while True:
        with database.writing() as session:
            query = select(table.id).where(*conditions).limit(_BATCH)  # type: ignore[arg-type]  # conditions of any kind
            ids = list(session.scalars(query))
            session.execute(delete(table).where(table.id.in_(ids)))
        forgotten += len(ids)
        if len(ids) < _BATCH:
            return forgotten


class Retention:
    """Purges the ledger every hour, in a thread of its own."""

    def __init__(self, database: Database, days: int) -> None:
        self._database = database
        self._days = days
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention")

    def start(self) -> None:
        """Begin, unless everything is kept for ever."""
        if self._days:
            self._thread.start()

    def close(self) -> None:
        """Stop, after the batch that is being worked on."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        pause = _FIRST_SECONDS
        while not self._stopping.wait(pause):
            self._purge()
            pause = _EVERY_SECONDS

    def _purge(self) -> None:
        try:
            forgotten = purge(self._database, time.time() - self._days * _DAY)
        except DatabaseUnavailable as error:
            log.warning("ledger.purge_postponed", reason=str(error))
        else:
            log.info("ledger.purged", records=forgotten, days=self._days)
