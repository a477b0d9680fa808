"""The adapters of one target: kept open from one delivery to the next while there is work."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from crossdock.config.targets import Target
from crossdock.pace import Pace
from crossdock.protocols import Adapter, adapter_for
from crossdock.telemetry import raised_at


log = structlog.get_logger(__name__)

IDLE_SECONDS = 2.0
"""How long a connection waits for the next delivery; peers give up on one much later."""

LONGEST_SECONDS = 10.0
"""After this a connection is made anew, so that a peer that takes one at a time has room for others."""


@dataclass(slots=True)
class Lent:
    """An adapter for one attempt; ``used`` if a delivery went over it before."""

    adapter: Adapter
    used: bool = False
    made: float = field(default_factory=time.monotonic)
    due: float = 0.0


class Adapters:
    """Lends adapters of one target, from any thread, and closes those that nobody wants.

    All of them together keep to the target's bandwidth. An adapter goes to one attempt at a time. It is kept when that ends well, for
    ``IDLE_SECONDS`` without work and ``LONGEST_SECONDS`` in all.
    """

    def __init__(
        self, target: Target, *, idle: float = IDLE_SECONDS, longest: float = LONGEST_SECONDS
    ) -> None:
        self.target = target
        self._pace = Pace(target.bytes_per_second)
        self._idle_seconds = idle
        self._longest = longest
        self._idle: list[Lent] = []
        self._closed = False
        self._changed = threading.Condition()
        self._closer: threading.Thread | None = None

    @contextmanager
    def lend(self) -> Iterator[Lent]:
        """Lend an adapter for the block, one that is open already if there is one.

        After an exception it is closed and not kept, whatever it was.
        """
        lent = self._take()
        try:
            yield lent
        except BaseException:
            lent.adapter.close()
            raise
        if not self._kept(lent):
            lent.adapter.close()

    def close(self, timeout: float = 0.0) -> None:
        """Keep nothing any longer, and wait up to ``timeout`` seconds until idle ones are closed.

        Those in work are closed when their attempts end. Closing twice is fine.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
            closer = self._closer
        if closer is not None:
            closer.join(timeout)

    def _take(self) -> Lent:
        with self._changed:
            if self._idle:
                return self._idle.pop()  # the last one, so that surplus ones become idle
        return Lent(adapter_for(self.target, self._pace))

    def _kept(self, lent: Lent) -> bool:
        """Keep an adapter for the next delivery; return whether that was done."""
        now = time.monotonic()
        with self._changed:
            if self._closed or now - lent.made >= self._longest:
                return False
            lent.used, lent.due = True, now + self._idle_seconds
            self._idle.append(lent)
            if self._closer is None:
                name = f"adapters:{self.target.name}"
                self._closer = threading.Thread(target=self._close_idle, name=name, daemon=True)
                self._closer.start()
        return True

    def _close_idle(self) -> None:
        """Close what is idle, in a thread of its own: a peer may take its time to answer."""
        while (lent := self._next_due()) is not None:
            try:
                lent.adapter.close()
            except Exception as error:  # noqa: BLE001 — outermost: the others want to be closed, too
                log.error("adapter.fault", error=type(error).__name__, where=raised_at(error))

    def _next_due(self) -> Lent | None:
        """Wait for the next adapter to close; None, and the thread's end, once none is idle."""
        with self._changed:
            while self._idle:
                left = self._idle[0].due - time.monotonic()
                if self._closed or left <= 0:
                    return self._idle.pop(0)
                self._changed.wait(left)
            self._closer = None
            return None
