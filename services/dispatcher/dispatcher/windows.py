"""Which targets' time windows are closed now, and when that may be another answer."""

from collections.abc import Callable, Mapping

from crossdock.config.targets import Target


_LOOK_SECONDS = 60.0  # because a machine's clock may be set


class Windows:
    """Looks at the windows only when one may have opened or closed: each look has its price.

    ``clock`` tells the Unix time.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._targets: Mapping[str, Target] = {}
        self._closed: frozenset[str] = frozenset()
        self._since = self._until = 0.0

    def look(self, targets: Mapping[str, Target]) -> tuple[frozenset[str], float | None]:
        """Return the targets whose windows are closed, and in how many seconds to look again.

        That is None where no target has windows.
        """
        now = self._clock()
        if targets is not self._targets or not self._since <= now < self._until:
            self._look(targets, now)
        timed = self._until < float("inf")
        return self._closed, self._until - now if timed else None

    def _look(self, targets: Mapping[str, Target], now: float) -> None:
        timed = [target for target in targets.values() if target.windows]
        changes = [change for each in timed if (change := each.next_change(now)) is not None]
        self._targets, self._since = targets, now
        self._closed = frozenset(target.name for target in timed if not target.is_open(now))
        self._until = min(now + _LOOK_SECONDS, *changes) if changes else float("inf")
