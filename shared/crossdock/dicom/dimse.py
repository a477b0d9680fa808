"""DIMSE command sets (PS3.7 6.3, 9.3 and E): implicit VR little endian, group 0000."""

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from crossdock.dicom.errors import AbortReason, ProtocolError


C_STORE_RQ = 0x0001
C_STORE_RSP = 0x8001
C_ECHO_RQ = 0x0030
C_ECHO_RSP = 0x8030
C_CANCEL_RQ = 0x0FFF
N_EVENT_REPORT_RQ = 0x0100
N_ACTION_RQ = 0x0130
RESPONSE = 0x8000

MAX_COMMAND_LENGTH = 64 * 1024
"""Longest command set that is read; real ones have some 200 bytes."""

_GROUP_LENGTH = 0x0000
_AFFECTED_SOP_CLASS_UID = 0x0002
_REQUESTED_SOP_CLASS_UID = 0x0003
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_MESSAGE_ID_RESPONDED_TO = 0x0120
_PRIORITY = 0x0700
_DATASET_TYPE = 0x0800
_STATUS = 0x0900
_ERROR_COMMENT = 0x0902
_AFFECTED_SOP_INSTANCE_UID = 0x1000
_REQUESTED_SOP_INSTANCE_UID = 0x1001
_EVENT_TYPE_ID = 0x1002
_ACTION_TYPE_ID = 0x1008
_MOVE_ORIGINATOR = 0x1030
_MOVE_ORIGINATOR_MESSAGE_ID = 0x1031

_NO_DATASET = 0x0101
_SOME_DATASET = 0x0001
_MEDIUM = 0x0000
_ELEMENT = Struct("<HHI")
_US = Struct("<H")


class Command(NamedTuple):
    """A command set, as far as our services need it; absent numbers are -1.

    The SOP class and instance are those affected or requested, ``type_id`` that of an event or
    an action.
    """

    field: int
    message_id: int
    responded_to: int
    has_dataset: bool
    status: int
    sop_class_uid: str
    sop_instance_uid: str
    error_comment: str
    type_id: int = -1


def decode(data: bytes | memoryview) -> Command:
    """Return the command in ``data``.

    Raises:
        ProtocolError: it is cut off, holds another group, or has no command field.
    """
    elements = _elements(bytes(data))
    field = _number(elements, _COMMAND_FIELD)
    if field < 0:
        raise ProtocolError(AbortReason.INVALID_PDU_PARAMETER, "a command set without its field")
    return Command(
        field=field,
        message_id=_number(elements, _MESSAGE_ID),
        responded_to=_number(elements, _MESSAGE_ID_RESPONDED_TO),
        has_dataset=_number(elements, _DATASET_TYPE) not in (_NO_DATASET, -1),
        status=_number(elements, _STATUS),
        sop_class_uid=_text(elements, _AFFECTED_SOP_CLASS_UID)
        or _text(elements, _REQUESTED_SOP_CLASS_UID),
        sop_instance_uid=_text(elements, _AFFECTED_SOP_INSTANCE_UID)
        or _text(elements, _REQUESTED_SOP_INSTANCE_UID),
        error_comment=_text(elements, _ERROR_COMMENT),
        type_id=max(_number(elements, _EVENT_TYPE_ID), _number(elements, _ACTION_TYPE_ID)),
    )


def store_request(
    message_id: int,
    sop_class_uid: str,
    sop_instance_uid: str,
    move_originator: tuple[str, int] | None = None,
) -> bytes:
    """Return a C-STORE-RQ of medium priority (PS3.7 9.3.1.1).

    ``move_originator`` is the AE title that asked for the move, and its message's number.
    """
    elements = {
        _AFFECTED_SOP_CLASS_UID: _uid(sop_class_uid),
        _COMMAND_FIELD: _US.pack(C_STORE_RQ),
        _MESSAGE_ID: _US.pack(message_id),
        _PRIORITY: _US.pack(_MEDIUM),
        _DATASET_TYPE: _US.pack(_SOME_DATASET),
        _AFFECTED_SOP_INSTANCE_UID: _uid(sop_instance_uid),
    }
    if move_originator is not None:
        ae_title, number = move_originator
        elements[_MOVE_ORIGINATOR] = ae_title.encode("ascii", "replace").ljust(16)[:16]
        elements[_MOVE_ORIGINATOR_MESSAGE_ID] = _US.pack(number)
    return _encode(elements)


