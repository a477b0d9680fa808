"""The configuration in numbered revisions: what is in force, how it came to be, and changes to it."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from config_api.changes import Change, Document, changes_between, summary
from config_api.checks import forget
from config_api.database import Database
from config_api.kept import with_secrets
from config_api.leaving import Leaving, Waiting, keep_draining, without_draining
from config_api.pauses import with_pauses
from config_api.queued import UNFINISHED
from config_api.tables import DeliveryRow, RevisionRow
from crossdock.bus import Bus
from crossdock.bus.topology import publish
from crossdock.config.snapshot import Gateway, parse_gateway, usable_gateway
from crossdock.errors import BusError, CrossdockError
from crossdock.faults import reached
from crossdock.messages import ConfigChanged


log = structlog.get_logger(__name__)

_TRIES = 5

Edit = Callable[[Document], Document]
"""Takes the document in force and returns the wanted one; may raise to refuse."""


class StaleRevision(CrossdockError):  # noqa: N818 — reads as what happened
    """The caller wanted to change another revision than the one in force."""


class Conflict(CrossdockError):  # noqa: N818 — reads as what happened
    """The change is fine by itself but something stands against it; the text says what."""


@dataclass(frozen=True)
class Revision:
    """One state of the configuration."""

    number: int
    at: float
    actor: str
    summary: str
    document: Document

    @cached_property
    def gateway(self) -> Gateway:
        """What can be used of it; finding out takes half a second with a thousand targets."""
        return usable_gateway(self.document)

    @property
    def is_first(self) -> bool:
        """Whether nothing was ever configured in this database."""
        return self.number == 1


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did, or would do: the revision now in force, and the differences.

    ``draining`` are the targets that were to be removed and are kept for their unfinished
    deliveries, and how many those are.
    """

    revision: Revision
    changes: list[Change]
    draining: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wish:
    """How a change is to be made.

    Attributes:
        actor: who wants it, for the record.
        expected: the revision that the change was made for, None for whichever is in force.
        waiting: what becomes of the unfinished deliveries of targets that leave, None to refuse.
        settled: deliveries that are ended already, whether the ledger knows it or not.
        dry_run: say what would change and change nothing.
        summary: what to write into the record; made from the changes if empty.
    """

    actor: str
    expected: int | None = None
    waiting: Waiting | None = None
    settled: frozenset[str] = frozenset()
    dry_run: bool = False
    summary: str = ""


