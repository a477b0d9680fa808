"""kombu's Redis transport, with two holes closed: see the README of ``bus``."""

import secrets
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from queue import Empty
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from kombu.connection import Connection
from kombu.transport import redis, virtual

from crossdock.bus.kombu_bus import envelope
from crossdock.bus.kombu_bus.held import Held, beside
from crossdock.bus.kombu_bus.medium import Medium
from crossdock.bus.letter import Letter


SOCKET_TIMEOUT = 5.0  # seconds
VISIBILITY_TIMEOUT = 30.0
RESTORING_SECONDS = 5.0  # for which who died in giving letters back keeps others from it
OWN_LIFETIME = 30.0

# Takes the oldest letter of a list and notes it as unacknowledged, in kombu's own format, in one
# step. kombu takes two, and a process that dies between them loses the letter.
TAKE = """
local item = redis.call('RPOP', KEYS[1])
if item then
  redis.call('HSET', KEYS[2], ARGV[1], '[' .. item .. ',"",' .. ARGV[2] .. ']')
  redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
end
return item
"""


class QoS(redis.QoS):
    """The unacknowledged letters."""

    def append(self, message: virtual.Message, delivery_tag: str) -> None:
        """Remember a letter; Redis has noted it when it was taken."""
        virtual.QoS.append(self, message, delivery_tag)


class Channel(redis.Channel):
    """kombu's channel, taking letters in one step."""

    QoS = QoS

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:  # noqa: ARG002 — kombu's signature
        tag = secrets.token_hex(12)
        with self.conn_or_acquire() as client:
            keys = (queue, self.unacked_key, self.unacked_index_key)
            item = client.eval(TAKE, len(keys), *keys, tag, f'"{queue}"', time.time())
        if item is None:
            raise Empty
        return envelope.parse(item, queue, tag)


class Transport(redis.Transport):
    """kombu's transport with our channel."""

    Channel = Channel


class Redis(Medium):
    """A Redis server. Whoever works on a letter says so again and again; who falls silent is dead.

    The seconds of silence after which a letter goes to somebody else may be set in the URL, as in
    ``redis://host/0?visibility_timeout=60``; they must be the same for all who share the server.
    """

    interval = 0.04

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        self._visibility = float(query.pop("visibility_timeout", VISIBILITY_TIMEOUT))
        self._url = urlunsplit(parts._replace(query=urlencode(query)))
        self._held = Held(self.place, self.put, self.waiting)
        self._mine: set[str] = set()
        self._own: set[str] = set()
        self._lock = threading.Lock()
        self._touched = 0.0
        probe = self.connection()
        self.errors = (*probe.connection_errors, *probe.channel_errors)

    def connection(self) -> Connection:
        """See ``Medium.connection``."""
        options = {
            "polling_interval": None,
            "priority_steps": [0],
            "socket_timeout": SOCKET_TIMEOUT,
            "socket_connect_timeout": SOCKET_TIMEOUT,
            "unacked_key": "crossdock.unacked",
            "unacked_index_key": "crossdock.unacked_index",
            "unacked_mutex_key": "crossdock.unacked_mutex",
            "unacked_mutex_expire": min(RESTORING_SECONDS, self._visibility),
            "visibility_timeout": self._visibility,
        }
        return Connection(self._url, transport=Transport, transport_options=options)

    def place(self, queue: str) -> str:
        """See ``Medium.place``."""
        return f"crossdock.{queue}"

    def waiting(self, channel: envelope.Channel, queues: Collection[str]) -> Iterable[str]:
        """See ``Medium.waiting``."""
        with channel.conn_or_acquire() as client:
            pipe = client.pipeline(transaction=False)
            for queue in queues:
                pipe.llen(self.place(queue))
            return [queue for queue, size in zip(queues, pipe.execute(), strict=True) if size]

    def own_queue(self, channel: envelope.Channel, kind: str) -> str:
        """See ``Medium.own_queue``."""
        queue = f"{kind}@{secrets.token_hex(8)}"
        with self._lock:
            self._own.add(queue)
        self._announce(channel, [queue])
        return queue

    def owned(self, channel: envelope.Channel, kind: str) -> Iterable[str]:
        """See ``Medium.owned``."""
        with channel.conn_or_acquire() as client:
            members = client.zrange(
                self._members(kind), time.time() - OWN_LIFETIME, "+inf", byscore=True
            )
        return [member.decode() for member in members]

    def drop_own(self, channel: envelope.Channel, queue: str) -> None:
        """See ``Medium.drop_own``."""
        with self._lock:
            self._own.discard(queue)
        with channel.conn_or_acquire() as client:
            client.zrem(self._members(_kind(queue)), queue)
        self.delete(channel, queue)

    def delay(self, channel: envelope.Channel, queue: str, letter: Letter, due: float) -> None:
        """See ``Medium.delay``."""
        self.put(channel, beside(queue), replace(letter, not_before=due))

    def put(self, channel: envelope.Channel, queue: str, letter: Letter) -> None:
        """See ``Medium.put``. Nobody may be there to read a queue of somebody's own."""
        super().put(channel, queue, letter)
        if "@" in queue and not queue.endswith(beside("")):
            with channel.conn_or_acquire() as client:
                client.expire(self.place(queue), int(2 * OWN_LIFETIME))

    def delete(self, channel: envelope.Channel, queue: str) -> None:
        """See ``Medium.delete``."""
        self._held.forget(queue)
        super().delete(channel, queue)
        super().delete(channel, beside(queue))

    def took(self, tag: str) -> None:
        """See ``Medium.took``."""
        with self._lock:
            self._mine.add(tag)

    def settled(self, tag: str) -> None:
        """See ``Medium.settled``."""
        with self._lock:
            self._mine.discard(tag)

    def tick(self, channel: envelope.Channel, queues: Collection[str]) -> None:
        """See ``Medium.tick``."""
        self._held.tick(channel, {queue for queue in queues if "@" not in queue})
        if time.monotonic() - self._touched < min(1.0, self._visibility / 4):
            return
        self._touched = time.monotonic()
        with self._lock:
            tags = [*self._mine, *self._held.tags()]
            own = list(self._own)
        self._touch(channel, tags)
        self._announce(channel, own)
        channel.qos.restore_visible(num=channel.unacked_restore_limit, interval=1)

    def leave(self, channel: envelope.Channel, queue: str) -> None:
        """See ``Medium.leave``."""
        self._held.give_back(channel, queue)

    def _touch(self, channel: envelope.Channel, tags: list[str]) -> None:
        """Say that we still work on these; those that are settled by now stay settled."""
        with channel.conn_or_acquire() as client:
            if tags:
                now = time.time()
                client.zadd(channel.unacked_index_key, dict.fromkeys(tags, now), xx=True)
            else:
                client.ping()

    def _announce(self, channel: envelope.Channel, queues: list[str]) -> None:
        """Say that queues of our own have a reader."""
        with channel.conn_or_acquire() as client:
            for queue in queues:
                members = self._members(_kind(queue))
                client.zadd(members, {queue: time.time()})
                client.zremrangebyscore(members, 0, time.time() - 2 * OWN_LIFETIME)

    def _members(self, kind: str) -> str:
        return self.place(f"{kind}@all")


def _kind(queue: str) -> str:
    return queue.rpartition("@")[0]
