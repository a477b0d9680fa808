"""The adapter of DICOMweb targets: to a server with STOW-RS, or into the folder of a file:// URL."""

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from crossdock.config.targets.dicomweb import DicomwebTarget
from crossdock.model import CheckReport, InstanceOutcome
from crossdock.protocols.base import Adapter, Outgoing
from crossdock.protocols.dicomweb.batches import Batch, batches
from crossdock.protocols.dicomweb.checks import Checks
from crossdock.protocols.dicomweb.client import Client
from crossdock.protocols.dicomweb.store import Store
from crossdock.protocols.folder import FolderAdapter
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
        with contextlib.closing(self._stored(found, lanes)) as stored:
            for batch in stored:
                yield from batch.in_order()

    def close(self) -> None:
        """Close the connections; requests in other threads end."""
        client, self._client = self._client, None
        if client is not None:
            client.interrupt()
            client.close()

    def _stored(self, found: Iterator[Batch], lanes: int) -> Generator[Batch]:
        """Yield the batches in order, each once its requests are over; others are under way."""
        if self._client is None:
            self._client = Client(self._target)
        store = Store(self._target, self._client)
        under_way: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(lanes, "stow") as threads:
            try:
                for batch in found:
                    under_way.append(threads.submit(store.store, batch))
                    if len(under_way) > lanes:
                        yield under_way.popleft().result()
                while under_way:
                    yield under_way.popleft().result()
            finally:
                if under_way:
                    threads.shutdown(wait=False, cancel_futures=True)
                    self.close()
