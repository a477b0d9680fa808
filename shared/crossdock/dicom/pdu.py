"""The protocol data units of the upper layer, except the items of an association (PS3.8 9.3).

Pure: bytes in, values out. ``PduStream`` cuts what comes from a network into PDUs and fragments
without copying the data of a P-DATA-TF and without ever waiting for the whole of one.
"""

from struct import Struct
from typing import NamedTuple

from crossdock.dicom.errors import AbortReason, ProtocolError


ASSOCIATE_RQ = 0x01
ASSOCIATE_AC = 0x02
ASSOCIATE_RJ = 0x03
P_DATA_TF = 0x04
RELEASE_RQ = 0x05
RELEASE_RP = 0x06
ABORT = 0x07

COMMAND = 0x01  # message control header: the fragment is of a command set (PS3.8 E.2)
LAST = 0x02  # message control header: the last fragment of its set

MAX_ASSOCIATE_LENGTH = 1024 * 1024
"""Longest A-ASSOCIATE PDU that is read: 128 contexts with every transfer syntax fit many times."""

_SHORT_LENGTH = 4  # of the PDUs without variable fields
_MIN_ASSOCIATE_LENGTH = 68
_HEADER = Struct(">BxI")
_PDV = Struct(">IBB")
_FRAME = Struct(">BxIIBB")

_NOT_DICOM = {
    0x15: "a TLS alert instead of DICOM: that port wants TLS",
    0x16: "a TLS handshake instead of DICOM: this port is without TLS",
    0x47: "HTTP instead of DICOM",  # GET
    0x48: "HTTP instead of DICOM",  # HTTP, HEAD
    0x50: "HTTP instead of DICOM",  # POST
}
"""What the first byte of another protocol means, for people."""

FRAME_LENGTH = _FRAME.size
"""Bytes before the data of a P-DATA-TF that holds one presentation data value."""

PDV_OVERHEAD = _PDV.size
"""Bytes of a PDU's length that one presentation data value takes besides its data."""


class Fragment(NamedTuple):
    """Data of a presentation data value; ``LAST`` in ``control`` is set on its last part only."""

    context_id: int
    control: int
    data: memoryview


class Pdu(NamedTuple):
    """A PDU other than P-DATA-TF; ``body`` is what follows its length."""

    type: int
    body: bytes


class PduStream:
    """Cuts a stream of bytes into PDUs.

    ``max_length`` is the longest P-DATA-TF that is let through, as it was advertised to the peer
    (PS3.8 D.1): a longer one is refused as soon as its header is seen. 0 is no limit.
    """

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        self._type = 0
        self._pdu_left = 0
        self._pdv_left = 0
        self._context_id = 0
        self._control = 0
        self._body = bytearray()

    def feed(self, data: memoryview) -> tuple[list[Fragment | Pdu], int]:
        """Return what ``data`` completes, and how many of its bytes were used.

        The bytes not used, fewer than 6, must come first in the next call. Fragments are views
        of ``data``.

        Raises:
            ProtocolError: the peer is not speaking DICOM, or not correctly.
        """
        items: list[Fragment | Pdu] = []
        position, end = 0, len(data)
        while position < end:
            left = end - position
            if left >= FRAME_LENGTH and not self._pdu_left and not self._pdv_left:
                taken = self._open_frame(data, position)
            elif self._pdv_left:
                taken = self._take_data(data, position, left, items)
            elif self._pdu_left and self._type != P_DATA_TF:
                taken = self._take_body(data, position, left, items)
            elif left < PDV_OVERHEAD:  # a PDU's header is as long
                break
            elif self._pdu_left:
                taken = self._open_pdv(data, position, items)
            else:
                taken = self._open_pdu(data, position)
            position += taken
        return items, position

    def _take_data(
        self, data: memoryview, position: int, left: int, items: list[Fragment | Pdu]
    ) -> int:
        taken = min(left, self._pdv_left)
        self._pdv_left -= taken
        control = self._control & ~LAST if self._pdv_left else self._control
        items.append(Fragment(self._context_id, control, data[position : position + taken]))
        return taken

    def _take_body(
        self, data: memoryview, position: int, left: int, items: list[Fragment | Pdu]
    ) -> int:
        taken = min(left, self._pdu_left)
        self._body += data[position : position + taken]
        self._pdu_left -= taken
        if not self._pdu_left:
            items.append(Pdu(self._type, bytes(self._body)))
            self._body.clear()
        return taken

    def _open_frame(self, data: memoryview, position: int) -> int:
        """Open a PDU together with its first value, as most of them hold only that one."""
        kind, length, pdv_length, context_id, control = _FRAME.unpack_from(data, position)
        fits = length <= self._max_length or not self._max_length
        if kind != P_DATA_TF or length != pdv_length + 4 or pdv_length <= 2 or not fits:  # noqa: PLR2004 — context and control
            return self._open_pdu(data, position)
        self._type, self._pdu_left, self._pdv_left = P_DATA_TF, 0, pdv_length - 2
        self._context_id, self._control = context_id, control
        return FRAME_LENGTH

    def _open_pdv(self, data: memoryview, position: int, items: list[Fragment | Pdu]) -> int:
        length, self._context_id, self._control = _PDV.unpack_from(data, position)
        self._pdu_left -= length + 4
        self._pdv_left = length - 2
        if self._pdv_left < 0 or self._pdu_left < 0 or 0 < self._pdu_left < PDV_OVERHEAD:
            raise ProtocolError(
                AbortReason.INVALID_PDU_PARAMETER, f"a presentation data value of length {length}"
            )
        if not self._pdv_left:
            empty = data[position:position]
            items.append(Fragment(self._context_id, self._control, empty))
        return PDV_OVERHEAD

    def _open_pdu(self, data: memoryview, position: int) -> int:
        kind, length = _HEADER.unpack_from(data, position)
        if not ASSOCIATE_RQ <= kind <= ABORT:
            words = _NOT_DICOM.get(kind, f"a PDU of type {kind:02X}")
            raise ProtocolError(AbortReason.UNRECOGNISED_PDU, words)
        if kind == P_DATA_TF:
            allowed = length >= PDV_OVERHEAD and (
                length <= self._max_length or not self._max_length
            )
        elif kind in (ASSOCIATE_RQ, ASSOCIATE_AC):
            allowed = _MIN_ASSOCIATE_LENGTH <= length <= MAX_ASSOCIATE_LENGTH
        else:
            allowed = length == _SHORT_LENGTH
        if not allowed:
            raise ProtocolError(
                AbortReason.INVALID_PDU_PARAMETER, f"a PDU of type {kind:02X} and length {length}"
            )
        self._type, self._pdu_left = kind, length
        return _HEADER.size


