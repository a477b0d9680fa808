"""The adapter of DICOM targets: one association or several, over which instances go as they came."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from crossdock.config.targets import StorageScpTarget
from crossdock.dicom.commitment import Report
from crossdock.errors import DeliveryError, ErrorKind
from crossdock.model import CheckReport, InstanceOutcome
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.dicom.checks import check
from crossdock.protocols.dicom.commitment import ask
from crossdock.protocols.dicom.lanes import Lanes
from crossdock.protocols.dicom.routes import as_given, by_route, passes_on
from crossdock.protocols.dicom.sender import Sender


class DicomAdapter(Adapter):
    """Sends the instances of a delivery over one association, or over several side by side.

    Associations stay open for the next delivery; each is a ``Sender``'s.
    """

    def __init__(self, target: StorageScpTarget) -> None:
        self._target = target
        self._senders: list[Sender] = []
        self._dealing = False

    def check(self) -> CheckReport:
        """See ``Adapter.check``; the stages are those of ``checks``."""
        return check(self._target)

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """See ``Adapter.send``."""
        if not passes_on(self._target):
            return self._send(instances)
        given = list(instances)
        return as_given(self._send(by_route(self._target, given)), given)

    def ask_commitment(
        self,
        instances: Sequence[Outgoing],
        begin: Callable[[Sequence[Outgoing]], str],
        keep: Callable[[Report], int],
    ) -> None:
        """See ``AsksCommitment.ask_commitment``; a peer may admit one association at a time."""
        try:
            ask(self._target, instances, begin, keep)
        except DeliveryError as error:
            if error.kind is not ErrorKind.BUSY or not self._senders:
                raise
            self.close()
            ask(self._target, instances, begin, keep)

    def wind_down(self) -> None:
        """See ``WindsDown.wind_down``."""
        for sender in self._senders:
            sender.wind_down()

    def close(self) -> None:
        """Release idle associations, and abort those with work under way."""
        if self._dealing:
            self._interrupt()  # each is closed by its own thread
            return
        senders, self._senders = self._senders, []
        for sender in senders:
            sender.close()

    def _send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        if self._target.associations == 1:
            return self._lanes(1)[0].send(instances)
        return self._deal(list(instances))

    def _deal(self, instances: Sequence[Outgoing]) -> Iterator[InstanceOutcome]:
        lanes = self._lanes(min(self._target.associations, len(instances)))
        self._dealing, ended_well = True, False
        try:
            sends = [lane.send for lane in lanes]
            yield from Lanes(sends, self._interrupt, self.wind_down).send(instances)
            ended_well = True
        finally:
            self._dealing = False
            if not ended_well:
                self.close()

    def _lanes(self, count: int) -> list[Sender]:
        """Return that many senders, those first that may have an association already."""
        missing = count - len(self._senders)
        self._senders += [Sender(self._target, self.pace) for _ in range(missing)]
        return self._senders[:count]

    def _interrupt(self) -> None:
        for sender in self._senders:
            sender.interrupt()
