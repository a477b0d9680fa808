"""An inbox on a queue that has to be looked at to know whether something came."""

import threading
from collections.abc import Callable

from kombu.transport.virtual import Message

from crossdock.bus.kombu_bus.channels import Channels
from crossdock.bus.kombu_bus.envelope import Channel
from crossdock.bus.kombu_bus.medium import Medium
from crossdock.bus.letter import Letter, dead, read


Put = Callable[[Channel, str, Letter, float], None]


class KombuTaken:
    """A letter in work, and the channel it came by, which is ours until it is settled."""

    def __init__(self, inbox: "KombuInbox", message: Message) -> None:
        self.letter = read(message.body, message.headers)
        self._inbox = inbox
        self._message = message
        inbox.medium.took(message.delivery_tag)

    def done(self) -> None:
        """See ``Taken.done``."""
        self._settle(self._message.ack)

    def again(self, letter: Letter, delay: float) -> None:
        """See ``Taken.again``."""
        self._replace(self._inbox.queue, letter, delay)

    def bury(self, letter: Letter) -> None:
        """See ``Taken.bury``."""
        self._replace(dead(self._inbox.queue), letter, 0.0)

    def give_back(self) -> None:
        """See ``Taken.give_back``."""
        if self._message.acknowledged:
            return
        if self._message.channel.connection is not None:
            self._settle(self._message.requeue)
            return
        # Its own channel has failed and is gone; the broker knows the letter by its tag.
        with self._inbox.channels.use() as channel:
            channel.basic_reject(self._message.delivery_tag, requeue=True)

    def _replace(self, queue: str, letter: Letter, delay: float) -> None:
        def replace() -> None:
            self._inbox.put(self._message.channel, queue, letter, delay)
            self._message.ack()

        self._settle(replace)

    def _settle(self, action: Callable[[], None]) -> None:
        channel = self._message.channel
        try:
            with self._inbox.channels.translated(channel):
                action()
        finally:
            self._inbox.medium.settled(self._message.delivery_tag)
        self._inbox.channels.release(channel)


class KombuInbox:
    """The letters of one queue. Whoever waits is woken by ``ring``."""

    def __init__(
        self,
        queue: str,
        medium: Medium,
        channels: Channels,
        put: Put,
        closed: Callable[["KombuInbox"], None],
    ) -> None:
        self.queue = queue
        self.medium = medium
        self.channels = channels
        self.put = put
        self._closed = closed
        self._bell = threading.Condition()
        self._waiting = 0
        self._stopped = False

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for a letter."""
        return self._waiting > 0

    def take(self) -> KombuTaken | None:
        """See ``Inbox.take``."""
        taken = self._fetch()
        if taken is not None:
            self.ring()  # there may be more, for others who wait
            return taken
        with self._bell:
            if not self._stopped:
                self._waiting += 1
                self._bell.wait()
                self._waiting -= 1
        return None

    def ring(self) -> None:
        """Wake one who waits: there may be a letter."""
        with self._bell:
            self._bell.notify()

    def stop(self) -> None:
        """See ``Inbox.stop``."""
        with self._bell:
            self._stopped = True
            self._bell.notify_all()

    def close(self) -> None:
        """See ``Inbox.close``."""
        self._closed(self)

    def _fetch(self) -> KombuTaken | None:
        channel = self.channels.acquire()
        with self.channels.translated(channel):
            message = channel.basic_get(self.medium.place(self.queue))
        if message is None:
            self.channels.release(channel)
            return None
        return KombuTaken(self, message)
