"""What is sent of instances: a file, or a zip of several, as streams whose length is known.

A zip is written as ``java.util.zip.ZipInputStream`` reads it, which XNAT uses: entries that are
stored must have size and CRC before their data, not after (APPNOTE 4.3.7, 4.4.4 bit 3). So each
file is read twice, the second time mostly from memory.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from crossdock.protocols.base import Outgoing
from crossdock.protocols.failures import SpoolUnreadable
from crossdock.protocols.payload import Payload


_BLOCK = 1024 * 1024
_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_LOCAL_SIGNATURE, _CENTRAL_SIGNATURE, _END_SIGNATURE = 0x04034B50, 0x02014B50, 0x06054B50
_VERSION = 10  # of the format: stored files and nothing else
_1980_01_01 = 0x21


class Body(Protocol):
    """What a request sends; ``blocks`` may be called again."""

    content_type: str
    length: int

    def blocks(self) -> Iterator[bytes]:
        """Yield the content.

        Raises:
            SpoolUnreadable: a file of the spool cannot be read.
        """


class FileBody:
    """One instance as a Part 10 file.

    Raises:
        SpoolUnreadable: its file in the spool cannot be read.
    """

    content_type = "application/dicom"

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        with Payload(outgoing) as payload:
            self.length = payload.size

    def blocks(self) -> Iterator[bytes]:
        """See ``Body``."""
        return _content(self._outgoing, self.length)


@dataclass(frozen=True, slots=True)
class _Entry:
    outgoing: Outgoing
    name: bytes
    size: int
    crc: int
    offset: int

    @property
    def end(self) -> int:
        return self.offset + _LOCAL.size + len(self.name) + self.size

    def local(self) -> bytes:
        """Return the local file header (APPNOTE 4.3.7)."""
        return _LOCAL.pack(
            _LOCAL_SIGNATURE, _VERSION, 0, 0, 0, _1980_01_01,
            self.crc, self.size, self.size, len(self.name), 0,
        ) + self.name  # fmt: skip

    def central(self) -> bytes:
        """Return the central directory header (APPNOTE 4.3.12)."""
        return _CENTRAL.pack(
            _CENTRAL_SIGNATURE, _VERSION, _VERSION, 0, 0, 0, _1980_01_01,
            self.crc, self.size, self.size, len(self.name), 0, 0, 0, 0, 0, self.offset,
        ) + self.name  # fmt: skip


class ZipBody:
    """Several instances as a zip file, below 4 GB.

    Raises:
        SpoolUnreadable: a file of the spool cannot be read.
    """

    content_type = "application/zip"

    def __init__(self, instances: Sequence[Outgoing]) -> None:
        self._entries: list[_Entry] = []
        offset = 0
        for outgoing in instances:
            self._entries.append(_entry(outgoing, offset))
            offset = self._entries[-1].end
        self._directory = b"".join(entry.central() for entry in self._entries)
        count = len(self._entries)
        self._end = _END.pack(
            _END_SIGNATURE, 0, 0, count, count, len(self._directory), offset, 0
        )  # fmt: skip
        self.length = offset + len(self._directory) + len(self._end)

    def blocks(self) -> Iterator[bytes]:
        """See ``Body``."""
        for entry in self._entries:
            yield entry.local()
            yield from _content(entry.outgoing, entry.size)
        yield self._directory + self._end


def _entry(outgoing: Outgoing, offset: int) -> _Entry:
    crc = 0
    with Payload(outgoing) as payload:
        size = payload.size
        for block in _content(outgoing, size):
            crc = zlib.crc32(block, crc)
    # The names are of no interest: XNAT is asked to make its own.
    return _Entry(outgoing, b"%d.dcm" % outgoing.instance.number, size, crc, offset)


def _content(outgoing: Outgoing, size: int) -> Iterator[bytes]:
    """Yield exactly ``size`` bytes of an instance's file."""
    position = 0
    with Payload(outgoing) as payload:
        while position < size:
            block = payload.pread(min(_BLOCK, size - position), position)
            if not block:
                raise SpoolUnreadable("it is shorter than it was")
            position += len(block)
            yield block
