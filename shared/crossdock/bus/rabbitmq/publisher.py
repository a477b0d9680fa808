"""Publishing with confirms: a letter counts as sent once RabbitMQ has it on its disks."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from pika import BasicProperties, SelectConnection, spec
from pika.channel import Channel
from pika.exceptions import AMQPError

from crossdock.bus.letter import Letter
from crossdock.bus.rabbitmq.link import Link, fail, refusal, succeed
from crossdock.errors import BusError


PERSISTENT = 2
CONFIRM_TIMEOUT = 5.0  # seconds, after which another channel is tried
RETRY_PAUSE = 0.1  # seconds


class Unroutable(BusError):  # noqa: N818 — reads as what happened
    """There is no such queue."""


class Late(BusError):  # noqa: N818 — reads as what happened
    """RabbitMQ did not answer in time."""


class Publisher:
    """Publishes for many threads at once on one channel, and matches confirms to letters."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: Channel | None = None
        self._tag = 0
        self._unconfirmed: dict[int, Future[Any]] = {}
        self._ready = threading.Event()
        link.join(self)

    def opened(self, connection: SelectConnection) -> None:
        """Open the channel; runs on the I/O thread, as all that follows but ``publish``."""
        connection.channel(on_open_callback=self._channel_opened)

    def lost(self) -> None:
        """Forget the channel; the link fails the futures."""
        self._ready.clear()
        self._channel = None
        self._unconfirmed.clear()

    def publish(self, exchange: str, key: str, letter: Letter, deadline: float) -> None:
        """Publish and wait for the confirm until ``deadline`` (monotonic).

        Raises:
            Unroutable: there is no queue ``key``; only without an exchange.
            BusError: no confirm.
        """
        if not self._ready.wait(max(0.0, deadline - time.monotonic())):
            raise BusError(f"no connection to RabbitMQ at {self._link.broker}")
        confirm = self._link.submit(lambda future: self._publish(future, exchange, key, letter))
        channel = self._channel
        try:
            answer(confirm, min(deadline, time.monotonic() + CONFIRM_TIMEOUT))
        except Late:
            self._link.post(lambda: self._renew(channel))
            raise

    def _channel_opened(self, channel: Channel) -> None:
        self._channel = channel
        self._tag = 0
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._ready.set())

    def _channel_closed(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        self._ready.clear()
        self._channel = None
        for future in unconfirmed.values():
            fail(future, refusal(reason))
        if channel.connection.is_open:
            self.opened(channel.connection)

    def _renew(self, channel: Channel | None) -> None:
        """Use a new channel: this one is stuck, as after a restart that a queue was too slow for."""
        if channel is not None and channel is self._channel:
            self._channel_closed(channel, BusError("stuck"))
            if channel.is_open:
                channel.close()

    def _publish(self, future: Future[Any], exchange: str, key: str, letter: Letter) -> None:
        if self._channel is None or not self._channel.is_open:
            raise AMQPError
        self._tag += 1
        self._unconfirmed[self._tag] = future
        properties = BasicProperties(
            headers=letter.headers(),
            delivery_mode=PERSISTENT,
            message_id=str(self._tag),
            expiration=_expiration(letter),
        )
        self._channel.basic_publish(exchange, key, letter.body, properties, mandatory=not exchange)

    def _confirmed(self, frame: Any) -> None:
        tags = [frame.method.delivery_tag]
        if frame.method.multiple:
            tags = [tag for tag in self._unconfirmed if tag <= frame.method.delivery_tag]
        refused = isinstance(frame.method, spec.Basic.Nack)
        for tag in tags:
            future = self._unconfirmed.pop(tag, None)
            if future is not None and refused:
                fail(future, BusError("RabbitMQ refused the message: is its disk or memory full?"))
            elif future is not None:
                succeed(future, None)

    def _returned(self, _: Channel, method: Any, properties: BasicProperties, __: bytes) -> None:
        """Note that a message found no queue; its confirm follows and is then of no interest."""
        future = self._unconfirmed.get(int(properties.message_id or 0))
        if future is not None:
            fail(future, Unroutable(f"RabbitMQ has no queue {method.routing_key}"))


def _expiration(letter: Letter) -> str | None:
    """Return the milliseconds that are left of a request, which nobody wants afterwards."""
    if not letter.deadline:
        return None
    return str(max(1, int((letter.deadline - time.time()) * 1000)))


def answer(future: Future[Any], deadline: float) -> Any:
    """Wait for a future until ``deadline`` (monotonic).

    Raises:
        Late: it is not done by then.
        BusError: it failed.
    """
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        raise Late("RabbitMQ did not answer in time") from None


def persistently(action: Callable[[float], None], link: Link, timeout: float) -> None:
    """Repeat ``action(deadline)`` over lost connections until it works or ``timeout`` is over.

    Raises:
        BusError: it never worked.
    """
    deadline = time.monotonic() + timeout
    while True:
        if not link.wait(deadline - time.monotonic()):
            raise BusError(f"no connection to RabbitMQ at {link.broker} within {timeout:g} s")
        try:
            action(deadline)
        except BusError:
            if time.monotonic() >= deadline - RETRY_PAUSE:
                raise
            time.sleep(RETRY_PAUSE)
        else:
            return
