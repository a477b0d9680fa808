"""Puts instances into a bucket, several at once; an object is there whole, or not at all."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath

from crossdock.config.targets import S3Target
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import CheckReport, InstanceOutcome, Outcome
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.failures import InstanceRefused, SpoolUnreadable
from crossdock.protocols.payload import Payload
from crossdock.protocols.placing import COMPLETE, Places
from crossdock.protocols.s3.body import Body
from crossdock.protocols.s3.check import Check
from crossdock.protocols.s3.errors import StoreFailed
from crossdock.protocols.s3.line import Line
from crossdock.protocols.s3.store import Store
from crossdock.protocols.workers import Workers


_LONGEST_KEY = 1024  # bytes of UTF-8, what S3 allows
_AHEAD = 16  # instances in line per thread: one that is slow keeps no thread waiting


class S3Adapter(Adapter):
    """Puts each instance into the object that prefix and naming give.

    What has that key is replaced, in one step. Instances with the same key, which have the same
    SOP Instance UID, go one after the other.
    """

    def __init__(self, target: S3Target) -> None:
        self._target = target
        self._places = Places(target)
        self._workers = Workers(target.transfers, "s3-upload")
        self._connected: Store | None = None

    def check(self) -> CheckReport:
        """See ``Adapter.check``."""
        try:
            return Check(self._target, self._store).report()
        finally:
            self._disconnect()

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """See ``Adapter.send``; what others confirm meanwhile is yielded before an error."""
        line = Line(self._workers)
        try:
            yield from self._send(instances, line)
        except StoreFailed:
            self._disconnect()  # secrets and certificates are read anew when it is tried again
            raise
        finally:
            line.stop()

    def finish(self, instances: Sequence[Outgoing]) -> None:
        """Put a ``.complete`` beside the objects of the delivery, wherever it has some."""
        if not self._target.complete_marker:
            return
        try:
            for directory in self._places.directories(instances):
                marker = Body(b"", threading.Event())
                self._store().put(self._key(directory / COMPLETE), marker, "text/plain")
        except InstanceRefused as error:
            detail = f"{COMPLETE} was refused: {error.detail} ({error.status})"
            raise DeliveryError(ErrorKind.UNEXPECTED, detail, temporary=False) from error

    def close(self) -> None:
        """Let go of the store."""
        self._workers.close()
        self._disconnect()

    def _disconnect(self) -> None:
        store, self._connected = self._connected, None
        if store is not None:
            store.close()

    def _store(self) -> Store:
        """Return the store, which may not have been asked for anything yet.

        Raises:
            StoreFailed: secrets or certificates cannot be used.
        """
        if self._connected is None:
            self._connected = Store(self._target, self.pace)
        return self._connected

    def _send(self, instances: Iterable[Outgoing], line: Line) -> Iterator[InstanceOutcome]:
        """Keep the line filled so that no thread waits, and yield what comes out of it."""
        unmarked: set[PurePosixPath] = set()
        try:
            for outgoing in instances:
                place = self._place(outgoing)
                if isinstance(place, InstanceOutcome):
                    line.add_known(place)
                    continue
                key = self._key(place)
                yield from line.settle(_AHEAD * self._target.transfers - 1, key)
                if self._target.complete_marker and place.parent not in unmarked:
                    self._unmark(place.parent)
                    unmarked.add(place.parent)
                line.add(key, partial(self._upload, self._store(), outgoing, key, line.stopped))
            yield from line.settle(0)
        except StoreFailed:
            yield from line.rest()
            raise

    def _place(self, outgoing: Outgoing) -> PurePosixPath | InstanceOutcome:
        """Return where an instance belongs, or why it does not go there."""
        try:
            excluded = self._places.excluded(outgoing)
            path = self._places.path(outgoing)
        except SpoolUnreadable as error:
            return error.outcome(outgoing)
        if excluded is None and len(self._key(path).encode()) > _LONGEST_KEY:
            detail = f"the key from prefix and naming has more than {_LONGEST_KEY} bytes"
            return outgoing.outcome(Outcome.REFUSED, "KeyTooLongError", detail)
        return excluded or path

    def _key(self, path: PurePosixPath) -> str:
        return f"{self._target.prefix}/{path}" if self._target.prefix else str(path)

    def _unmark(self, directory: PurePosixPath) -> None:
        """Take the marker of an earlier delivery away, where we may; ours is to come."""
        key = self._key(directory / COMPLETE)
        if self._store().has(key):
            try:
                self._store().delete(key)
            except InstanceRefused:
                return
            except StoreFailed as error:
                if error.kind is not ErrorKind.UNAUTHORISED:
                    raise

    def _upload(
        self, store: Store, outgoing: Outgoing, key: str, stopped: threading.Event
    ) -> InstanceOutcome:
        try:
            with Payload(outgoing) as payload:
                store.upload(key, payload, stopped)
        except (InstanceRefused, SpoolUnreadable) as error:
            return error.outcome(outgoing)
        return outgoing.outcome(Outcome.DELIVERED)
