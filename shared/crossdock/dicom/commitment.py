"""What is said about storage commitment: requests and reports, and back to bytes (PS3.4 J.3).

Pure, and bounded: a dataset that is no statement on commitment, or too large a one, is an error.
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import NamedTuple

from crossdock.dicom.elements import Layout, level, recognise
from crossdock.dicom.uids import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    looks_like_uid,
)
from crossdock.errors import DicomError


REQUEST_ACTION = 1
"""Action type of a request (PS3.4 J.3.2)."""

ALL_COMMITTED, SOME_FAILED = 1, 2
"""Event types of a report (PS3.4 J.3.3)."""

MAX_REFERENCES = 20_000
MAX_BYTES = 4 * 1024 * 1024
"""Most that is read of one request or report; a study of 10 000 instances has about 1.5 MB."""

SYNTAXES = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""The transfer syntaxes that are read and written."""

_SOP_CLASS_UID = 0x00081150
_SOP_INSTANCE_UID = 0x00081155
_TRANSACTION_UID = 0x00081195
_FAILURE_REASON = 0x00081197
_FAILED_SEQUENCE = 0x00081198
_REFERENCED_SEQUENCE = 0x00081199
_WANTED = frozenset(range(_SOP_CLASS_UID, _REFERENCED_SEQUENCE + 1))
_ITEM = 0xFFFEE000

_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2sxxI")
_IMPLICIT = Struct("<HHI")
_US = Struct("<H")


class TooLarge(DicomError):  # noqa: N818 — reads as what happened
    """A statement has more references, or more bytes, than we take."""


class Reference(NamedTuple):
    """An instance as commitment names it."""

    sop_class_uid: str
    sop_instance_uid: str


class Request(NamedTuple):
    """Somebody asks for instances to be kept for good."""

    transaction_uid: str
    references: tuple[Reference, ...]


class Report(NamedTuple):
    """Which instances are kept, and which are not with the reason (a ``Status``)."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]

    @property
    def event(self) -> int:
        """The event type that it is reported as."""
        return SOME_FAILED if self.failed else ALL_COMMITTED


def encode_request(request: Request, transfer_syntax_uid: str) -> bytes:
    """Return the dataset of an N-ACTION-RQ (PS3.4 table J.3-1)."""
    return encode_report(
        Report(request.transaction_uid, request.references, ()), transfer_syntax_uid
    )


def encode_report(report: Report, transfer_syntax_uid: str) -> bytes:
    """Return the dataset of an N-EVENT-REPORT-RQ (PS3.4 table J.3-2)."""
    explicit = transfer_syntax_uid != IMPLICIT_VR_LITTLE_ENDIAN
    committed = (_reference(each, explicit) for each in report.committed)
    failed = (
        _reference(each, explicit) + _element(_FAILURE_REASON, b"US", _US.pack(reason), explicit)
        for each, reason in report.failed
    )
    return (
        _element(_TRANSACTION_UID, b"UI", _uid(report.transaction_uid), explicit)
        + (_sequence(_FAILED_SEQUENCE, failed, explicit) if report.failed else b"")
        + (_sequence(_REFERENCED_SEQUENCE, committed, explicit) if report.committed else b"")
    )


def decode_request(data: bytes, transfer_syntax_uid: str) -> Request:
    """Return the request in a dataset.

    Raises:
        TooLarge: it names too many instances.
        DicomError: it is no request.
    """
    report = decode_report(data, transfer_syntax_uid)
    if not report.committed:
        raise DicomError("a request without references")
    return Request(report.transaction_uid, report.committed)


def decode_report(data: bytes, transfer_syntax_uid: str) -> Report:
    """Return the report in a dataset.

    Raises:
        TooLarge: it names too many instances.
        DicomError: it is no report.
    """
    if len(data) > MAX_BYTES:
        raise TooLarge(f"more than {MAX_BYTES} bytes")
    layout = recognise(data, transfer_syntax_uid)
    places = {tag: (start, end) for tag, start, end in level(data, layout) if tag in _WANTED}
    if _TRANSACTION_UID not in places:
        raise DicomError("no Transaction UID")
    transaction = _text(data, *places[_TRANSACTION_UID])
    if not looks_like_uid(transaction):
        raise DicomError("the Transaction UID is no UID")
    committed = _items(data, layout, places.get(_REFERENCED_SEQUENCE, (0, 0)))
    failed = _items(data, layout, places.get(_FAILED_SEQUENCE, (0, 0)))
    return Report(transaction, tuple(each for each, _ in committed), tuple(failed))


def _items(data: bytes, layout: Layout, place: tuple[int, int]) -> list[tuple[Reference, int]]:
    found = []
    for tag, start, end in level(data, layout, *place):
        if tag != _ITEM:
            raise DicomError("something else than an item in a sequence")
        found.append(_item(data, layout, start, end))
        if len(found) > MAX_REFERENCES:
            raise TooLarge(f"more than {MAX_REFERENCES} references")
    return found


def _item(data: bytes, layout: Layout, start: int, end: int) -> tuple[Reference, int]:
    values = {
        tag: data[begin:finish]
        for tag, begin, finish in level(data, layout, start, end)
        if tag in _WANTED
    }
    uids = [_text(values.get(tag, b"")) for tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID)]
    if not all(0 < len(uid) <= 64 and uid.isprintable() for uid in uids):  # noqa: PLR2004 — PS3.5 9.1
        raise DicomError("a reference without UIDs")
    reason = values.get(_FAILURE_REASON, b"")
    return Reference(*uids), _US.unpack_from(reason)[0] if len(reason) >= _US.size else 0


def _reference(reference: Reference, explicit: bool) -> bytes:
    return _element(_SOP_CLASS_UID, b"UI", _uid(reference.sop_class_uid), explicit) + _element(
        _SOP_INSTANCE_UID, b"UI", _uid(reference.sop_instance_uid), explicit
    )


def _sequence(tag: int, items: Iterable[bytes], explicit: bool) -> bytes:
    return _element(tag, b"SQ", b"".join(_wrapped(items)), explicit)


def _wrapped(items: Iterable[bytes]) -> Iterator[bytes]:
    for item in items:
        yield _IMPLICIT.pack(_ITEM >> 16, _ITEM & 0xFFFF, len(item)) + item


def _element(tag: int, vr: bytes, value: bytes, explicit: bool) -> bytes:
    group, element = tag >> 16, tag & 0xFFFF
    if not explicit:
        return _IMPLICIT.pack(group, element, len(value)) + value
    header = _LONG if vr == b"SQ" else _SHORT
    return header.pack(group, element, vr, len(value)) + value


def _text(data: bytes, start: int = 0, end: int | None = None) -> str:
    return data[start:end].decode("ascii", "replace").strip("\0 ")


def _uid(uid: str) -> bytes:
    value = uid.encode("ascii", "replace")
    return value + b"\0" if len(value) % 2 else value
