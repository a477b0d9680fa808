"""The bus on kombu: one clock looks for letters, and the workers fetch them."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import structlog

from crossdock.bus.core import LetterBus
from crossdock.bus.kombu_bus.channels import Channels
from crossdock.bus.kombu_bus.envelope import Channel
from crossdock.bus.kombu_bus.filesystem import Filesystem
from crossdock.bus.kombu_bus.inbox import KombuInbox
from crossdock.bus.kombu_bus.medium import Medium
from crossdock.bus.kombu_bus.memory import Memory
from crossdock.bus.letter import Letter, check_name
from crossdock.bus.verdict import kind
from crossdock.errors import BusError
from crossdock.messages import Message
from crossdock.telemetry import raised_at


RETRY_PAUSE = 0.2  # seconds
IDLE_INTERVAL = 0.5
REPLY = "reply"

T = TypeVar("T")

log = structlog.get_logger(__name__)


class KombuBus(LetterBus):
    """A bus on a broker that kombu knows."""

    def __init__(self, url: str, *, name: str = "") -> None:
        super().__init__(name)
        self.medium = _medium(url)
        self._channels = Channels(self.medium)
        self._inboxes: set[KombuInbox] = set()
        self._left: list[KombuInbox] = []
        self._up = threading.Event()
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._clock = threading.Thread(target=self._run, name=f"bus:{name}:clock", daemon=True)
        self._clock.start()

    @property
    def connected(self) -> bool:
        """See ``Bus.connected``."""
        return self._up.is_set() and not self._closed

    def broadcast(self, topic: str, message: Message) -> None:
        """See ``Bus.broadcast``."""
        self._check_open()
        letter = Letter(message.encode())
        kind = check_name(topic)

        def action(channel: Channel) -> None:
            for queue in self.medium.owned(channel, kind):
                self._put_own(channel, queue, letter)

        self._persistently(action)

    def depth(self, queue: str) -> int:
        """See ``Bus.depth``."""
        self._check_open()
        with self._channels.use() as channel:
            return self.medium.size(channel, check_name(queue))

    def delete(self, queue: str) -> None:
        """See ``Bus.delete``."""
        self._check_open()
        with self._channels.use() as channel:
            self.medium.delete(channel, check_name(queue))

    def _post(self, queue: str, letter: Letter, delay: float = 0.0) -> None:
        self._persistently(lambda channel: self._put(channel, queue, letter, delay))
        self._ring(queue)

    def _put(self, channel: Channel, queue: str, letter: Letter, delay: float) -> None:
        if delay > 0:
            self.medium.delay(channel, queue, letter, time.time() + delay)
        else:
            self.medium.put(channel, queue, replace(letter, not_before=0.0))

    def _reply(self, queue: str, letter: Letter) -> None:
        if queue.startswith(f"{REPLY}@"):
            self._persistently(lambda channel: self._put_own(channel, queue, letter))
            self._ring(queue)

    def _put_own(self, channel: Channel, queue: str, letter: Letter) -> None:
        """Give a letter to one who may be gone."""
        try:
            self.medium.put(channel, queue, letter)
        except FileNotFoundError:
            log.debug("bus.recipient.gone")

    def _inbox(self, queue: str, threads: int) -> KombuInbox:  # noqa: ARG002 — each thread fetches for itself
        inbox = KombuInbox(queue, self.medium, self._channels, self._put, self._forget)
        with self._lock:
            self._inboxes.add(inbox)
        self._wake.set()
        return inbox

    def _topic_inbox(self, topic: str) -> KombuInbox:
        return self._inbox(self._own_queue(topic), 1)

    def _reply_inbox(self) -> KombuInbox:
        self._replying = self._inbox(self._own_queue(REPLY), 1)
        return self._replying

    def _own_queue(self, kind: str) -> str:
        return self._persistently(lambda channel: self.medium.own_queue(channel, kind))

    def _reply_queue(self, deadline: float) -> str:  # noqa: ARG002 — it is ready at once
        return self._replying.queue

    def _disconnect(self) -> None:
        self._closing.set()
        self._wake.set()
        self._clock.join(self.timeout)
        self._channels.close()
        self.medium.close()

    def _persistently(self, action: Callable[[Channel], T]) -> T:
        """Repeat an action over failures of the broker until it works or the time is over."""
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                with self._channels.use() as channel:
                    return action(channel)
            except BusError:
                if time.monotonic() + RETRY_PAUSE >= deadline:
                    raise
                time.sleep(RETRY_PAUSE)

    def _ring(self, queue: str) -> None:
        """Spare our own workers the wait for the clock."""
        with self._lock:
            inboxes = [inbox for inbox in self._inboxes if inbox.queue == queue]
        for inbox in inboxes:
            inbox.ring()

    def _forget(self, inbox: KombuInbox) -> None:
        with self._lock:
            self._inboxes.discard(inbox)
            self._left.append(inbox)
        self._wake.set()

    def _run(self) -> None:
        """Look for letters and do the chores until the bus is closed."""
        channel: Channel | None = None
        while not self._closing.is_set():
            try:
                channel = channel or self._channels.acquire()
                with self._channels.translated(channel):
                    self._tick(channel)
                self._up.set()
            except BusError as error:
                channel = None
                if self._up.is_set():
                    log.warning("bus.disconnected", reason=str(error))
                self._up.clear()
                self._closing.wait(RETRY_PAUSE)
            except Exception as error:  # noqa: BLE001 — the outermost loop: without it the bus is dead
                channel = None
                log.error("bus.failed", error=kind(error), where=raised_at(error))
                self._closing.wait(RETRY_PAUSE)
            self._pause()
        if channel is not None:
            self._leave(channel)
            self._channels.release(channel)

    def _pause(self) -> None:
        """Wait for the next look; with nobody to look for, wait longer."""
        if self._inboxes:
            self._closing.wait(self.medium.interval)
        else:
            self._wake.wait(IDLE_INTERVAL)
            self._wake.clear()

    def _tick(self, channel: Channel) -> None:
        self._leave_queues(channel)
        with self._lock:
            inboxes = list(self._inboxes)
        self.medium.tick(channel, {inbox.queue for inbox in inboxes})
        wanted = [inbox for inbox in inboxes if inbox.wanted]
        waiting = set(self.medium.waiting(channel, {inbox.queue for inbox in wanted}))
        for inbox in wanted:
            if inbox.queue in waiting:
                inbox.ring()

    def _leave(self, channel: Channel) -> None:
        try:
            with self._channels.translated(channel):
                self._leave_queues(channel)
        except BusError as error:
            log.warning("bus.failed", reason=str(error))

    def _leave_queues(self, channel: Channel) -> None:
        """Let others have what is held for queues that are no longer consumed here."""
        with self._lock:
            left, self._left = self._left, []
            kept = {inbox.queue for inbox in self._inboxes}
        for queue in {inbox.queue for inbox in left} - kept:
            if "@" in queue:
                self.medium.drop_own(channel, queue)
            else:
                self.medium.leave(channel, queue)


def _medium(url: str) -> Medium:
    """Return the medium of a URL.

    Raises:
        BusError: the URL makes no sense. It is not quoted, for it may hold a password.
    """
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return Memory(url.partition("://")[2])
    if parts.scheme == "filesystem":
        if not parts.path.startswith("/") or parts.netloc:
            raise BusError(
                "filesystem:// wants a full path: filesystem:///var/lib/crossdock/broker"
            )
        return _filesystem(Path(unquote(parts.path)))
    from crossdock.bus.kombu_bus.redis import Redis  # noqa: PLC0415 — half a second to import

    try:
        return Redis(url)
    except (ValueError, TypeError, KeyError):
        raise BusError("not a Redis URL, such as redis://:password@host:6379/0") from None


def _filesystem(path: Path) -> Filesystem:
    try:
        return Filesystem(path)
    except OSError as error:
        raise BusError(f"cannot use {path} for the broker: {error.strerror}") from error
