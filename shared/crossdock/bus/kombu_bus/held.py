"""Delays for brokers that know none: the consumer holds the letters until they are due.

They wait in a queue beside the real one. A consumer takes all of that queue and keeps the letters
unacknowledged, so that they come back if it dies; each goes to the real queue when its time comes.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable
from heapq import heappop, heappush
from itertools import count

from kombu.transport.virtual import Message

from crossdock.bus.kombu_bus.envelope import Channel
from crossdock.bus.letter import Letter, read


INTERVAL = 0.1  # seconds between two looks for new ones

Put = Callable[[Channel, str, Letter], None]
Waiting = Callable[[Channel, Collection[str]], Iterable[str]]


def beside(queue: str) -> str:
    """Return the queue where the letters for ``queue`` wait that are not due."""
    return f"{queue}@delayed"


class Held:
    """The letters that one consumer holds, on one channel."""

    def __init__(self, place: Callable[[str], str], put: Put, waiting: Waiting) -> None:
        self._place = place
        self._waiting = waiting
        self._put = put
        self._held: dict[str, list[tuple[float, int, Letter, Message]]] = {}
        self._numbers = count()
        self._channel: Channel | None = None
        self._looked = 0.0
        self._lock = threading.Lock()

    def tags(self) -> list[str]:
        """Return the delivery tags of all that is held."""
        return [entry[3].delivery_tag for heap in self._held.values() for entry in heap]

    def tick(self, channel: Channel, queues: set[str]) -> None:
        """Take what is new, hand on what is due, and return what is for no queue of ours."""
        with self._lock:
            self._tick(channel, queues)

    def give_back(self, channel: Channel, queue: str) -> None:
        """Put back all that is held for a queue."""
        with self._lock:
            for _, _, letter, message in self._held.pop(queue, []):
                if message.channel is channel:
                    self._put(channel, beside(queue), letter)
                    message.ack()

    def forget(self, queue: str) -> None:
        """Throw away all that is held for a queue."""
        with self._lock:
            for _, _, _, message in self._held.pop(queue, []):
                message.ack()

    def _tick(self, channel: Channel, queues: set[str]) -> None:
        if channel is not self._channel:
            # The broker hands out again what the lost channel held.
            self._held.clear()
            self._channel = channel
        if time.monotonic() - self._looked >= INTERVAL:
            self._looked = time.monotonic()
            besides = {beside(queue): queue for queue in queues}
            for name in self._waiting(channel, besides.keys()):
                self._collect(channel, besides[name])
        for queue in self._held:
            self._hand_on(channel, queue)

    def _collect(self, channel: Channel, queue: str) -> None:
        heap = self._held.setdefault(queue, [])
        while (message := channel.basic_get(self._place(beside(queue)))) is not None:
            letter = read(message.body, message.headers)
            heappush(heap, (letter.not_before, next(self._numbers), letter, message))

    def _hand_on(self, channel: Channel, queue: str) -> None:
        heap = self._held[queue]
        while heap and heap[0][0] <= time.time():
            _, _, letter, message = heap[0]
            self._put(channel, queue, letter)
            message.ack()
            heappop(heap)
