"""The connection between a receiver and one worker: words, each with at most one open file."""

import array
import errno
import os
import select
import socket

from receiver.workers.words import WORDS, Words


_AT_ONCE = socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT
_LONGEST = 65_536
"""Bytes. The longest words hold the names of a certificate; what is longer goes as a file."""


class Channel:
    """One end of a socket pair. Any thread may send; one receives.

    A packet is a message, so that none is ever read in part, and it ends when the other process
    does, however that ends.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send(
        self, words: Words, descriptor: int | None = None, *, seconds: float | None = None
    ) -> None:
        """Send words, and with them a copy of an open file; wait at most ``seconds`` for room.

        Raises:
            OSError: the other end is gone, or did not make room; or the words are too long.
        """
        data = words.model_dump_json().encode()
        if len(data) > _LONGEST:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        rights = [] if descriptor is None else [array.array("i", [descriptor])]
        files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, right) for right in rights]
        while True:
            try:
                self._socket.sendmsg([data], files, _AT_ONCE)  # socket.send_fds drops the flags
            except BlockingIOError:
                self._wait_for_room(seconds)
            else:
                return

    def _wait_for_room(self, seconds: float | None) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        if not poll.poll(None if seconds is None else seconds * 1000):
            raise BlockingIOError(errno.EAGAIN, "the other process does not listen")

    def receive(self) -> tuple[Words, int | None] | None:
        """Wait for words and the open file that came with them; None when the other end is gone."""
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._socket, _LONGEST, 1, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            return None
        if not data:
            return None
        return WORDS.validate_json(data), descriptors[0] if descriptors else None

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
