"""What services know of a broker.

The promises below hold for every implementation and are tested by one contract suite. The spool is
the truth and the queue only the schedule, so a message may come twice, but while a broker lives it
is not lost: not by a handler that fails, and not by a process that dies.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from crossdock.messages import Message


Handler = Callable[[Message], None]
Responder = Callable[[Message], Message]


class Retry(Exception):  # noqa: N818 — a handler's way to ask, not an error
    """Raised by a handler that wants the same message again after ``delay`` seconds."""

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__(f"again in {delay:g} s")
        self.delay = delay


class Subscription(ABC):
    """A running consumer."""

    @abstractmethod
    def close(self, timeout: float = 5.0) -> None:
        """Take no further message and wait up to ``timeout`` seconds for running handlers.

        Messages that were fetched and not handled go back to the queue. Closing twice is fine.
        """


class Bus(ABC):
    """A connection to the broker, safe to use from any thread.

    It connects by itself and reconnects with back-off for as long as it is open; subscriptions
    survive that. Queues come into being when they are first used and outlive their users.
    """

    @abstractmethod
    def send(self, queue: str, message: Message, *, delay: float = 0.0) -> None:
        """Put a message into a queue, to be handed out ``delay`` seconds from now or later.

        Returns once the broker has taken responsibility for it.

        Raises:
            BusError: the broker did not confirm in time; the message may or may not arrive.
        """

    @abstractmethod
    def broadcast(self, topic: str, message: Message) -> None:
        """Give a message to everyone who listens to ``topic`` now; nobody listening is fine.

        Raises:
            BusError: the broker did not confirm in time.
        """

    @abstractmethod
    def consume(self, queue: str, handler: Handler, *, prefetch: int = 1) -> Subscription:
        """Call ``handler`` for each message of a queue, in up to ``prefetch`` threads at once.

        A handler that returns has dealt with the message. One that raises ``Retry`` gets it again
        after that delay. Any other exception is logged and the message comes again after a
        growing delay; when it has failed 8 times, or cannot be decoded, it is moved to the queue
        ``dead.<queue>``. A message whose consumer dies is handed out again.
        """

    @abstractmethod
    def listen(self, topic: str, handler: Handler) -> Subscription:
        """Call ``handler``, one message at a time, for what is broadcast from now on."""

    @abstractmethod
    def request(self, queue: str, message: Message, *, timeout: float) -> Message:
        """Send a message to a queue that somebody serves and return the answer.

        Raises:
            NoReply: no answer within ``timeout`` seconds.
            BusError: the broker did not take the request.
        """

    @abstractmethod
    def serve(self, queue: str, responder: Responder, *, prefetch: int = 1) -> Subscription:
        """Answer the requests of a queue. A request whose deadline has passed is dropped."""

    @abstractmethod
    def depth(self, queue: str) -> int:
        """Return how many messages are ready in a queue, without those in work or delayed.

        Raises:
            BusError: the broker cannot be reached.
        """

    @abstractmethod
    def delete(self, queue: str) -> None:
        """Remove a queue and what is in it; a queue that does not exist is fine.

        Raises:
            BusError: the broker cannot be reached.
        """

    @property
    @abstractmethod
    def connected(self) -> bool:
        """Whether the broker can be used right now."""

    @abstractmethod
    def close(self) -> None:
        """Close all subscriptions and the connection. Closing twice is fine."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
