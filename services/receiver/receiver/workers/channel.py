"""The connection between a receiver and one worker: words, each with at most one open file."""

import errno
import os
import socket

from receiver.workers.words import WORDS, Words


_LONGEST = 65_536
"""Bytes. The longest words hold the names of a certificate; what is longer goes as a file."""


class Channel:
    """One end of a socket pair. Any thread may send; one receives.

    A packet is a message, so that none is ever read in part, and it ends when the other process
    does, however that ends.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def send(self, words: Words, descriptor: int | None = None, *, wait: bool = True) -> None:
        """Send words, and with them a copy of an open file.

        Raises:
            OSError: the other end is gone, or with ``wait=False`` takes nothing more for now; or
                the words are too long.
        """
        data = words.model_dump_json().encode()
        if len(data) > _LONGEST:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        flags = socket.MSG_NOSIGNAL | (0 if wait else socket.MSG_DONTWAIT)
        descriptors = [] if descriptor is None else [descriptor]
        socket.send_fds(self._socket, [data], descriptors, flags)

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
