"""kombu's channels, each used by one thread at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from crossdock.bus.kombu_bus.envelope import Channel
from crossdock.bus.kombu_bus.medium import Medium
from crossdock.errors import BusError


class Channels:
    """Opens channels when they are needed and keeps them for the next who needs one."""

    def __init__(self, medium: Medium) -> None:
        self._medium = medium
        self._free: list[Channel] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def use(self) -> Iterator[Channel]:
        """Yield a channel; the broker's errors come out as ``BusError``."""
        channel = self.acquire()
        with self.translated(channel):
            yield channel
        self.release(channel)

    @contextmanager
    def translated(self, channel: Channel) -> Iterator[None]:
        """Turn the broker's errors into ``BusError``, and throw away a channel that has failed."""
        try:
            yield
        except BaseException as error:
            self.discard(channel)
            if isinstance(error, self._medium.errors):
                raise BusError(f"the broker failed: {type(error).__name__}") from error
            raise

    def acquire(self) -> Channel:
        """Return a channel to be released or discarded.

        Raises:
            BusError: the broker cannot be reached.
        """
        with self._lock:
            if self._free:
                return self._free.pop()
        connection = self._medium.connection()
        try:
            return connection.channel()
        except self._medium.errors as error:
            connection.release()
            raise BusError(f"the broker cannot be reached: {type(error).__name__}") from error

    def release(self, channel: Channel) -> None:
        """Keep a channel for the next."""
        with self._lock:
            if not self._closed:
                self._free.append(channel)
                return
        self.discard(channel)

    def discard(self, channel: Channel) -> None:
        """Close a channel, with its connection."""
        connection = channel.connection
        client = None if connection is None else connection.client
        if client is None:
            return  # its end went through here before, or the transport let go of it by itself
        try:
            client.release()
        except self._medium.errors:
            return  # that is why it is thrown away

    def close(self) -> None:
        """Close the channels that nobody uses, and the others when they are released."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for channel in free:
            self.discard(channel)
