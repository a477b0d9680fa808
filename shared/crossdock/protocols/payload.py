"""An instance as a file for a target: who sent it is in its file meta, from which address is not.

The spool's own file says where an instance came from, down to the address; what leaves has file
meta made anew, followed by the dataset as it came.
"""

import contextlib
import hashlib
import io
import os

from crossdock.dicom.part10 import file_meta, parse_file_meta
from crossdock.errors import DicomError
from crossdock.model import Instance
from crossdock.protocols.base import Outgoing
from crossdock.protocols.failures import SpoolUnreadable


_LONGEST_META = 64 * 1024
_BLOCK = 1024 * 1024


class Payload(io.RawIOBase):
    """The bytes of an instance's file for a target; a seekable binary stream that is not written.

    ``size`` is its length in bytes. ``meta`` and then ``file`` from ``offset`` on are its content.

    Raises:
        SpoolUnreadable: by the constructor and by whatever reads: the spool's file is damaged.
    """

    def __init__(self, outgoing: Outgoing) -> None:
        super().__init__()
        self._position = 0
        self.meta = meta_of(outgoing.instance)
        try:
            self.file = os.open(outgoing.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SpoolUnreadable(_words(error)) from error
        try:
            length = os.fstat(self.file).st_size
            self.offset = _dataset_offset(self.file, length)
        except BaseException:
            self.close()  # not only the file: whoever collects this object closes it once more
            raise
        self.size = len(self.meta) + length - self.offset

    def pread(self, length: int, position: int) -> bytes:
        """Return up to ``length`` bytes from ``position`` on; safe to call from several threads."""
        head = self.meta[position : position + length]
        if len(head) == length or position + len(head) >= self.size:
            return head
        place = position + len(head) - len(self.meta) + self.offset
        try:
            body = os.pread(self.file, length - len(head), place)
        except OSError as error:
            raise SpoolUnreadable(_words(error)) from error
        if not body:
            raise SpoolUnreadable("it is shorter than it was")
        return head + body if head else body

    def digest(self, algorithm: str) -> bytes:
        """Return the digest of all of it, such as by ``sha256``."""
        digest = hashlib.new(algorithm, usedforsecurity=False)
        position = 0
        while block := self.pread(_BLOCK, position):
            digest.update(block)
            position += len(block)
        return digest.digest()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any buffer
        """Fill a buffer from the current position on; return how many bytes that were."""
        data = self.pread(len(buffer), self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position and return it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """Return the current position."""
        return self._position

    def close(self) -> None:
        """Close the spool's file. Closing twice is fine."""
        file, self.file = getattr(self, "file", -1), -1
        if file >= 0:
            with contextlib.suppress(OSError):
                os.close(file)
        super().close()


def meta_of(instance: Instance) -> bytes:
    """Return file meta that tells who sent the instance, but not from which address."""
    return file_meta(
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        transfer_syntax_uid=instance.transfer_syntax_uid,
        calling_ae_title=instance.calling_ae_title,
        called_ae_title=instance.called_ae_title,
    )


def _dataset_offset(file: int, length: int) -> int:
    try:
        meta = parse_file_meta(os.pread(file, _LONGEST_META, 0), length, "file")
    except OSError as error:
        raise SpoolUnreadable(_words(error)) from error
    except DicomError as error:
        raise SpoolUnreadable(str(error)) from error
    if meta is None:
        raise SpoolUnreadable("the file meta information is cut off")
    return meta.dataset_offset


def _words(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
