"""Which targets are left alone because they failed, and until when. Pure: clock and dice are given.

A target that fails is left alone for a moment, so that not each of its deliveries finds that out
for itself; they wait in its queue. The moment doubles with each failure in a row. After it one
delivery or the other tries: a success ends all, a failure begins the next, longer one.
"""

from dataclasses import dataclass

from crossdock.errors import ErrorKind
from dispatcher.retry import Failure, RetryPolicy, pause_after


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
        self._worked: set[str] = set()

    def report(
        self, target: str, failure: Failure | None, now: float, chance: float, *, again: bool
    ) -> float | None:
        """Take note of how an attempt ended; return for how many seconds the target is left alone.

        None as failure says that the target is well. Deliveries that failed together are one
        setback. A delivery that fails ``again`` where another one has just worked is in trouble by
        itself: the target is not left alone for it, and None is returned.
        """
        worked = target in self._worked
        self._worked.discard(target)
        if failure is None:
            self._pauses.pop(target, None)
            self._worked.add(target)
            return None
        before = self._pauses.get(target)
        if before is not None and before.until > now:
            return before.until - now
        if again and worked:
            return None
        setbacks = before.setbacks if before is not None else 0
        delay = pause_after(failure, setbacks, self._policy, chance)
        self._pauses[target] = Pause(setbacks + 1, now + delay, failure.kind, failure.detail)
        return delay

    def resume(self, target: str) -> bool:
        """Forget that a target failed; return whether it had."""
        return self._pauses.pop(target, None) is not None

    def is_paused(self, target: str, now: float) -> bool:
        """Whether a target is to be left alone now."""
        pause = self._pauses.get(target)
        return pause is not None and pause.until > now

    def paused(self, now: float) -> dict[str, Pause]:
        """Return the targets to leave alone now, and until when and why."""
        return {target: each for target, each in self._pauses.items() if each.until > now}

    def failed(self) -> list[str]:
        """Return the targets that failed last time, left alone or not."""
        return list(self._pauses)
