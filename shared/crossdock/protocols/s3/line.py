"""Uploads that run side by side, and whose outcomes come in the order of their instances."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, wait

from crossdock.model import InstanceOutcome
from crossdock.protocols.s3.errors import StoreFailed
from crossdock.protocols.workers import Workers


_PATIENCE = 3.0  # seconds for uploads to end that nobody waits for any longer


class Line:
    """Of one delivery the uploads that are under way or wait, and known outcomes between them.

    Uploads look at ``stopped`` and end soon once it is set.
    """

    def __init__(self, workers: Workers) -> None:
        self.stopped = threading.Event()
        self._workers = workers
        self._line: deque[tuple[str, Future[InstanceOutcome]]] = deque()

    def add(self, key: str, upload: Callable[[], InstanceOutcome]) -> None:
        """Have an upload to ``key`` begin as soon as a thread is free."""
        self._line.append((key, self._workers.submit(upload)))

    def add_known(self, outcome: InstanceOutcome) -> None:
        """Let an outcome that is known already take its turn."""
        known: Future[InstanceOutcome] = Future()
        known.set_result(outcome)
        self._line.append(("", known))

    def settle(self, most: int, key: str = "") -> Iterator[InstanceOutcome]:
        """Yield what is known at the front; wait until at most ``most`` are left, none to ``key``.

        Raises:
            StoreFailed: as the upload at the front did.
        """
        while self._line and (
            len(self._line) > most
            or self._line[0][1].done()
            or (key and any(key == other for other, _ in self._line))
        ):
            yield self._line.popleft()[1].result()

    def rest(self) -> Iterator[InstanceOutcome]:
        """Begin nothing more; yield the outcomes of what was under way and did not fail."""
        for _, upload in self._line:
            upload.cancel()
        while self._line:
            upload = self._line.popleft()[1]
            try:
                yield upload.result()
            except (StoreFailed, CancelledError):
                continue

    def stop(self) -> None:
        """Give up what is left; return when it has ended, or hangs."""
        self.stopped.set()
        wait([upload for _, upload in self._line if not upload.cancel()], _PATIENCE)