def encode(kind: int, body: bytes) -> bytes:
    """Return a PDU of any type with its header."""
    return _HEADER.pack(kind, len(body)) + body


def encode_short(kind: int, first: int = 0, second: int = 0, third: int = 0) -> bytes:
    """Return a PDU without variable fields; ``first`` to ``third`` are its last three bytes.

    They are result, source and reason of a rejection, and nothing, source and reason of an abort.
    """
    return encode(kind, bytes((0, first, second, third)))


def pack_frame(buffer: bytearray, offset: int, context_id: int, control: int, length: int) -> None:
    """Write the headers of a P-DATA-TF with one value of ``length`` bytes into a buffer."""
    _FRAME.pack_into(
        buffer, offset, P_DATA_TF, length + PDV_OVERHEAD, length + 2, context_id, control
    )


def frame(context_id: int, control: int, length: int) -> bytes:
    """Return the headers of a P-DATA-TF with one value of ``length`` bytes."""
    return _FRAME.pack(P_DATA_TF, length + PDV_OVERHEAD, length + 2, context_id, control)


def encode_command(context_id: int, command: bytes, max_data: int) -> bytes:
    """Return a command set as P-DATA-TF PDUs, each with at most ``max_data`` bytes of it."""
    return _encode_set(context_id, COMMAND, command, max_data)


def encode_dataset(context_id: int, dataset: bytes, max_data: int) -> bytes:
    """Return a dataset that is in memory as P-DATA-TF PDUs, as ``encode_command`` does."""
    return _encode_set(context_id, 0, dataset, max_data)


def _encode_set(context_id: int, control: int, data: bytes, max_data: int) -> bytes:
    if len(data) <= max_data:
        return frame(context_id, control | LAST, len(data)) + data
    pieces = [data[start : start + max_data] for start in range(0, len(data), max_data)]
    controls = [control] * (len(pieces) - 1) + [control | LAST]
    return b"".join(
        frame(context_id, control, len(piece)) + piece
        for control, piece in zip(controls, pieces, strict=True)
    )


def max_data(max_length: int, ceiling: int) -> int:
    """Return how many bytes of data fit into one PDU to a peer that advertised ``max_length``.

    0 is a peer without a limit, which gets PDUs of ``ceiling`` (PS3.8 D.1.1). It is even, as
    fragments have to be.
    """
    length = min(max_length or ceiling, ceiling) - PDV_OVERHEAD
    return max(length - length % 2, 2)
