"""Whose turn it is: urgent deliveries first, and none of the others for ever last.

Deliveries of several priorities come by queues of their own and share the places of their target.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from crossdock.bus import Retry
from crossdock.model import Priority


SHARES = {Priority.NORMAL: 8, Priority.OFF_PEAK: 16}
"""Of how many starts one is of this priority, whenever one waits."""

FIRM_SECONDS = 5.0
"""For how long one that has its turn by its share does not give way: it is to get on, too."""


class Turns:
    """Decides who starts next. Pure: it knows nothing but who waited at the starts before."""

    def __init__(self) -> None:
        self._passed = dict.fromkeys(SHARES, 0)

    def next(self, waiting: Collection[Priority]) -> Priority:
        """Return the priority of the next start, out of those that wait."""
        chosen = self._chosen(waiting)
        for each in self._passed:
            if each is chosen:
                self._passed[each] = 0
            elif each in waiting:
                self._passed[each] += 1
        return chosen

    def _chosen(self, waiting: Collection[Priority]) -> Priority:
        for each, share in SHARES.items():
            # One start earlier than must be, for two shares may fall due together.
            early = 1 if each is Priority.NORMAL else 2
            if each in waiting and self._passed[each] >= share - early:
                return each
        return next(each for each in Priority if each in waiting)


@dataclass(slots=True)
class Place:
    """One of a target's places while a delivery has it; it does not give way before ``firm``."""

    priority: Priority
    firm: float
    leaving: bool = False


class Gate:
    """Lets as many deliveries run at once as there are ``places``, in their turn.

    ``clock`` is monotonic.
    """

    def __init__(self, places: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = places
        self._clock = clock
        self._turns = Turns()
        self._waiting: Counter[Priority] = Counter()
        self._given: dict[Priority, deque[Place]] = {each: deque() for each in Priority}
        self._leaving = 0
        self._closed = False
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, priority: Priority) -> Iterator[Place]:
        """Wait for the turn of a delivery, and let it have a place for the block.

        Raises:
            Retry: the gate was closed before.
        """
        place = self._enter(priority)
        try:
            yield place
        finally:
            self._leave(place)

    def gives_way(self, place: Place) -> bool:
        """Whether who has this place is to leave it to a more urgent one that waits."""
        with self._changed:
            if not place.leaving and self._clock() >= place.firm:
                place.leaving = self._above(place.priority) > self._leaving
                self._leaving += place.leaving
            return place.leaving

    def close(self) -> None:
        """Send those away who wait; those who have a place go on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _enter(self, priority: Priority) -> Place:
        given = self._given[priority]
        with self._changed:
            self._waiting[priority] += 1
            self._give()
            self._changed.wait_for(lambda: given or self._closed)
            if given:
                return given.popleft()
            self._waiting[priority] -= 1
        raise Retry

    def _leave(self, place: Place) -> None:
        with self._changed:
            self._free += 1
            self._leaving -= place.leaving
            self._give()

    def _give(self) -> None:
        """Give free places to those whose turn it is."""
        while self._free and not self._closed:
            waiting = [each for each in Priority if self._waiting[each]]
            if not waiting:
                return
            chosen = self._turns.next(waiting)
            self._waiting[chosen] -= 1
            self._free -= 1
            firm = self._clock() + FIRM_SECONDS if self._above(chosen) else 0.0
            self._given[chosen].append(Place(chosen, firm))
            self._changed.notify_all()

    def _above(self, priority: Priority) -> int:
        """Return how many wait that are more urgent."""
        return sum(self._waiting[each] for each in Priority if each.before(priority))
