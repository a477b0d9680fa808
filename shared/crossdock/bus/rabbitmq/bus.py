"""The bus on RabbitMQ."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

from pika import SelectConnection, URLParameters
from pika.channel import Channel

from crossdock.bus.core import LetterBus
from crossdock.bus.letter import Letter, check_name, dead
from crossdock.bus.rabbitmq.consumer import Declare, RabbitInbox, own_queue, topic_queue, work_queue
from crossdock.bus.rabbitmq.ladder import (
    RUNGS,
    delay_arguments,
    delay_queue,
    rung,
    work_arguments,
)
from crossdock.bus.rabbitmq.link import Link, Missing
from crossdock.bus.rabbitmq.publisher import Publisher, Unroutable, answer, persistently
from crossdock.errors import BusError
from crossdock.messages import Message


HEARTBEAT = 30  # seconds
CONNECT_TIMEOUT = 5.0
LISTEN_TIMEOUT = 2.0
OWN_QUEUE = "amq.gen-"  # how RabbitMQ names the queues that it may name itself

Arguments = dict[str, Any]


class RabbitBus(LetterBus):
    """A bus on RabbitMQ with one connection for publishing and one for consuming.

    RabbitMQ stops reading from a connection that publishes while it is short of disk or memory;
    acknowledgements on the same connection would be stuck too, and with them the way out.
    """

    def __init__(self, url: str, *, name: str = "") -> None:
        super().__init__(name)
        self._parameters = _parameters(url, name)
        self._declared: set[str] = set()
        self._link = Link(self._parameters, f"{name or 'crossdock'}:publish")
        self._link.join(self)
        self._publisher = Publisher(self._link)

    @property
    def connected(self) -> bool:
        """See ``Bus.connected``."""
        return self._link.up

    @cached_property
    def _consuming(self) -> Link:
        return Link(self._parameters, f"{self.name or 'crossdock'}:consume")

    def opened(self, _: SelectConnection) -> None:
        """Assume nothing of the broker that we are connected to now."""
        self._declared.clear()

    def lost(self) -> None:
        """Nothing to do: the link and the publisher know."""

    def broadcast(self, topic: str, message: Message) -> None:
        """See ``Bus.broadcast``."""
        self._check_open()
        exchange = exchange_name(check_name(topic))
        letter = Letter(message.encode())

        def action(deadline: float) -> None:
            try:
                self._declare_exchange(exchange, deadline)
                self._publisher.publish(exchange, "", letter, deadline)
            except Missing:
                self._declared.discard(exchange)
                raise

        persistently(action, self._link, self.timeout)

    def depth(self, queue: str) -> int:
        """See ``Bus.depth``."""

        def operation(channel: Channel, done: Callable[[Any], None]) -> None:
            channel.queue_declare(queue, passive=True, callback=done)

        try:
            frame = self._operate(operation)
        except Missing:
            return 0
        return int(frame.method.message_count)

    def delete(self, queue: str) -> None:
        """See ``Bus.delete``. What is delayed for the queue goes with it."""
        names = [queue, *(delay_queue(queue, seconds) for seconds in RUNGS)]

        def operation(channel: Channel, done: Callable[[Any], None]) -> None:
            for name in names[:-1]:
                channel.queue_delete(name)
            channel.queue_delete(names[-1], callback=done)

        self._operate(operation)
        self._declared.difference_update(names)

    def _post(self, queue: str, letter: Letter, delay: float = 0.0) -> None:
        if delay <= 0:
            return self._deliver(queue, work_arguments(), replace(letter, not_before=0.0))
        seconds = rung(delay)
        rest = replace(letter, not_before=time.time() + delay if delay > seconds else 0.0)
        persistently(
            lambda deadline: self._declare(queue, work_arguments(), deadline),
            self._link,
            self.timeout,
        )
        return self._deliver(delay_queue(queue, seconds), delay_arguments(queue, seconds), rest)

    def _reply(self, queue: str, letter: Letter) -> None:
        if not queue.startswith(OWN_QUEUE):
            return
        try:
            self._publisher.publish("", queue, letter, time.monotonic() + self.timeout)
        except Unroutable:
            return  # whoever asked is gone

    def _inbox(self, queue: str, threads: int) -> RabbitInbox:
        return self._open(work_queue(queue), threads, queue)

    def _topic_inbox(self, topic: str) -> RabbitInbox:
        inbox = self._open(topic_queue(exchange_name(topic)), 1, topic)
        inbox.ready.wait(LISTEN_TIMEOUT)
        return inbox

    def _reply_inbox(self) -> RabbitInbox:
        self._replying = self._open(own_queue, 100, "reply")
        return self._replying

    def _reply_queue(self, deadline: float) -> str:
        if not self._replying.ready.wait(max(0.0, deadline - time.monotonic())):
            raise BusError(f"no connection to RabbitMQ at {self._link.broker} in time")
        return self._replying.name

    def _disconnect(self) -> None:
        if "_consuming" in self.__dict__:
            self._consuming.close(self.timeout)
        self._link.close(self.timeout)

    def _open(self, declare: Declare, prefetch: int, queue: str) -> RabbitInbox:
        return RabbitInbox(
            self._consuming,
            declare,
            prefetch,
            lambda letter, delay: self._post(queue, letter, delay),
            lambda letter, delay: self._post(dead(queue), letter, delay),
        )

    def _deliver(self, queue: str, arguments: Arguments, letter: Letter) -> None:
        """Put a letter into a queue of these arguments, making the queue if there is none."""

        def action(deadline: float) -> None:
            self._declare(queue, arguments, deadline)
            try:
                self._publisher.publish("", queue, letter, deadline)
            except Unroutable:
                self._declared.discard(queue)
                raise

        persistently(action, self._link, self.timeout)

    def _declare(self, queue: str, arguments: Arguments, deadline: float) -> None:
        def operation(channel: Channel, done: Callable[[Any], None]) -> None:
            channel.queue_declare(queue, durable=True, arguments=arguments, callback=done)

        if queue not in self._declared:
            answer(self._link.operate(operation), deadline)
            self._declared.add(queue)

    def _declare_exchange(self, exchange: str, deadline: float) -> None:
        def operation(channel: Channel, done: Callable[[Any], None]) -> None:
            channel.exchange_declare(exchange, "fanout", durable=True, callback=done)

        if exchange not in self._declared:
            answer(self._link.operate(operation), deadline)
            self._declared.add(exchange)

    def _operate(self, operation: Callable[[Channel, Callable[[Any], None]], None]) -> Any:
        self._check_open()
        deadline = time.monotonic() + self.timeout
        if not self._link.wait(self.timeout):
            raise BusError(f"no connection to RabbitMQ at {self._link.broker}")
        return answer(self._link.operate(operation), deadline)


def exchange_name(topic: str) -> str:
    """Return the exchange that carries a topic."""
    return f"crossdock.{topic}"


def _parameters(url: str, name: str) -> URLParameters:
    """Return pika's parameters for a URL.

    Raises:
        BusError: the URL makes no sense. It is not quoted, for it holds a password.
    """
    try:
        parameters = URLParameters(url)
    except (ValueError, TypeError):
        raise BusError("not a RabbitMQ URL, such as amqp://user:password@host:5672/") from None
    if parameters.ssl_options is not None and parameters.ssl_options.server_hostname is None:
        # Without the name, pika's context cannot check whose certificate it was shown.
        parameters.ssl_options.server_hostname = parameters.host
    if "heartbeat" not in url:
        parameters.heartbeat = HEARTBEAT
    parameters.socket_timeout = CONNECT_TIMEOUT
    parameters.stack_timeout = 2 * CONNECT_TIMEOUT
    parameters.connection_attempts = 1
    parameters.client_properties = {"connection_name": name or "crossdock"}
    return parameters
