"""One message on its way in: a command set, then for C-STORE a dataset that streams to a writer."""

from crossdock.dicom import dimse
from crossdock.dicom.errors import AbortReason, ProtocolError
from crossdock.dicom.pdu import COMMAND, LAST, Fragment
from crossdock.dicom.storage_handler import InstanceWriter, guarded


MAX_CHUNKS = 512
"""Most pieces that a writer gets at once: a gathering write takes 1024 on Linux."""


class CommandBuffer:
    """Puts the fragments of a command set together (PS3.8 E.2)."""

    def __init__(self) -> None:
        self._context_id = 0
        self._data = bytearray()

    def __bool__(self) -> bool:
        return bool(self._data)

    def add(self, fragment: Fragment) -> dimse.Command | None:
        """Return the command once its last fragment is there.

        Raises:
            ProtocolError: the fragment is not of this command, or the command is malformed.
        """
        if not fragment.control & COMMAND:
            raise ProtocolError(AbortReason.UNEXPECTED_PDU_PARAMETER, "data without a command")
        if self._data and fragment.context_id != self._context_id:
            raise ProtocolError(AbortReason.UNEXPECTED_PDU_PARAMETER, "another context in between")
        self._context_id = fragment.context_id
        self._data += fragment.data
        if len(self._data) > dimse.MAX_COMMAND_LENGTH:
            raise ProtocolError(AbortReason.INVALID_PDU_PARAMETER, "a command set without end")
        if not fragment.control & LAST:
            return None
        data = bytes(self._data)
        self._data.clear()
        return dimse.decode(data)


class Reception:
    """The dataset that follows a command, given to ``writer`` or, without one, read over.

    ``status`` is what to answer unless writing and committing succeed.
    """

    def __init__(
        self, command: dimse.Command, context_id: int, writer: InstanceWriter | None, status: int
    ) -> None:
        self.command = command
        self.context_id = context_id
        self._writer = writer
        self._status = status
        self._chunks: list[memoryview] = []

    def add(self, fragment: Fragment) -> bool:
        """Take a fragment; True if it was the last one.

        Raises:
            ProtocolError: the fragment is not of this dataset.
        """
        if fragment.control & COMMAND or fragment.context_id != self.context_id:
            raise ProtocolError(
                AbortReason.UNEXPECTED_PDU_PARAMETER, "a dataset broken by another message"
            )
        if fragment.data:
            self._chunks.append(fragment.data)
            if len(self._chunks) == MAX_CHUNKS:
                self.flush()
        return bool(fragment.control & LAST)

    def flush(self) -> None:
        """Write what was gathered, while its memory is still valid."""
        chunks, self._chunks = self._chunks, []
        writer = self._writer
        if writer is None or not chunks:
            return
        _, failure = guarded("instance.write_failed", lambda: writer.write(chunks))
        if failure:
            self._status = failure
            self.discard()

    def finish(self) -> int:
        """Commit the instance and return the status to answer."""
        self.flush()
        if self._writer is not None:
            status, failure = guarded("instance.commit_failed", self._writer.commit)
            if status is None:
                self._status = failure
                self.discard()
            else:
                self._status, self._writer = status, None
        return self._status

    def discard(self) -> None:
        """Give the instance up."""
        writer, self._writer = self._writer, None
        if writer is not None:
            guarded("instance.discard_failed", writer.discard)
