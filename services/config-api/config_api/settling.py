"""Changes of the configuration that take targets away, and what happens to their deliveries then.

The configuration changes first: a target that has unfinished deliveries is kept, draining, and gets
no new work. Then its deliveries are moved or given up, and it is removed when none is left. What dies
in between leaves a target that is drained, and loses nothing. Only a target that gets another type
must be free of deliveries before, since it keeps its name.
"""

import threading
import time
from collections.abc import Iterable
from dataclasses import replace

import structlog

from config_api.actions import Actions
from config_api.batches import Batches
from config_api.batches import Wish as Ask
from config_api.changes import Document, changes_between
from config_api.configuration import Changed, Configuration, Conflict, Edit, Revision, Wish
from config_api.database import DatabaseUnavailable
from config_api.leaving import Leaving, Waiting
from config_api.queued import Unfinished
from config_api.records import Records
from config_api.wishes import Filter
from crossdock.bus import Bus
from crossdock.bus.topology import LEDGER
from crossdock.errors import BusError, ConfigError, FieldProblem
from crossdock.messages import DeliveryDiscardRequested, DeliveryMoveRequested


log = structlog.get_logger(__name__)

_EVERY_SECONDS = 5.0
_QUIET_SECONDS = 10.0  # a router may have routed by the configuration before


class Settling:
    """Makes changes of the configuration, and settles the deliveries of targets that leave."""

    def __init__(
        self, configuration: Configuration, records: Records, actions: Actions, bus: Bus
    ) -> None:
        self._configuration = configuration
        self._actions = actions
        self._batches = Batches(records, bus)

    def change(self, edit: Edit, wish: Wish) -> Changed:
        """Make a change; deliveries that it leaves unfinished are dealt with for some seconds.

        ``draining`` of the answer says how many are left after that; asking again goes on.

        Raises:
            ConfigError, StaleRevision, Conflict, DatabaseUnavailable: see ``Configuration.change``.
            BusError: the router does not answer; targets that leave are drained.
        """
        waiting = wish.waiting
        if wish.dry_run or waiting is None or not waiting.ends:
            return self._configuration.change(edit, wish)
        base, wanted = self._configuration.preview(edit, wish)
        _check(wanted, waiting)
        retyped = Leaving.between(base.document, wanted).retyped
        if retyped:
            _check(base.document, waiting)
        settled = self._settle(retyped, base, wish.actor, waiting)
        changed = self._configuration.change(edit, replace(wish, settled=settled))
        if not changed.draining:
            return changed
        settled |= self._settle(changed.draining, changed.revision, wish.actor, waiting)
        last = self._configuration.remove_drained(Wish(wish.actor, settled=settled))
        changes = changes_between(base.document, last.revision.document)
        left = {name: last.draining[name] for name in changed.draining if name in last.draining}
        return Changed(last.revision, changes, left)

    def _settle(
        self, names: Iterable[str], by: Revision, actor: str, waiting: Waiting
    ) -> frozenset[str]:
        """Move or give up what these targets have left; return what is not unfinished any more."""
        settled: set[str] = set()
        for name in names:
            outcome = self._batches.run(Filter(target=name), _ask(name, by, waiting))
            settled.update(outcome.done, outcome.gone)
            count = f"{len(outcome.done)} of {len(outcome.done) + len(outcome.refused)} done"
            words = f"to {waiting.to}" if waiting.to else _why(name)
            subject = f"deliveries with target {name}"
            self._actions.note(actor, waiting.how, subject, f"{words}; {count}")
        return frozenset(settled)


def _ask(name: str, by: Revision, waiting: Waiting) -> Ask:
    if waiting.how == "discard":
        reason = _why(name)
        return lambda each: DeliveryDiscardRequested(delivery=each, reason=reason)
    other = by.gateway.target(waiting.to)
    protocol = "" if other is None else other.type
    return lambda each: DeliveryMoveRequested(
        delivery=each, target=waiting.to, protocol=protocol, revision=by.number
    )


def _why(name: str) -> str:
    return f"target {name} was taken away"


def _check(document: Document, waiting: Waiting) -> None:
    """Refuse to move deliveries to a target that cannot take them."""
    if waiting.how != "move":
        return
    for item in document.get("targets", ()):
        stores = item.get("direction") != "query" and not item.get("draining")
        if item["name"] == waiting.to and stores:
            return
    words = f"there is no target {waiting.to!r} that takes deliveries"
    raise ConfigError([FieldProblem("waiting", words)])


class Draining:
    """Removes drained targets when their last delivery is done, in a thread of its own."""

    def __init__(self, configuration: Configuration, records: Records, bus: Bus) -> None:
        self._configuration = configuration
        self._records = records
        self._bus = bus
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="draining")

    def start(self) -> None:
        """Begin to look, every few seconds."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the look that may be under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def run(self, now: float) -> None:
        """Remove what is drained, unless the ledger may not know yet of deliveries to it."""
        revision = self._configuration.current()
        draining = [target.name for target in revision.gateway.targets if target.draining]
        if not draining or now - revision.at < _QUIET_SECONDS or self._bus.depth(LEDGER):
            return
        left = self._records.unfinished()
        if any(left.get(name, Unfinished()) == Unfinished() for name in draining):
            self._configuration.remove_drained(Wish("crossdock"))

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_SECONDS):
            try:
                self.run(time.time())
            except (DatabaseUnavailable, BusError, Conflict) as error:
                log.warning("draining.postponed", reason=str(error))
