"""Puts instances into files of an SFTP server, many of them under way at once."""

import asyncio
import hashlib
import posixpath
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from crossdock.config.targets import SftpTarget
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import CheckReport, InstanceOutcome, Outcome
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.payload import Payload, SpoolUnreadable
from crossdock.protocols.placing import Places
from crossdock.protocols.sftp.checking import session_stages
from crossdock.protocols.sftp.connection import Connection
from crossdock.protocols.sftp.failures import Refused
from crossdock.protocols.sftp.uploads import Upload, Uploads
from crossdock.protocols.ssh import opening_stages
from crossdock.protocols.stages import run_stages


@dataclass(frozen=True, slots=True)
class _Underway:
    """An instance whose outcome is known already, or will be once its upload has ended."""

    outgoing: Outgoing
    outcome: InstanceOutcome | None = None
    upload: Upload | None = None
    future: "Future[None] | None" = None

    def ended(self) -> InstanceOutcome:
        """Wait for the outcome.

        Raises:
            DeliveryError: the connection, or the target, is the problem.
        """
        if self.outcome is not None or self.future is None:
            return self.outcome or self.outgoing.outcome(Outcome.NOT_SENT)
        try:
            self.future.result()
        except SpoolUnreadable as error:
            return _unreadable(self.outgoing, error)
        except Refused as error:
            return self.outgoing.outcome(Outcome.REFUSED, error.status, error.detail)
        finally:
            self.close()
        return self.outgoing.outcome(Outcome.DELIVERED)

    def close(self) -> None:
        """Let go of the spool's file."""
        if self.upload is not None:
            self.upload.payload.close()


class SftpAdapter(Adapter):
    """Puts each instance into the file that the target's template names, in place of another one.

    The connection stays open from one delivery to the next until it is closed or fails.
    """

    def __init__(self, target: SftpTarget) -> None:
        self._target = target
        self._places = Places(target)
        self._connection: Connection | None = None

    def check(self) -> CheckReport:
        """See ``Adapter.check``; after those of opening come directory, authorise and space."""
        self.close()
        connection = self._connection = Connection(self._target)
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
        underway: deque[_Underway] = deque()
        uploads: Uploads | None = None
        turn = asyncio.Event()
        turn.set()
        try:
            for outgoing in instances:
                if len(underway) >= self._target.files_in_flight:
                    yield underway.popleft().ended()
                prepared = self._prepare(outgoing, turn)
                if isinstance(prepared, InstanceOutcome):
                    underway.append(_Underway(outgoing, prepared))
                    continue
                try:
                    uploads = uploads or Uploads(self._target, self._opened())
                except BaseException:
                    prepared.payload.close()
                    raise
                future = self._opened().begin(uploads.put(prepared))
                underway.append(_Underway(outgoing, upload=prepared, future=future))
                turn = prepared.done
            while underway:
                yield underway.popleft().ended()
        except DeliveryError:
            self._abandon(underway)
            self.close()
            raise
        finally:
            self._abandon(underway)

    def finish(self, instances: Sequence[Outgoing]) -> None:
        """Write the ``.complete`` marker into each directory that the delivery has files in."""
        if not self._target.complete_marker:
            return
        try:
            directories = [self._remote(str(each)) for each in self._places.directories(instances)]
        except SpoolUnreadable as error:
            detail = f"a file in the spool cannot be read: {error}"
            raise DeliveryError(ErrorKind.UNEXPECTED, detail, temporary=False) from error
        try:
            connection = self._opened()
            uploads = Uploads(self._target, connection)
            for directory in directories:
                connection.run(uploads.complete(directory))
        except Refused as error:
            raise DeliveryError(ErrorKind.REFUSED, error.detail, temporary=False) from error
        except DeliveryError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _opened(self) -> Connection:
        """Return the open connection; open one if there is none.

        Raises:
            DeliveryError: that did not work.
        """
        if self._connection is None:
            connection = Connection(self._target)
            try:
                connection.connect()
                connection.verify()
                connection.authenticate()
                connection.run(Uploads(self._target, connection).require_base())
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _prepare(self, outgoing: Outgoing, turn: asyncio.Event) -> Upload | InstanceOutcome:
        try:
            excluded = self._places.excluded(outgoing)
            if excluded is not None:
                return excluded
            final = self._remote(str(self._places.path(outgoing)))
            temporary = posixpath.join(posixpath.dirname(final), self._temporary(outgoing))
            return Upload(Payload(outgoing), temporary, final, turn, asyncio.Event())
        except SpoolUnreadable as error:
            return _unreadable(outgoing, error)

    def _abandon(self, underway: deque[_Underway]) -> None:
        """End what is under way, and wait until it has let go of the spool's files."""
        if underway and self._connection is not None:
            self._connection.abandon()
        while underway:
            underway.popleft().close()

    def _remote(self, path: str) -> str:
        return posixpath.join(self._target.base, path)

    def _temporary(self, outgoing: Outgoing) -> str:
        """Return a hidden name that only this instance of this delivery has, in every try."""
        own = f"{self._target.name}/{outgoing.path.parent.name}/{outgoing.path.name}"
        return f".{hashlib.sha256(own.encode()).hexdigest()[:24]}.part"


def _unreadable(outgoing: Outgoing, error: SpoolUnreadable) -> InstanceOutcome:
    detail = f"its file in the spool cannot be read: {error}"
    return outgoing.outcome(Outcome.NOT_SENT, detail=detail)
