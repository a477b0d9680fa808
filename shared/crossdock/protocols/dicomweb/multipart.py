"""The body of a STOW-RS request: instances one after the other, straight from the disk.

Its length is known before anything is sent: some servers refuse a body without (RFC 2046 5.1,
PS3.18 8.6.1.2).
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from crossdock.protocols.base import Outgoing
from crossdock.protocols.failures import SpoolUnreadable
from crossdock.protocols.payload import Payload


_BLOCK = 256 * 1024


class PartDamaged(SpoolUnreadable):
    """An instance's file could not be read to its end; the request cannot be finished."""

    def __init__(self, part: "Part", words: str) -> None:
        super().__init__(words)
        self.part = part


@dataclass(frozen=True, slots=True)
class Part:
    """An instance to send, and how many bytes that are."""

    outgoing: Outgoing
    size: int


def part_of(outgoing: Outgoing) -> Part:
    """Return an instance as a part.

    Raises:
        SpoolUnreadable: its file is damaged.
    """
    with Payload(outgoing) as payload:
        return Part(outgoing, payload.size)


class Multipart:
    """A body of several parts; it can be read any number of times."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._boundary = f"crossdock-{secrets.token_hex(16)}"
        self._end = f"--{self._boundary}--\r\n".encode()

    @property
    def content_type(self) -> str:
        """The media type of the body, with its boundary."""
        return f'multipart/related; type="application/dicom"; boundary={self._boundary}'

    @property
    def length(self) -> int:
        """Bytes of the whole body."""
        around = sum(len(self._head(part)) + len(b"\r\n") for part in self._parts)
        return around + sum(part.size for part in self._parts) + len(self._end)

    def blocks(self, go_on: Callable[[], None]) -> Iterator[bytes]:
        """Yield the body; ``go_on`` is called before each block and may raise to stop.

        Raises:
            PartDamaged: a file cannot be read, or is not what it was.
        """
        for part in self._parts:
            try:
                yield from self._blocks_of(part, go_on)
            except SpoolUnreadable as error:
                raise PartDamaged(part, str(error)) from error
        go_on()
        yield self._end

    def _head(self, part: Part) -> bytes:
        """Return what comes before a part; one that knows its length need not be searched."""
        return (
            f"--{self._boundary}\r\nContent-Type: application/dicom\r\n"
            f"Content-Length: {part.size}\r\n\r\n"
        ).encode()

    def _blocks_of(self, part: Part, go_on: Callable[[], None]) -> Iterator[bytes]:
        with Payload(part.outgoing) as payload:
            if payload.size != part.size:
                raise SpoolUnreadable("it is not as long as it was")
            position = 0
            pending = self._head(part)
            while position < part.size:
                go_on()
                block = payload.pread(_BLOCK, position)
                position += len(block)
                yield pending + block if pending else block
                pending = b""
        yield b"\r\n"
