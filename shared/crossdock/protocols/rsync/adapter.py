"""Puts instances into files of a host that has rsync, in batches over one connection."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from crossdock.config.targets import RsyncTarget
from crossdock.errors import DeliveryError
from crossdock.model import CheckReport, InstanceOutcome, Outcome
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.failures import SpoolUnreadable
from crossdock.protocols.placing import COMPLETE, Places
from crossdock.protocols.rsync import script
from crossdock.protocols.rsync.checking import session_stages
from crossdock.protocols.rsync.failures import Ended, of_file, of_run
from crossdock.protocols.rsync.runs import Rsync, Run, waited
from crossdock.protocols.rsync.staging import Batch, Item, Staging, said
from crossdock.protocols.ssh import opening_stages, set_before
from crossdock.protocols.ssh.openssh import OpenSsh
from crossdock.protocols.stages import run_stages


_FIRST_BATCH = 64 * 1024 * 1024  # bytes: small, so that rsync has something to do soon
_LARGEST_BATCH = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Underway:
    batch: Batch
    run: Run | None


class RsyncAdapter(Adapter):
    """Puts each instance into the file that the target's template names, in place of another one.

    While one batch is being sent the next one is made ready. The connection stays open from one
    delivery to the next until it is closed or fails.
    """

    def __init__(self, target: RsyncTarget) -> None:
        self._target = target
        self._places = Places(target)
        self._connection: OpenSsh | None = None
        self._rsync: Rsync | None = None

    def check(self) -> CheckReport:
        """See ``Adapter.check``; after those of opening come authorise and script."""
        self.close()
        connection = self._connection = OpenSsh(self._target)
        try:
            return run_stages(
                (
                    *opening_stages(self._target, connection),
                    *session_stages(self._target, connection),
                )
            )
        finally:
            self.close()

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """See ``Adapter.send``."""
        staging = Staging(self._target.file_mode, self._target.directory_mode)
        underway: _Underway | None = None
        try:
            for batch in self._batches(staging, instances):
                if underway is not None:
                    yield from self._outcomes(underway)
                underway = self._begin(batch)
            if underway is not None:
                yield from self._outcomes(underway)
        except DeliveryError:
            self.close()
            raise
        finally:
            if underway is not None and underway.run is not None:
                underway.run.close()
            staging.close()

    def finish(self, instances: Sequence[Outgoing]) -> None:
        """Write the ``.complete`` marker into each directory that the delivery has files in."""
        if not self._target.complete_marker:
            return
        staging = Staging(self._target.file_mode, self._target.directory_mode)
        try:
            batch = staging.batch()
            with said():
                for directory in self._places.directories(instances):
                    batch.write(directory / COMPLETE)
            if batch.paths:
                self._marked(batch)
        except DeliveryError:
            self.close()
            raise
        finally:
            staging.close()

    def afterwards(self, instances: Sequence[Outgoing]) -> Callable[[], str] | None:
        """Return what runs the script, if there is one to run."""
        if not self._target.run_on_complete:
            return None
        folder = script.destination(self._target, self._places.directories(instances))
        connection = self._opened().connection
        return lambda: script.run(self._target, connection, folder)

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection, self._rsync = self._connection, None, None
        if connection is not None:
            connection.close()

    def _opened(self) -> Rsync:
        """Return how to call rsync over the open connection; open one if there is none.

        Raises:
            DeliveryError: that did not work, or the connection has ended.
        """
        if self._connection is not None and (lost := self._connection.lost()) is not None:
            self.close()
            raise lost
        if self._rsync is None:
            connection = OpenSsh(self._target)
            try:
                connection.connect()
                connection.verify()
                connection.authenticate()
                self._rsync = Rsync(self._target, connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._rsync

    def _batches(self, staging: Staging, instances: Iterable[Outgoing]) -> Iterator[Batch]:
        """Yield the instances in batches, none with two files of one name."""
        batch, largest = staging.batch(), _FIRST_BATCH
        for outgoing in instances:
            item = self._placed(outgoing)
            full = len(batch.items) >= self._target.batch or batch.size >= largest
            if full or item.path in batch.paths:
                yield batch
                batch, largest = staging.batch(), _LARGEST_BATCH
            if item.path is None:
                batch.items.append(item)
                continue
            try:
                if not batch.paths:
                    self._opened()  # nothing is copied for a target that is not there
                with said():
                    batch.add(outgoing, item.path)
            except SpoolUnreadable as error:
                batch.items.append(Item(outgoing, outcome=error.outcome(outgoing)))
        if batch.items:
            yield batch

    def _placed(self, outgoing: Outgoing) -> Item:
        try:
            excluded = self._places.excluded(outgoing)
            if excluded is not None:
                return Item(outgoing, outcome=excluded)
            return Item(outgoing, self._places.path(outgoing))
        except SpoolUnreadable as error:
            return Item(outgoing, outcome=error.outcome(outgoing))

    def _begin(self, batch: Batch) -> _Underway:
        if not batch.paths:
            return _Underway(batch, None)
        return _Underway(batch, self._opened().send(batch.directory, batch.roots(), batch.delivery))

    def _outcomes(self, underway: _Underway) -> Iterator[InstanceOutcome]:
        """Wait for a run, and yield the outcomes of its batch.

        Raises:
            DeliveryError: the connection or the target is the problem; what arrived was yielded.
        """
        batch = underway.batch
        try:
            ended = self._ended(batch, underway.run) if underway.run is not None else Ended(0, "")
            missing = self._missing(batch, ended)
            failure: DeliveryError | None = None
            for item in batch.items:
                outcome = self._judged(item, missing, ended)
                if isinstance(outcome, DeliveryError):
                    failure = failure or outcome
                else:
                    yield outcome
            if failure is not None:
                raise failure
        finally:
            batch.remove()

    def _ended(self, batch: Batch, run: Run) -> Ended:
        """Wait for a run; where one side is too old to sync files, do without."""
        ended = waited(run)
        rsync = self._opened_still(ended)
        if ended.cannot_sync and rsync.syncs:
            rsync.syncs = False
            ended = waited(rsync.send(batch.directory, batch.roots(), batch.delivery))
        return ended

    def _missing(self, batch: Batch, ended: Ended) -> set[str]:
        """Return the names that a run did not bring there."""
        if ended.code == 0:
            return set()
        rsync = self._opened_still(ended)
        if not ended.may_be_partial:
            raise of_run(ended, self._target)
        looking = rsync.missing(batch.directory, batch.roots())
        try:
            found = looking.wait()
            listed = set(looking.output())
        finally:
            looking.close()
        if found.code and not found.may_be_partial:
            raise of_run(found, self._target)
        names = map(str, batch.paths)
        return {name for name in names if name in listed or found.about(name)}

    def _judged(
        self, item: Item, missing: set[str], ended: Ended
    ) -> InstanceOutcome | DeliveryError:
        if item.outcome is not None:
            return item.outcome
        name = str(item.path)
        if name not in missing:
            return item.outgoing.outcome(Outcome.DELIVERED)
        reason = of_file(ended, name, self._target)
        return reason if isinstance(reason, DeliveryError) else reason.outcome(item.outgoing)

    def _opened_still(self, ended: Ended) -> Rsync:
        """Return how to call rsync; a connection that was lost explains how the run ended."""
        rsync = set_before(self._rsync)
        lost = rsync.connection.lost() if ended.code else None
        if lost is not None:
            raise lost
        return rsync

    def _marked(self, batch: Batch) -> None:
        ended = self._ended(
            batch, self._opened().send(batch.directory, batch.roots(), batch.delivery)
        )
        if ended.code:
            raise of_run(ended, self._target)
