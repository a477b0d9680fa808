"""Sends the dataset of a file as P-DATA-TF PDUs: few large steps, nothing held in memory.

Large PDUs on plain TCP are sent by the kernel from its cache (sendfile). Otherwise the file is
read straight into the gaps between PDU headers that lie ready in a buffer, and sent at once.

Fragments have an even length (PS3.8 E.2). A dataset of an odd one, which deflating makes and
truncated files have, gets a zero byte at its end: peers abort the association otherwise.
"""

import os
import socket
from typing import Final

from crossdock.dicom.connection import Connection, describe
from crossdock.dicom.pdu import FRAME_LENGTH, LAST, frame, pack_frame
from crossdock.errors import SpoolError
from crossdock.pace import Pace


_MORE: Final = getattr(socket, "MSG_MORE", 0)
_SENDFILE_FROM = 32 * 1024
"""PDUs with less data than this cost more as two calls each than as a copy."""

_BATCH = 256 * 1024
_MAX_PDUS = 512


class DatasetSender:
    """Sends datasets over one connection, in PDUs with at most ``max_data`` bytes of data.

    With a limited ``pace`` they are no larger than its slices.
    """

    def __init__(self, connection: Connection, max_data: int, seconds: float, pace: Pace) -> None:
        self._connection = connection
        self._max_data = max_data = min(max_data, pace.slice)
        self._seconds = seconds
        self._pace = pace
        self._whole = max_data >= _SENDFILE_FROM and not connection.encrypted and bool(_MORE)
        if not self._whole:
            self._lay_out()

    def send(self, command: bytes, context_id: int, file: int, offset: int, end: int) -> None:
        """Send encoded ``command`` PDUs, then the bytes ``offset`` to ``end`` of an open file.

        Raises:
            AssociationAborted: the connection is gone.
            PeerTimeout: the peer stopped taking data.
            SpoolError: the file ended early; the association can only be aborted.
        """
        if offset > end:
            raise SpoolError("an instance's file ended before its dataset began")
        if offset == end:
            self._connection.send(command + frame(context_id, LAST, 0), self._seconds)
        elif self._whole:
            self._send_whole(command, context_id, file, offset, end)
        else:
            self._send_batches(command, context_id, file, offset, end)

    def _send_whole(
        self, command: bytes, context_id: int, file: int, offset: int, end: int
    ) -> None:
        while offset < end:
            length = min(self._max_data, end - offset)
            control = LAST if offset + length == end else 0
            head = command + frame(context_id, control, length + length % 2)
            self._pace.wait(length)
            self._connection.send(head, self._seconds, _MORE)
            self._connection.send_file(file, offset, length, self._seconds)
            if length % 2:
                self._connection.send(b"\0", self._seconds)
            offset += length
            command = b""

    def _lay_out(self) -> None:
        step = self._max_data + FRAME_LENGTH
        count = min(max(min(_BATCH, self._pace.slice) // step, 1), _MAX_PDUS)
        self._buffer = bytearray(count * step)
        self._view = memoryview(self._buffer)
        self._heads = [index * step for index in range(count)]
        self._gaps = [self._view[head + FRAME_LENGTH :][: self._max_data] for head in self._heads]

    def _send_batches(
        self, command: bytes, context_id: int, file: int, offset: int, end: int
    ) -> None:
        self._connection.send(command, self._seconds, 0 if self._connection.encrypted else _MORE)
        while offset < end:
            length = min(end - offset, len(self._gaps) * self._max_data)
            used, gaps = 0, []
            for head, gap in zip(self._heads, self._gaps, strict=True):
                data = min(self._max_data, length - used)
                if not data:
                    break
                used += data
                control = LAST if offset + used == end else 0
                pack_frame(self._buffer, head, context_id, control, data + data % 2)
                if data % 2:
                    gap[data] = 0
                gaps.append(gap[:data])
            _fill(file, gaps, offset, length)
            self._pace.wait(length)
            total = length + length % 2 + len(gaps) * FRAME_LENGTH
            self._connection.send(self._view[:total], self._seconds)
            offset += length


def _fill(file: int, gaps: list[memoryview], offset: int, length: int) -> None:
    try:
        read = os.preadv(file, gaps, offset)
    except OSError as error:
        raise SpoolError(f"cannot read an instance's file: {describe(error)}") from None
    if read != length:
        raise SpoolError("an instance's file ended before its dataset was sent")
