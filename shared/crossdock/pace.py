"""How fast bytes may leave: one limit for all who share a ``Pace``."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator


_CREDIT_SECONDS = 0.1  # what was not used may be made up for, so that waking up late costs nothing
_SLICE_SECONDS = 0.1
_SMALLEST_SLICE, _LARGEST_SLICE = 4 * 1024, 256 * 1024


class Pace:
    """Lets no more than ``rate`` bytes a second leave, whoever sends them; None is no limit.

    A token bucket that is nearly empty: who wants to send some bytes waits until they are due. May
    be used from any thread. ``slice`` is how many bytes to send at a time, an even number: small
    enough that the peer is not kept waiting.
    """

    def __init__(self, rate: float | None = None) -> None:
        self.slice = sys.maxsize - 1 if rate is None else _slice(rate)
        self._rate = rate
        self._due: float | None = None
        self._lock = threading.Lock()

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._rate is not None

    def delay(self, size: int, now: float) -> float:
        """Return in how many seconds ``size`` bytes may leave; from now on they count as sent.

        ``now`` is monotonic.
        """
        if self._rate is None:
            return 0.0
        with self._lock:
            begin = now if self._due is None else max(self._due, now - _CREDIT_SECONDS)
            self._due = begin + size / self._rate
            return max(0.0, self._due - now)

    def wait(self, size: int) -> None:
        """Wait until ``size`` bytes may leave."""
        if self._rate is not None:
            time.sleep(self.delay(size, time.monotonic()))

    def through(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield some blocks at this pace, in slices."""
        if self._rate is None:
            yield from blocks
            return
        for block in blocks:
            for begin in range(0, len(block), self.slice):
                piece = block[begin : begin + self.slice]
                self.wait(len(piece))
                yield piece


def _slice(rate: float) -> int:
    wanted = int(rate * _SLICE_SECONDS) & ~1023
    return max(_SMALLEST_SLICE, min(_LARGEST_SLICE, wanted))


UNLIMITED = Pace()
"""No limit; has no state."""
