"""Which targets are left alone because they failed, and until when. Pure: the clock is given.

A target that fails is left alone for a moment, so that not each of its deliveries finds that out
for itself. The moment doubles with each failure in a row, but stays short, so that its other
deliveries are not late when it is back. After it one delivery or the other tries: a success ends
all, a failure begins the next, longer one.
"""

from dataclasses import dataclass

from crossdock.errors import ErrorKind
from dispatcher.retry import Failure, RetryPolicy, target_delay


@dataclass(frozen=True, slots=True)
class Pause:
    """How often in a row a target failed, and until when it is left alone after the last time.

    ``kind`` and ``reason`` are those of the failure that began it.
    """

    setbacks: int
    until: float
    kind: ErrorKind
    reason: str


class Breaker:
    """Remembers the pauses of targets. Not thread-safe; ``now`` is of any one clock, in seconds."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._pauses: dict[str, Pause] = {}

    def report(self, target: str, failure: Failure | None, now: float) -> float | None:
        """Take note of how an attempt ended; return the seconds of the pause that it began, if any.

        None as failure says that the target is well. Deliveries that failed together are one
        setback.
        """
        if failure is None:
            self._pauses.pop(target, None)
            return None
        before = self._pauses.get(target)
        if before is not None and before.until > now:
            return None
        setbacks = before.setbacks if before is not None else 0
        delay = min(target_delay(failure, setbacks, self._policy), self._policy.pause)
        self._pauses[target] = Pause(setbacks + 1, now + delay, failure.kind, failure.detail)
        return delay

    def resume(self, target: str) -> bool:
        """Forget that a target failed; return whether it had."""
        return self._pauses.pop(target, None) is not None

    def paused(self, now: float) -> dict[str, Pause]:
        """Return the targets to leave alone now, and until when and why."""
        return {target: each for target, each in self._pauses.items() if each.until > now}

    def failed(self) -> list[str]:
        """Return the targets that failed last time, left alone or not."""
        return list(self._pauses)
