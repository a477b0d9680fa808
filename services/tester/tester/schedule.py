"""When each target is to be checked next. Pure: the clock is an argument."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from crossdock.config.targets import Target
from tester.checks import fingerprint


_STAGGER_SECONDS = 1.0  # so that of several testers the first to check can tell the others
_JITTER = 0.1  # of the time between two checks, either way


@dataclass(slots=True)
class _Entry:
    """A target to be checked, and when (monotonic)."""

    target: Target
    settings: str
    due: float


class Schedule:
    """Which target is due. Not safe to use from several threads.

    A target that is under way is not due, whatever happens to its settings meanwhile.
    """

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._entries: dict[str, _Entry] = {}
        self._under_way: set[str] = set()
        self._begun = False

    def configure(self, targets: Iterable[Target], now: float) -> None:
        """Check these targets from now on: a new or changed one at once.

        At the start all are new, and are spread over a second for each.
        """
        wanted = {each.name: each for each in targets if each.enabled and each.check_seconds}
        spread = _STAGGER_SECONDS if self._begun else _STAGGER_SECONDS * len(wanted)
        self._begun = self._begun or bool(wanted)
        entries = {}
        for name, target in wanted.items():
            known, settings = self._entries.get(name), fingerprint(target)
            if known is not None and known.settings == settings:
                entries[name] = known
            else:
                delay = min(spread, target.check_seconds) * self._chance()
                entries[name] = _Entry(target, settings, now + delay)
        self._entries = entries

    def take(self, now: float, most: int) -> list[Target]:
        """Return the targets that are due, longest first; they are under way until ``finished``.

        No more than ``most`` are under way at once.
        """
        due = sorted(
            (entry for name, entry in self._entries.items() if self._is_due(name, entry, now)),
            key=lambda entry: entry.due,
        )
        taken = [entry.target for entry in due[: max(0, most - len(self._under_way))]]
        self._under_way.update(target.name for target in taken)
        return taken

    def finished(self, target: Target, now: float) -> None:
        """Take note that a check of a target that was taken is over."""
        self._under_way.discard(target.name)
        self.checked(target.name, fingerprint(target), now)

    def checked(self, name: str, settings: str, now: float) -> None:
        """Take note that somebody has just checked a target with these settings."""
        entry = self._entries.get(name)
        if entry is not None and entry.settings == settings:
            factor = 1 + _JITTER * (2 * self._chance() - 1)
            entry.due = now + entry.target.check_seconds * factor

    def next(self, most: int) -> float | None:
        """Return when the next target is due, None while nothing can be taken."""
        if len(self._under_way) >= most:
            return None
        waiting = (e.due for name, e in self._entries.items() if name not in self._under_way)
        return min(waiting, default=None)

    def _is_due(self, name: str, entry: _Entry, now: float) -> bool:
        return entry.due <= now and name not in self._under_way
