"""What differs between the brokers that kombu speaks to."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable

from kombu.connection import Connection

from crossdock.bus.kombu_bus.envelope import Channel, prepare
from crossdock.bus.letter import Letter


class Medium(ABC):
    """One kind of broker. Methods raise what ``errors`` lists when it fails them.

    Attributes:
        interval: seconds between two looks for new letters.
        errors: the exceptions that mean trouble with the broker.
    """

    interval: float
    errors: tuple[type[Exception], ...]

    @abstractmethod
    def connection(self) -> Connection:
        """Return a new connection, not open yet."""

    @abstractmethod
    def place(self, queue: str) -> str:
        """Return what kombu is to call a queue."""

    @abstractmethod
    def waiting(self, channel: Channel, queues: Collection[str]) -> Iterable[str]:
        """Return those of the queues that have a letter to hand out."""

    @abstractmethod
    def own_queue(self, channel: Channel, kind: str) -> str:
        """Make a queue of our own, which is of no use once this process is gone."""

    @abstractmethod
    def owned(self, channel: Channel, kind: str) -> Iterable[str]:
        """Return the living queues of their own that all processes made of a kind."""

    @abstractmethod
    def drop_own(self, channel: Channel, queue: str) -> None:
        """Remove a queue of our own."""

    @abstractmethod
    def delay(self, channel: Channel, queue: str, letter: Letter, due: float) -> None:
        """Keep a letter that is not to be handed out before the Unix time ``due``."""

    @abstractmethod
    def tick(self, channel: Channel, queues: Collection[str]) -> None:
        """Do the chores of the moment for the queues that are consumed here."""

    @abstractmethod
    def leave(self, channel: Channel, queue: str) -> None:
        """Let others have what is held for a queue that is consumed here no longer."""

    def took(self, tag: str) -> None:  # noqa: B027 — most brokers know by themselves
        """Note that we work on the letter with this delivery tag."""

    def settled(self, tag: str) -> None:  # noqa: B027 — most brokers know by themselves
        """Note that we work on it no longer."""

    def put(self, channel: Channel, queue: str, letter: Letter) -> None:
        """Add a letter to a queue."""
        channel.basic_publish(prepare(channel, letter), "", self.place(queue))

    def size(self, channel: Channel, queue: str) -> int:
        """Return how many letters a queue has to hand out."""
        return int(channel.queue_declare(queue=self.place(queue)).message_count)

    def delete(self, channel: Channel, queue: str) -> None:
        """Remove a queue and what is in it or delayed for it."""
        channel.queue_purge(self.place(queue))

    def close(self) -> None:  # noqa: B027 — most hold nothing
        """Let go of everything."""
