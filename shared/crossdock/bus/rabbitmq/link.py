"""One connection to RabbitMQ, kept up by an I/O thread of its own.

Heartbeats are answered by that thread, so a handler may take hours. Everything that touches pika
runs on it; other threads hand in a step and wait for its future.
"""

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

import structlog
from pika import SelectConnection, URLParameters
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel
from pika.exceptions import AMQPError

from crossdock.errors import BusError


FIRST_BACKOFF = 0.2  # seconds
MAX_BACKOFF = 5.0
CLOSE_TIMEOUT = 2.0
NOT_FOUND = 404

Step = Callable[[Future[Any]], None]
Operation = Callable[[Channel, Callable[[Any], None]], None]

log = structlog.get_logger(__name__)


class Missing(BusError):  # noqa: N818 — reads as what happened
    """There is no such queue or exchange."""


class Tenant(Protocol):
    """Something that lives on a link and is told, on the I/O thread, when it comes and goes."""

    def opened(self, connection: SelectConnection) -> None:
        """The connection is up."""

    def lost(self) -> None:
        """The connection is gone, and with it every channel."""


class Link:
    """A connection that comes back by itself, with growing and jittered pauses."""

    def __init__(self, parameters: URLParameters, name: str) -> None:
        self.broker = f"{parameters.host}:{parameters.port}"
        self._parameters = parameters
        self._name = name
        self._tenants: list[Tenant] = []
        self._attempt: SelectConnection | None = None
        self._connection: SelectConnection | None = None
        self._loop: IOLoop | None = None
        self._futures: set[Future[Any]] = set()
        self._up = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._was_up = False
        self._thread = threading.Thread(target=self._run, name=f"bus:{name}", daemon=True)
        self._thread.start()

    @property
    def up(self) -> bool:
        """Whether the connection can be used right now."""
        return self._up.is_set()

    def wait(self, timeout: float) -> bool:
        """Wait until the connection is up; return whether it is."""
        return self._up.wait(max(0.0, timeout))

    def join(self, tenant: Tenant) -> None:
        """Tell ``tenant`` of this connection, beginning now if it is up."""

        def step() -> None:
            self._tenants.append(tenant)
            if self._connection is not None:
                tenant.opened(self._connection)

        with self._lock:
            if self._loop is None:
                self._tenants.append(tenant)
            else:
                self._loop.add_callback_threadsafe(step)

    def leave(self, tenant: Tenant) -> None:
        """Tell ``tenant`` no more."""
        with self._lock:
            if tenant in self._tenants:
                self._tenants.remove(tenant)

    def post(self, step: Callable[[], None]) -> None:
        """Run ``step`` on the I/O thread soon; it is dropped if the connection is gone by then."""
        with self._lock:
            if self._loop is not None:
                self._loop.add_callback_threadsafe(step)

    def submit(self, step: Step) -> Future[Any]:
        """Run ``step`` on the I/O thread and return its future, which fails if the link is lost.

        Raises:
            BusError: there is no connection now.
        """
        future: Future[Any] = Future()

        def guarded() -> None:
            try:
                step(future)
            except AMQPError as error:
                fail(future, BusError(f"RabbitMQ: {type(error).__name__}"))

        with self._lock:
            if self._loop is None or not self._up.is_set():
                raise BusError(f"no connection to RabbitMQ at {self.broker}")
            self._futures.add(future)
            self._loop.add_callback_threadsafe(guarded)
        future.add_done_callback(self._futures.discard)
        return future

    def operate(self, operation: Operation) -> Future[Any]:
        """Do one thing on a channel of its own, because RabbitMQ closes the channel on a refusal.

        The future has the frame of the broker's answer, or a ``BusError``.
        """

        def step(future: Future[Any]) -> None:
            def opened(channel: Channel) -> None:
                channel.add_on_close_callback(closed)
                operation(channel, lambda frame: done(channel, frame))

            def done(channel: Channel, frame: Any) -> None:
                if channel.is_open:
                    channel.close()
                succeed(future, frame)

            def closed(_: Channel, reason: Exception) -> None:
                fail(future, refusal(reason))

            if self._connection is None:
                raise AMQPError
            self._connection.channel(on_open_callback=opened)

        return self.submit(step)

    def close(self, timeout: float) -> None:
        """Close the connection and end the thread."""
        self._closing.set()
        with self._lock:
            if self._loop is not None:
                self._loop.add_callback_threadsafe(self._shut)
        self._thread.join(timeout)

    def _shut(self) -> None:
        connection = self._attempt
        if connection is not None and not (connection.is_closing or connection.is_closed):
            connection.ioloop.call_later(CLOSE_TIMEOUT, connection.ioloop.stop)
            connection.close()

    def _run(self) -> None:
        backoff = FIRST_BACKOFF
        while not self._closing.is_set():
            try:
                self._connect_once()
            except Exception:  # the outermost loop: without this thread the bus would be dead
                log.exception("bus.connection.failed", broker=self.broker)
            self._down()
            backoff = FIRST_BACKOFF if self._was_up else min(MAX_BACKOFF, backoff * 2)
            self._closing.wait(backoff * random.uniform(0.5, 1.0))  # noqa: S311 — jitter, no secret

    def _connect_once(self) -> None:
        """Connect and serve the connection until it is gone."""
        self._was_up = False
        loop = IOLoop()
        with self._lock:
            self._loop = loop
        try:
            self._attempt = SelectConnection(
                self._parameters,
                on_open_callback=self._on_open,
                on_open_error_callback=self._on_close,
                on_close_callback=self._on_close,
                custom_ioloop=loop,
            )
            loop.start()
        finally:
            with self._lock:
                self._loop = None
            loop.close()

    def _on_open(self, connection: Any) -> None:
        self._connection = connection
        if self._closing.is_set():
            connection.close()
            return
        self._was_up = True
        log.info("bus.connected", broker=self.broker, name=self._name)
        with self._lock:
            tenants = list(self._tenants)
            self._up.set()
        for tenant in tenants:
            tenant.opened(connection)

    def _on_close(self, connection: Any, reason: object) -> None:
        if not self._closing.is_set():
            # Some of pika's reasons quote the login; the class and the broker's own words do not.
            log.warning("bus.disconnected", broker=self.broker, reason=describe(reason))
        connection.ioloop.stop()

    def _down(self) -> None:
        """Tell everyone that the connection is gone."""
        with self._lock:
            self._up.clear()
            self._connection = None
            tenants = list(self._tenants)
            futures, self._futures = list(self._futures), set()
        for tenant in tenants:
            tenant.lost()
        for future in futures:
            fail(future, BusError(f"lost the connection to RabbitMQ at {self.broker}"))


def succeed(future: Future[Any], result: object) -> None:
    """Give a future its result unless it has one."""
    if not future.done():
        future.set_result(result)


def fail(future: Future[Any], error: Exception) -> None:
    """Fail a future unless it is done."""
    if not future.done():
        future.set_exception(error)


def describe(reason: object) -> str:
    """Return why RabbitMQ closed something, without what might quote a login."""
    text = getattr(reason, "reply_text", "")
    return f"{type(reason).__name__} {text}".strip()


def refusal(reason: object) -> BusError:
    """Return the error for a channel that RabbitMQ closed."""
    kind = Missing if getattr(reason, "reply_code", 0) == NOT_FOUND else BusError
    return kind(f"RabbitMQ closed the channel: {describe(reason)}")
