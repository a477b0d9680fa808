"""Puts instances into sessions of an XNAT project, several requests at a time."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import groupby

from crossdock.config.targets import XnatTarget
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import CheckReport, InstanceOutcome
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.failures import SpoolUnreadable
from crossdock.protocols.in_order import in_order
from crossdock.protocols.xnat.batches import batches
from crossdock.protocols.xnat.checks import Check
from crossdock.protocols.xnat.client import Client
from crossdock.protocols.xnat.importing import Importing
from crossdock.protocols.xnat.labels import Labelling, Labels
from crossdock.protocols.xnat.projects import Projects
from crossdock.protocols.xnat.sessions import Sessions


class XnatAdapter(Adapter):
    """Sends each instance, or zips of them, to XNAT's import service, in one session there."""

    def __init__(self, target: XnatTarget) -> None:
        self._target = target
        self._labelling = Labelling(target)
        self._client: Client | None = None
        self._projects: Projects | None = None

    def check(self) -> CheckReport:
        """See ``Adapter.check``."""
        return Check(self._target).report()

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """See ``Adapter.send``."""
        sending = self._outcomes(instances)
        over = False
        try:
            for outcomes in sending:
                yield from outcomes
            over = True
        finally:
            if not over and self._client is not None:
                self._client.interrupt()
            sending.close()
            if not over:
                self.close()  # secrets and certificates are read anew when it is tried again

    def finish(self, instances: Sequence[Outgoing]) -> None:
        """Have the sessions of the delivery built, and archived where the target says so."""
        if not self._target.commit:
            return
        sessions = Sessions(self._target, *self._connected())
        for labels in self._sessions(instances):
            sessions.complete(labels)

    def close(self) -> None:
        """Log out, and close all connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _outcomes(
        self, instances: Iterable[Outgoing]
    ) -> Generator[list[InstanceOutcome], None, None]:
        importing = None
        found = batches(instances, self._labelling, self._target)
        for _, together in groupby(found, key=lambda batch: batch.turn):
            if importing is None:
                importing = Importing(self._target, *self._connected())
            yield from in_order(importing.outcomes, together, self._target.transfers)

    def _connected(self) -> tuple[Client, Projects]:
        if self._client is None or self._projects is None:
            # Whoever does not speak to XNAT need not wait half a second for httpx.
            from crossdock.protocols.xnat.client import Client  # noqa: PLC0415
            from crossdock.protocols.xnat.projects import Projects  # noqa: PLC0415

            self._client = Client(self._target, self.pace)
            self._projects = Projects(self._target, self._client)
        return self._client, self._projects

    def _sessions(self, instances: Sequence[Outgoing]) -> list[Labels]:
        try:
            return list(dict.fromkeys(self._labelling.of(each) for each in instances))
        except SpoolUnreadable as error:
            detail = f"a file in the spool cannot be read: {error}"
            raise DeliveryError(ErrorKind.UNEXPECTED, detail, temporary=False) from error