def echo_request(message_id: int, sop_class_uid: str) -> bytes:
    """Return a C-ECHO-RQ (PS3.7 9.3.5.1)."""
    return _encode(
        {
            _AFFECTED_SOP_CLASS_UID: _uid(sop_class_uid),
            _COMMAND_FIELD: _US.pack(C_ECHO_RQ),
            _MESSAGE_ID: _US.pack(message_id),
            _DATASET_TYPE: _US.pack(_NO_DATASET),
        }
    )


def action_request(message_id: int, sop_class_uid: str, instance_uid: str, action: int) -> bytes:
    """Return an N-ACTION-RQ that a dataset follows (PS3.7 10.3.5.1)."""
    return _encode(
        {
            _REQUESTED_SOP_CLASS_UID: _uid(sop_class_uid),
            _COMMAND_FIELD: _US.pack(N_ACTION_RQ),
            _MESSAGE_ID: _US.pack(message_id),
            _DATASET_TYPE: _US.pack(_SOME_DATASET),
            _REQUESTED_SOP_INSTANCE_UID: _uid(instance_uid),
            _ACTION_TYPE_ID: _US.pack(action),
        }
    )


def event_report_request(
    message_id: int, sop_class_uid: str, instance_uid: str, event: int
) -> bytes:
    """Return an N-EVENT-REPORT-RQ that a dataset follows (PS3.7 10.3.1.1)."""
    return _encode(
        {
            _AFFECTED_SOP_CLASS_UID: _uid(sop_class_uid),
            _COMMAND_FIELD: _US.pack(N_EVENT_REPORT_RQ),
            _MESSAGE_ID: _US.pack(message_id),
            _DATASET_TYPE: _US.pack(_SOME_DATASET),
            _AFFECTED_SOP_INSTANCE_UID: _uid(instance_uid),
            _EVENT_TYPE_ID: _US.pack(event),
        }
    )


def response(request: Command, status: int) -> bytes:
    """Return the response to ``request``, whatever it asked for (PS3.7 9.3)."""
    uid = _uid(request.sop_instance_uid)
    before, after = _around_message_id(request.sop_class_uid, request.field, status, len(uid))
    return b"".join((before, _US.pack(max(request.message_id, 0)), after, uid))


@lru_cache(maxsize=256)
def _around_message_id(
    sop_class_uid: str, field: int, status: int, uid_length: int
) -> tuple[bytes, bytes]:
    """Return a response's bytes before and after its message ID, which are mostly the same."""
    elements = {
        _AFFECTED_SOP_CLASS_UID: _uid(sop_class_uid),
        _COMMAND_FIELD: _US.pack(field | RESPONSE),
        _MESSAGE_ID_RESPONDED_TO: _US.pack(0),
    }
    before, after = (
        _body(elements),
        _body({_DATASET_TYPE: _US.pack(_NO_DATASET), _STATUS: _US.pack(status)}),
    )
    if uid_length:
        after += _ELEMENT.pack(0, _AFFECTED_SOP_INSTANCE_UID, uid_length)
    length = len(before) + len(after) + uid_length
    return _group_length(length) + before[: -_US.size], after


def _elements(data: bytes) -> dict[int, bytes]:
    elements: dict[int, bytes] = {}
    position, end = 0, len(data)
    while position < end:
        if end - position < _ELEMENT.size:
            raise ProtocolError(AbortReason.INVALID_PDU_PARAMETER, "a command set that is cut off")
        group, element, length = _ELEMENT.unpack_from(data, position)
        position += _ELEMENT.size
        if group or length > end - position:
            raise ProtocolError(AbortReason.INVALID_PDU_PARAMETER, "a malformed command set")
        elements[element] = data[position : position + length]
        position += length
    return elements


def _number(elements: Mapping[int, bytes], element: int) -> int:
    value = elements.get(element, b"")
    return _US.unpack_from(value)[0] if len(value) >= _US.size else -1


def _text(elements: Mapping[int, bytes], element: int) -> str:
    return elements.get(element, b"").decode("ascii", "replace").strip("\0 ")


def _uid(uid: str) -> bytes:
    value = uid.encode("ascii", "replace")
    return value + b"\0" if len(value) % 2 else value


def _encode(elements: Mapping[int, bytes]) -> bytes:
    body = _body(elements)
    return _group_length(len(body)) + body


def _body(elements: Mapping[int, bytes]) -> bytes:
    return b"".join(
        _ELEMENT.pack(0, element, len(value)) + value for element, value in elements.items()
    )


def _group_length(length: int) -> bytes:
    return _ELEMENT.pack(0, _GROUP_LENGTH, 4) + length.to_bytes(4, "little")
