"""kombu's filesystem transport, on queues that have a folder each: see the README of ``bus``."""

import json
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.connection import Connection
from kombu.exceptions import ChannelError
from kombu.transport import filesystem, virtual

from crossdock.bus.kombu_bus import envelope
from crossdock.bus.kombu_bus.folders import Folders
from crossdock.bus.kombu_bus.medium import Medium
from crossdock.bus.letter import Letter


REAP_INTERVAL = 1.0  # seconds


class QoS(virtual.QoS):
    """The letters in work."""

    def ack(self, delivery_tag: str) -> None:
        """Forget a letter."""
        queue, _, name = delivery_tag.partition("/")
        self.channel.folders.done(queue, name)
        super().ack(delivery_tag)  # type: ignore[no-untyped-call]  # kombu has no types

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Give a letter back, under the name it had."""
        queue, _, name = delivery_tag.partition("/")
        if requeue:
            self.channel.folders.give_back(queue, name)
        self.ack(delivery_tag)


class Channel(filesystem.Channel):
    """kombu's channel, storing in ``Folders``."""

    QoS = QoS
    # What a channel holds when it is closed is still in work, or given back when its process ends.
    do_restore = False

    @property
    def folders(self) -> Folders:
        """Where the letters are."""
        folders: Folders = self.transport_options["folders"]
        return folders

    def _put(self, queue: str, payload: dict[str, Any], **_: object) -> None:  # type: ignore[override]  # two of kombu's own disagree
        due = payload["properties"].get("due", 0.0)
        self.folders.put(queue, json.dumps(payload).encode(), due)

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:  # noqa: ARG002 — kombu's signature
        taken = self.folders.take(queue)
        if taken is None:
            raise Empty
        name, content = taken
        return envelope.parse(content, queue, f"{queue}/{name}")

    def _size(self, queue: str) -> int:
        return self.folders.size(queue)

    def _purge(self, queue: str) -> int:
        self.folders.delete(queue)
        return 0


class Transport(filesystem.Transport):
    """kombu's transport with our channel."""

    Channel = Channel


class Filesystem(Medium):
    """A directory that the processes of one machine share."""

    interval = 0.02
    errors = (OSError, ChannelError)

    def __init__(self, root: Path) -> None:
        self._folders = Folders(root)
        self._reaped = 0.0

    def connection(self) -> Connection:
        """See ``Medium.connection``."""
        options = {"polling_interval": None, "folders": self._folders}
        return Connection(transport=Transport, transport_options=options)

    def place(self, queue: str) -> str:
        """See ``Medium.place``."""
        return queue

    def waiting(self, channel: envelope.Channel, queues: Collection[str]) -> Iterable[str]:
        """See ``Medium.waiting``."""
        return [queue for queue in queues if channel.folders.waiting(queue)]

    def own_queue(self, channel: envelope.Channel, kind: str) -> str:
        """See ``Medium.own_queue``."""
        return str(channel.folders.own(kind))

    def owned(self, channel: envelope.Channel, kind: str) -> Iterable[str]:
        """See ``Medium.owned``."""
        queues: list[str] = channel.folders.owned(kind)
        return queues

    def drop_own(self, channel: envelope.Channel, queue: str) -> None:
        """See ``Medium.drop_own``."""
        self.delete(channel, queue)

    def delay(self, channel: envelope.Channel, queue: str, letter: Letter, due: float) -> None:
        """See ``Medium.delay``. The folder knows delays, so nobody need hold them."""
        message = envelope.prepare(channel, letter)
        message["properties"]["due"] = due
        channel.basic_publish(message, "", queue)

    def tick(self, channel: envelope.Channel, queues: Collection[str]) -> None:
        """See ``Medium.tick``."""
        for queue in queues:
            channel.folders.promote(queue)
        if time.monotonic() - self._reaped >= REAP_INTERVAL:
            self._reaped = time.monotonic()
            channel.folders.live()
            channel.folders.reap()

    def leave(self, channel: envelope.Channel, queue: str) -> None:
        """See ``Medium.leave``. Nothing is held."""

    def close(self) -> None:
        """See ``Medium.close``."""
        self._folders.close()
