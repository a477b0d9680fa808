"""The adapter of DICOMweb targets: to a server with STOW-RS, or into the folder of a file:// URL."""

from collections.abc import Iterable, Iterator, Sequence

from crossdock.config.targets.dicomweb import DicomwebTarget
from crossdock.model import CheckReport, InstanceOutcome
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.dicomweb.batches import batches
from crossdock.protocols.dicomweb.checks import Checks
from crossdock.protocols.dicomweb.client import Client
from crossdock.protocols.dicomweb.store import Store
from crossdock.protocols.folder import FolderAdapter
from crossdock.protocols.in_order import in_order
from crossdock.protocols.stages import run_stages


class DicomwebAdapter(Adapter):
    """Sends to whatever the target's URL names."""

    def __init__(self, target: DicomwebTarget) -> None:
        folder = target.folder()
        self._adapter: Adapter = StowAdapter(target) if folder is None else FolderAdapter(folder)

    def check(self) -> CheckReport:
        """See ``Adapter.check``; the stages are those of the server, or of the folder."""
        return self._adapter.check()

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """See ``Adapter.send``."""
        self._adapter.pace = self.pace
        return self._adapter.send(instances)

    def finish(self, instances: Sequence[Outgoing]) -> None:
        """See ``Adapter.finish``."""
        self._adapter.finish(instances)

    def close(self) -> None:
        """Close the connections, or let go of the folder."""
        self._adapter.close()


class StowAdapter(Adapter):
    """Sends batches of instances over several connections, which are kept between deliveries."""

    def __init__(self, target: DicomwebTarget) -> None:
        self._target = target
        self._client: Client | None = None

    def check(self) -> CheckReport:
        """See ``Adapter.check``; the stages are those of ``Checks``."""
        client = Client(self._target)
        checks = Checks(self._target, client)
        try:
            return run_stages(checks.stages())
        finally:
            checks.close()
            client.close()

    def send(self, instances: Iterable[Outgoing]) -> Iterator[InstanceOutcome]:
        """See ``Adapter.send``."""
        part = list(instances)
        # Copies of one instance go one after the other: the server may keep only the last.
        alone = len({each.instance.sop_instance_uid for each in part}) < len(part)
        lanes = 1 if alone else self._target.connections
        found = batches(part, self._target.batch_instances, self._target.batch_bytes)
        if self._client is None:
            self._client = Client(self._target, self.pace)
        stored = in_order(Store(self._target, self._client).store, found, lanes)
        over = False
        try:
            for batch in stored:
                yield from batch.in_order()
            over = True
        finally:
            if not over:
                self.close()  # what is under way ends soon
            stored.close()

    def close(self) -> None:
        """Close the connections; requests in other threads end."""
        client, self._client = self._client, None
        if client is not None:
            client.interrupt()
            client.close()
