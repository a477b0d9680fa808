"""Puts instances into files of an SFTP server, many of them under way at once."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future

from crossdock.config.targets import SftpTarget
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import CheckReport, InstanceOutcome
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.failures import InstanceRefused
from crossdock.protocols.placing import Places
from crossdock.protocols.sftp.checking import session_stages
from crossdock.protocols.sftp.connection import Connection
from crossdock.protocols.sftp.uploads import Uploads, require_base
from crossdock.protocols.ssh import opening_stages
from crossdock.protocols.stages import run_stages


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
        underway: deque[Future[InstanceOutcome]] = deque()
        uploads: Uploads | None = None
        turn = asyncio.Event()
        turn.set()
        try:
            for outgoing in instances:
                if uploads is None:
                    uploads = Uploads(self._target, self._places, self._opened(), self.pace)
                if len(underway) >= self._target.files_in_flight:
                    yield underway.popleft().result()
                done = asyncio.Event()
                underway.append(uploads.begin(outgoing, turn, done))
                turn = done
            while underway:
                yield underway.popleft().result()
        except DeliveryError:
            self.close()
            raise
        finally:
            if underway and self._connection is not None:
                self._connection.abandon()

    def finish(self, instances: Sequence[Outgoing]) -> None:
        """Write the ``.complete`` marker into each directory that the delivery has files in."""
        if not self._target.complete_marker:
            return
        directories = self._places.directories(instances)
        try:
            connection = self._opened()
            uploads = Uploads(self._target, self._places, connection, self.pace)
            for directory in directories:
                connection.run(uploads.complete(directory))
        except InstanceRefused as error:
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
                connection.run(require_base(self._target, connection.session))
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection
