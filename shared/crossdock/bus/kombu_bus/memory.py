"""kombu's memory transport: for tests, and for whatever fits into one process."""

import secrets
import threading
from collections.abc import Collection, Iterable
from dataclasses import replace

from kombu.connection import Connection
from kombu.transport import memory, virtual

from crossdock.bus.kombu_bus.envelope import Channel
from crossdock.bus.kombu_bus.held import Held, beside
from crossdock.bus.kombu_bus.medium import Medium
from crossdock.bus.letter import Letter


_own: set[str] = set()
_own_lock = threading.Lock()


class MemoryChannel(memory.Channel):
    """kombu's channel, whose end touches nobody else's."""

    def close(self) -> None:
        """Close it without kombu's walk over all queues, which other threads change meanwhile."""
        virtual.Channel.close(self)


class MemoryTransport(memory.Transport):
    """kombu's transport with our channel."""

    Channel = MemoryChannel


class Memory(Medium):
    """The queues of one name within this process."""

    interval = 0.005

    def __init__(self, space: str) -> None:
        self._space = space
        self._held = Held(self.place, self.put, self.waiting)
        self.errors = (OSError,)

    def connection(self) -> Connection:
        """See ``Medium.connection``."""
        return Connection(transport=MemoryTransport, transport_options={"polling_interval": None})

    def place(self, queue: str) -> str:
        """See ``Medium.place``. kombu has one memory for all; the name keeps us apart."""
        return f"{self._space}/{queue}"

    def waiting(self, channel: Channel, queues: Collection[str]) -> Iterable[str]:
        """See ``Medium.waiting``."""
        return [queue for queue in queues if self.size(channel, queue)]

    def own_queue(self, channel: Channel, kind: str) -> str:  # noqa: ARG002 — the set knows
        """See ``Medium.own_queue``."""
        queue = f"{kind}@{secrets.token_hex(8)}"
        with _own_lock:
            _own.add(self.place(queue))
        return queue

    def owned(self, channel: Channel, kind: str) -> Iterable[str]:  # noqa: ARG002 — the set knows
        """See ``Medium.owned``."""
        space = self.place("")
        with _own_lock:
            mine = [place.removeprefix(space) for place in _own if place.startswith(space)]
        return [queue for queue in mine if queue.startswith(f"{kind}@")]

    def drop_own(self, channel: Channel, queue: str) -> None:
        """See ``Medium.drop_own``."""
        with _own_lock:
            _own.discard(self.place(queue))
        self.delete(channel, queue)

    def delay(self, channel: Channel, queue: str, letter: Letter, due: float) -> None:
        """See ``Medium.delay``."""
        self.put(channel, beside(queue), replace(letter, not_before=due))

    def tick(self, channel: Channel, queues: Collection[str]) -> None:
        """See ``Medium.tick``."""
        self._held.tick(channel, set(queues))

    def leave(self, channel: Channel, queue: str) -> None:
        """See ``Medium.leave``."""
        self._held.give_back(channel, queue)

    def delete(self, channel: Channel, queue: str) -> None:
        """See ``Medium.delete``."""
        self._held.forget(queue)
        super().delete(channel, queue)
        super().delete(channel, beside(queue))