class Configuration:
    """Reads and changes the configuration. Safe to use from any thread and any process."""

    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus
        self._current: Revision | None = None

    def current(self) -> Revision:
        """Return the revision in force; the first one, of a new database, is empty.

        Raises:
            DatabaseUnavailable: the database cannot be used.
        """
        with self._database.reading() as session:
            newest = _newest(session)
        known = self._current
        if known == newest:
            return known  # with the gateway that was made of it
        self._current = newest
        return newest

    def revision(self, number: int) -> Revision | None:
        """Return one revision, None if there is none of that number."""
        with self._database.reading() as session:
            row = session.get(RevisionRow, number)
            return None if row is None else _revision(row)

    def revisions(self, before: int | None, limit: int) -> list[Revision]:
        """Return up to ``limit`` revisions older than ``before``, newest first."""
        query = select(RevisionRow).order_by(RevisionRow.number.desc()).limit(limit)
        if before is not None:
            query = query.where(RevisionRow.number < before)
        with self._database.reading() as session:
            return [_revision(row) for row in session.scalars(query)]

    def change(self, edit: Edit, wish: Wish) -> Changed:
        """Make a change and tell everyone; what changes nothing makes no revision.

        Of two changes at the same time the second is made on top of the first, so ``edit`` may run
        more than once.

        Raises:
            ConfigError: the outcome would be invalid; names the fields.
            StaleRevision: another revision than ``wish.expected`` is in force.
            Conflict: a target that leaves has unfinished deliveries, or others were always faster.
            DatabaseUnavailable: the database cannot be used.
        """
        for _ in range(_TRIES):
            try:
                changed = self._try(edit, wish)
            except IntegrityError:
                continue  # somebody else took the number in between
            if changed.changes and not wish.dry_run:
                reached("config-api.revision_written")
                self._announce(changed)
                reached("config-api.change_published")
            return changed
        raise Conflict("others keep changing the configuration at the same time; try again")

    def rewrite(self, edit: Edit) -> int:
        """Have all revisions say the same in another way, and return how many do; nobody is told.

        Raises:
            DatabaseUnavailable: the database cannot be used.
        """
        with self._database.reading() as session:
            numbers = list(session.scalars(select(RevisionRow.number)))
        return sum(self._rewrite(number, edit) for number in numbers)

    def _rewrite(self, number: int, edit: Edit) -> bool:
        with self._database.writing() as session:
            row = session.get_one(RevisionRow, number)
            document = edit(row.document)
            differs = bool(document != row.document)
            row.document = document
            return differs

    def preview(self, edit: Edit, wish: Wish) -> tuple[Revision, Document]:
        """Return the revision in force and what an edit would make of it, by itself.

        Raises:
            ConfigError, StaleRevision, DatabaseUnavailable: see ``change``.
        """
        base = self.current()
        _refuse_stale(base, wish)
        wanted = with_secrets(edit(base.document), base.document)
        return base, parse_gateway(wanted).document()

    def _try(self, edit: Edit, wish: Wish) -> Changed:
        with self._database.writing() as session:
            base = _newest(session)
            _refuse_stale(base, wish)
            wanted = with_secrets(edit(base.document), base.document)
            document = parse_gateway(wanted).document()
            draining = _still_needed(session, base.document, document, wish)
            document = keep_draining(base.document, document, draining)
            changes = changes_between(base.document, document)
            if wish.dry_run or not changes:
                return Changed(base, changes, draining)
            row = _row(base.number + 1, document, wish, changes)
            session.add(row)
            forget(session, _removed_targets(changes))
            session.flush()
            return Changed(_revision(row), changes, draining)

    def remove_drained(self, wish: Wish) -> Changed:
        """Remove the draining targets whose last delivery is done, or settled by the wish.

        Raises:
            Conflict: others were always faster.
            DatabaseUnavailable: the database cannot be used.
        """
        return self.change(without_draining, wish)

    def _announce(self, changed: Changed) -> None:
        """Tell the services; where the broker is away they find out by asking."""
        number = changed.revision.number
        log.info("config.changed", revision=number, summary=changed.revision.summary)
        try:
            publish(self._bus, ConfigChanged(revision=number))
        except BusError as error:
            log.warning("config.change_not_announced", revision=number, reason=str(error))


def _newest(session: Session) -> Revision:
    query = select(RevisionRow).order_by(RevisionRow.number.desc()).limit(1)
    return _revision(session.scalars(query).one())


def _revision(row: RevisionRow) -> Revision:
    return Revision(row.number, row.at, row.actor, row.summary, row.document)


def _row(number: int, document: Document, wish: Wish, changes: list[Change]) -> RevisionRow:
    words = wish.summary or summary(changes)
    return RevisionRow(
        number=number, at=time.time(), actor=wish.actor, summary=words, document=document
    )


def _refuse_stale(base: Revision, wish: Wish) -> None:
    if wish.expected not in (None, base.number):
        raise StaleRevision(
            f"revision {base.number} is in force, the change was made for {wish.expected}"
        )


def _still_needed(session: Session, old: Document, new: Document, wish: Wish) -> dict[str, int]:
    """Return the targets that must stay for their unfinished deliveries, and how many those are.

    Raises:
        Conflict: nobody said what is to become of them.
    """
    leaving = Leaving.between(old, new)
    left = _unfinished(session, leaving.removed | leaving.retyped, wish.settled)
    refusal = leaving.refusal(left, wish.waiting)
    if refusal:
        raise Conflict(refusal)
    return {name: count for name, count in left.items() if name in leaving.removed}


def _unfinished(
    session: Session, targets: frozenset[str], settled: frozenset[str]
) -> dict[str, int]:
    """Count the unfinished deliveries of targets; one without any is left out."""
    query = select(DeliveryRow.id, DeliveryRow.target)
    query = query.where(DeliveryRow.target.in_(targets), DeliveryRow.state.in_(UNFINISHED))
    rows = session.execute(query) if targets else ()
    return Counter(target for identifier, target in rows if identifier not in settled)


def _removed_targets(changes: list[Change]) -> list[str]:
    return [c.name for c in changes if c.kind == "targets" and c.change == "removed"]


def replace_with(document: Any) -> Edit:
    """Return the edit that puts ``document`` in the place of all there is, but for pauses."""
    return lambda old: with_pauses(document, old)
