"""What all buses have in common: messages become letters, handlers become workers."""

import threading
import time
from abc import abstractmethod

from crossdock.bus.base import Bus, Handler, Responder, Subscription
from crossdock.bus.letter import Letter, check_name
from crossdock.bus.replies import Replies
from crossdock.bus.verdict import Judge, handling, listening, serving
from crossdock.bus.worker import Inbox, Workers
from crossdock.errors import BusError, MessageError, NoReply
from crossdock.messages import Message, decode


CLOSE_TIMEOUT = 5.0


class LetterBus(Bus):
    """A bus on top of a broker that can post letters and hand them out.

    Attributes:
        timeout: seconds within which the broker must answer.
        first_retry: seconds before a failed message comes again the first time; then it doubles.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.timeout = 10.0
        self.first_retry = 1.0
        self._closed = False
        self._lock = threading.RLock()
        self._subscriptions: set[Workers] = set()
        self._replies = Replies()
        self._replies_on = False

    @abstractmethod
    def _post(self, queue: str, letter: Letter, delay: float = 0.0) -> None:
        """Put a letter into a queue; raises ``BusError``."""

    @abstractmethod
    def _reply(self, queue: str, letter: Letter) -> None:
        """Put an answer into a reply queue, if it is one and still exists; raises ``BusError``."""

    @abstractmethod
    def _inbox(self, queue: str, threads: int) -> Inbox:
        """Open an inbox on a queue."""

    @abstractmethod
    def _topic_inbox(self, topic: str) -> Inbox:
        """Open an inbox of our own on a topic, ready for what is broadcast from now on."""

    @abstractmethod
    def _reply_inbox(self) -> Inbox:
        """Open the inbox for answers to our requests."""

    @abstractmethod
    def _reply_queue(self, deadline: float) -> str:
        """Return the queue for answers, ready by ``deadline`` (monotonic); raises ``BusError``."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Close the connection to the broker; all subscriptions are closed already."""

    def send(self, queue: str, message: Message, *, delay: float = 0.0) -> None:
        """See ``Bus.send``."""
        self._check_open()
        self._post(check_name(queue), Letter(message.encode()), delay)

    def consume(self, queue: str, handler: Handler, *, prefetch: int = 1) -> Subscription:
        """See ``Bus.consume``."""
        judge = handling(check_name(queue), handler, self.first_retry)
        return self._start(queue, self._inbox(queue, prefetch), judge, prefetch)

    def listen(self, topic: str, handler: Handler) -> Subscription:
        """See ``Bus.listen``."""
        inbox = self._topic_inbox(check_name(topic))
        return self._start(topic, inbox, listening(topic, handler), 1)

    def serve(self, queue: str, responder: Responder, *, prefetch: int = 1) -> Subscription:
        """See ``Bus.serve``."""
        judge = serving(check_name(queue), responder, self._reply)
        return self._start(queue, self._inbox(queue, prefetch), judge, prefetch)

    def request(self, queue: str, message: Message, *, timeout: float) -> Message:
        """See ``Bus.request``."""
        self._check_open()
        deadline = time.monotonic() + timeout
        self._want_replies()
        with self._replies.expect() as (correlation, answer):
            letter = Letter(
                message.encode(),
                reply_to=self._reply_queue(deadline),
                correlation=correlation,
                deadline=time.time() + deadline - time.monotonic(),
            )
            self._post(check_name(queue), letter)
            try:
                reply = answer.result(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise NoReply(f"nobody answered on {queue} within {timeout:g} s") from None
        try:
            return decode(reply.body)
        except MessageError as error:
            raise NoReply(f"the answer on {queue} cannot be understood: {error}") from None

    def close(self) -> None:
        """See ``Bus.close``. Handlers get 5 seconds, all together."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            subscription.close(timeout=0.0)
        deadline = time.monotonic() + CLOSE_TIMEOUT
        for subscription in subscriptions:
            subscription.close(max(0.0, deadline - time.monotonic()))
        self._disconnect()

    def _check_open(self) -> None:
        if self._closed:
            raise BusError("this bus is closed")

    def _start(self, name: str, inbox: Inbox, judge: Judge, threads: int) -> Subscription:
        with self._lock:
            if self._closed:
                inbox.stop()
                inbox.close()
            self._check_open()
            workers = Workers(name, inbox, judge, threads, self._ended)
            self._subscriptions.add(workers)
            return workers

    def _ended(self, workers: Workers) -> None:
        with self._lock:
            self._subscriptions.discard(workers)

    def _want_replies(self) -> None:
        """Have an inbox for answers from the first request on."""
        with self._lock:
            if not self._replies_on:
                self._start("reply", self._reply_inbox(), self._replies.arrived, 1)
                self._replies_on = True
