"""What is sent of an instance at once: an object or a part of one, in memory."""

import hashlib
import io
import threading
from base64 import b64encode
from functools import cached_property

from crossdock.pace import UNLIMITED, Pace
from crossdock.protocols.failures import Interrupted
from crossdock.protocols.payload import Payload


PART_SIZE = 8 * 1024 * 1024
"""Bytes from which on an object is sent in parts, and of each part."""

_MOST_PARTS = 10_000  # what S3 allows


def part_size(size: int) -> int:
    """Return how large the parts of an object of ``size`` bytes are."""
    return max(PART_SIZE, -(-size // _MOST_PARTS))


class Body(io.BytesIO):
    """Some bytes, their MD5, and a way to have whoever sends them fail: set ``stopped``.

    As a stream it is sent piece by piece, so that a time-out is about each piece. It keeps to
    ``pace`` while it is ``leaving``, and not when it is read only to be signed.
    """

    def __init__(self, data: bytes, stopped: threading.Event, pace: Pace = UNLIMITED) -> None:
        super().__init__(data)
        self._stopped = stopped
        self._pace = pace
        self.leaving = False

    @cached_property
    def md5(self) -> bytes:
        """The digest that stores compare."""
        return hashlib.md5(self.getbuffer(), usedforsecurity=False).digest()

    @property
    def content_md5(self) -> str:
        """The digest as the header Content-MD5 has it (RFC 1864)."""
        return b64encode(self.md5).decode()

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes.

        Raises:
            Interrupted: nobody waits for the upload any longer.
        """
        if self._stopped.is_set():
            raise Interrupted
        if not (self.leaving and self._pace.limited):
            return super().read(size)
        most = self._pace.slice
        data = super().read(most if size is None or size < 0 else min(size, most))
        self._pace.wait(len(data))
        return data


def read_body(
    payload: Payload, position: int, length: int, stopped: threading.Event, pace: Pace
) -> Body:
    """Return ``length`` bytes of an instance's file, fewer only at its end.

    Raises:
        SpoolUnreadable: the spool's file cannot be read.
    """
    length = min(length, payload.size - position)
    pieces, read = [], 0
    while read < length:
        pieces.append(payload.pread(length - read, position + read))
        read += len(pieces[-1])
    return Body(pieces[0] if len(pieces) == 1 else b"".join(pieces), stopped, pace)
