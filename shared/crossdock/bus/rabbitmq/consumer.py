"""Consuming: an inbox that is filled by the I/O thread and survives whatever happens to it."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

import structlog
from pika import BasicProperties, SelectConnection
from pika.channel import Channel

from crossdock.bus.letter import Letter, read
from crossdock.bus.rabbitmq.ladder import work_arguments
from crossdock.bus.rabbitmq.link import Link, describe
from crossdock.errors import BusError


FIRST_PAUSE = 0.1  # seconds before a lost channel is opened again
MAX_PAUSE = 10.0
START_TIMEOUT = 5.0

Declared = Callable[[str], None]
Declare = Callable[[Channel, Declared], None]
Post = Callable[[Letter, float], None]

log = structlog.get_logger(__name__)


class RabbitTaken:
    """A letter that RabbitMQ keeps for us on one channel.

    A tag means nothing on any other channel than its own. When that is gone RabbitMQ has already
    handed the letter out again, and a late acknowledgement is dropped.
    """

    def __init__(self, inbox: "RabbitInbox", channel: Channel, tag: int, letter: Letter) -> None:
        self.letter = letter
        self._inbox = inbox
        self._channel = channel
        self._tag = tag

    @property
    def stale(self) -> bool:
        """Whether RabbitMQ has taken it back."""
        return not self._channel.is_open

    def done(self) -> None:
        """See ``Taken.done``."""
        self._settle(lambda: self._channel.basic_ack(self._tag))

    def again(self, letter: Letter, delay: float) -> None:
        """See ``Taken.again``."""
        self._inbox.post(letter, delay)
        self.done()

    def bury(self, letter: Letter) -> None:
        """See ``Taken.bury``."""
        self._inbox.post_dead(letter, 0.0)
        self.done()

    def give_back(self) -> None:
        """See ``Taken.give_back``."""
        self._settle(lambda: self._channel.basic_nack(self._tag, requeue=True))

    def _settle(self, step: Callable[[], None]) -> None:
        self._inbox.link.post(lambda: None if self.stale else step())


class RabbitInbox:
    """The letters of one queue, at most ``prefetch`` at once.

    ``ready`` is set while RabbitMQ has us as a consumer, and ``name`` is then the queue's name.
    """

    def __init__(self, link: Link, declare: Declare, prefetch: int, post: Post, dead: Post) -> None:
        self.link = link
        self.post = post
        self.post_dead = dead
        self.ready = threading.Event()
        self.name = ""
        self._declare = declare
        self._prefetch = max(1, prefetch)
        self._letters: SimpleQueue[RabbitTaken | None] = SimpleQueue()
        self._channel: Channel | None = None
        self._tag = ""
        self._stopped = False
        self._pause = FIRST_PAUSE
        link.join(self)

    def take(self) -> RabbitTaken | None:
        """See ``Inbox.take``."""
        taken = self._letters.get()
        if taken is None:
            self._letters.put(None)  # for the next worker that waits
            return None
        return None if taken.stale else taken

    def stop(self) -> None:
        """See ``Inbox.stop``."""
        if not self._stopped:
            self._stopped = True
            self._letters.put(None)
            self.link.post(self._cancel)

    def close(self) -> None:
        """See ``Inbox.close``."""
        self.link.leave(self)
        self.link.post(self._close_channel)

    def opened(self, connection: SelectConnection) -> None:
        """Begin to consume; runs on the I/O thread, as all that follows."""
        if not self._stopped and connection.is_open:
            connection.channel(on_open_callback=self._channel_opened)

    def lost(self) -> None:
        """Forget the channel."""
        self.ready.clear()
        self._channel = None

    def _channel_opened(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_cancel_callback(lambda _: self._cancelled(channel))
        channel.basic_qos(prefetch_count=self._prefetch)
        self._declare(channel, lambda queue: self._consume(channel, queue))
        channel.connection.ioloop.call_later(START_TIMEOUT, lambda: self._check(channel))

    def _check(self, channel: Channel) -> None:
        """Try another channel if this one is stuck, as after a restart."""
        if channel is self._channel and not self.ready.is_set():
            self._channel_closed(channel, BusError("stuck"))
            if channel.is_open:
                channel.close()

    def _consume(self, channel: Channel, queue: str) -> None:
        def consuming(_: Any) -> None:
            self.name = queue
            self._pause = FIRST_PAUSE
            self.ready.set()

        if not self._stopped and channel.is_open:
            self._tag = channel.basic_consume(queue, self._arrived, callback=consuming)

    def _arrived(
        self, channel: Channel, method: Any, properties: BasicProperties, body: bytes
    ) -> None:
        letter = read(body, properties.headers)
        self._letters.put(RabbitTaken(self, channel, method.delivery_tag, letter))

    def _cancelled(self, channel: Channel) -> None:
        """Consume anew: the queue was deleted under us."""
        if channel.is_open:
            channel.close()

    def _channel_closed(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self.lost()
        connection = channel.connection
        if self._stopped or not connection.is_open:
            return
        log.warning("bus.consumer.restarted", queue=self.name, reason=describe(reason))
        connection.ioloop.call_later(self._pause, lambda: self.opened(connection))
        self._pause = min(MAX_PAUSE, self._pause * 2)

    def _cancel(self) -> None:
        if self._channel is not None and self._channel.is_open and self._tag:
            self._channel.basic_cancel(self._tag, callback=self._give_back)

    def _give_back(self, _: Any) -> None:
        """Return what no worker has begun on."""
        while True:
            try:
                taken = self._letters.get_nowait()
            except Empty:
                break
            if taken is not None:
                taken.give_back()
        self._letters.put(None)

    def _close_channel(self) -> None:
        if self._channel is not None and self._channel.is_open:
            self._channel.close()


def work_queue(queue: str) -> Declare:
    """Declare a durable, replicated queue that outlives its users."""

    def declare(channel: Channel, declared: Declared) -> None:
        channel.queue_declare(
            queue, durable=True, arguments=work_arguments(), callback=lambda _: declared(queue)
        )

    return declare


def own_queue(channel: Channel, declared: Declared) -> None:
    """Declare a queue of our own, which goes with our connection."""
    channel.queue_declare(
        "", exclusive=True, auto_delete=True, callback=lambda frame: declared(frame.method.queue)
    )


def topic_queue(exchange: str) -> Declare:
    """Declare a queue of our own that hears an exchange."""

    def declare(channel: Channel, declared: Declared) -> None:
        def bind(queue: str) -> None:
            channel.queue_bind(queue, exchange, callback=lambda _: declared(queue))

        channel.exchange_declare(
            exchange, "fanout", durable=True, callback=lambda _: own_queue(channel, bind)
        )

    return declare
