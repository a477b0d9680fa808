"""The DICOM file format: the preamble and file meta information before a dataset (PS3.10 7.1)."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from struct import Struct

from crossdock.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from crossdock.errors import DicomError


PREAMBLE = bytes(128) + b"DICM"

_MAX_META_LENGTH = 64 * 1024
_FIRST_READ = 4 * 1024

_GROUP_LENGTH = 0x0000
_VERSION = 0x0001
_SOP_CLASS_UID = 0x0002
_SOP_INSTANCE_UID = 0x0003
_TRANSFER_SYNTAX_UID = 0x0010
_IMPLEMENTATION_CLASS_UID = 0x0012
_IMPLEMENTATION_VERSION_NAME = 0x0013
_SENDING_AE_TITLE = 0x0017
_RECEIVING_AE_TITLE = 0x0018
_SENDING_PRESENTATION_ADDRESS = 0x0027

_SCHEME = "dicom://"
_LONG_VRS = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UR", b"UT", b"UC"))
_SHORT = Struct("<HH2sH")
_LONG = Struct("<HH2s2xI")


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What a file says before its dataset begins.

    ``dataset_offset`` is where that is and ``size`` the length of the whole file, in bytes.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    calling_ae_title: str
    called_ae_title: str
    address: str
    dataset_offset: int
    size: int


def file_meta(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    calling_ae_title: str = "",
    called_ae_title: str = "",
    address: str = "",
) -> bytes:
    """Return preamble and file meta information, to be followed by the dataset as it came.

    The calling AE title becomes (0002,0017) Sending AE Title, the called one (0002,0018)
    Receiving AE Title, and ``address``, the sender's host, the URI in (0002,0027) Sending
    Presentation Address. Empty ones are left out.
    """
    before = _before_instance(sop_class_uid)
    instance = _element(_SOP_INSTANCE_UID, b"UI", sop_instance_uid.encode())
    after = _after_instance(transfer_syntax_uid, calling_ae_title, called_ae_title, address)
    length = len(before) + len(instance) + len(after)
    group_length = _element(_GROUP_LENGTH, b"UL", length.to_bytes(4, "little"))
    return b"".join((PREAMBLE, group_length, before, instance, after))


@lru_cache(maxsize=256)
def _before_instance(sop_class_uid: str) -> bytes:
    return b"".join(
        (
            _element(_VERSION, b"OB", b"\x00\x01"),
            _element(_SOP_CLASS_UID, b"UI", sop_class_uid.encode()),
        )
    )


@lru_cache(maxsize=256)
def _after_instance(
    transfer_syntax_uid: str, calling_ae_title: str, called_ae_title: str, address: str
) -> bytes:
    return b"".join(
        (
            _element(_TRANSFER_SYNTAX_UID, b"UI", transfer_syntax_uid.encode()),
            _element(_IMPLEMENTATION_CLASS_UID, b"UI", IMPLEMENTATION_CLASS_UID.encode()),
            _element(_IMPLEMENTATION_VERSION_NAME, b"SH", IMPLEMENTATION_VERSION_NAME.encode()),
            _optional(_SENDING_AE_TITLE, b"AE", calling_ae_title),
            _optional(_RECEIVING_AE_TITLE, b"AE", called_ae_title),
            _optional(_SENDING_PRESENTATION_ADDRESS, b"UR", _address_to_uri(address)),
        )
    )


def read_file_meta(path: Path) -> FileMeta:
    """Return what a file says before its dataset.

    Reads no more than the meta information, and at most 64 KB. A wrong or missing group length
    is forgiven: the meta information ends where the elements of group 0002 do.

    Raises:
        DicomError: the file is no DICOM file, or is one without transfer syntax.
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        data = file.read(_FIRST_READ)
        size = file.seek(0, 2)
        meta = parse_file_meta(data, size, path.name)
        if meta is None:
            file.seek(0)
            meta = parse_file_meta(file.read(_MAX_META_LENGTH), size, path.name)
    if meta is None:
        raise DicomError(f"{path.name}: the file meta information is cut off or longer than 64 KB")
    return meta


def parse_file_meta(data: bytes, size: int, name: str) -> FileMeta | None:
    """Return the meta information at the start of ``data``, None if more of the file is needed.

    Raises:
        DicomError: it is no DICOM file; ``name`` says which.
    """
    if data[128:132] != b"DICM":
        raise DicomError(f"{name}: no DICOM file, since DICM is not at byte 128")
    elements: dict[int, bytes] = {}
    position = len(PREAMBLE)
    while data[position : position + 2] == b"\x02\x00":
        found = _read_element(data, position)
        if found is None:
            break
        element, value, position = found
        elements[element] = value
    else:
        if position < len(data) or position == size:
            return _file_meta_of(elements, position, size, name)
    return None


def _file_meta_of(elements: dict[int, bytes], offset: int, size: int, name: str) -> FileMeta:
    if not elements.get(_TRANSFER_SYNTAX_UID):
        raise DicomError(f"{name}: (0002,0010) Transfer Syntax UID is missing")
    return FileMeta(
        sop_class_uid=_text(elements, _SOP_CLASS_UID),
        sop_instance_uid=_text(elements, _SOP_INSTANCE_UID),
        transfer_syntax_uid=_text(elements, _TRANSFER_SYNTAX_UID),
        calling_ae_title=_text(elements, _SENDING_AE_TITLE),
        called_ae_title=_text(elements, _RECEIVING_AE_TITLE),
        address=_uri_to_address(_text(elements, _SENDING_PRESENTATION_ADDRESS)),
        dataset_offset=offset,
        size=size,
    )


def _read_element(data: bytes, position: int) -> tuple[int, bytes, int] | None:
    left = len(data) - position
    if left < _SHORT.size:
        return None
    _, element, vr, length = _SHORT.unpack_from(data, position)
    start = position + _SHORT.size
    if vr in _LONG_VRS:
        if left < _LONG.size:
            return None
        length = _LONG.unpack_from(data, position)[3]
        start = position + _LONG.size
    end: int = start + length
    return None if end > len(data) else (element, data[start:end], end)


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr in (b"UI", b"OB") else b" "
    if vr in _LONG_VRS:
        return _LONG.pack(2, element, vr, len(value)) + value
    return _SHORT.pack(2, element, vr, len(value)) + value


def _optional(element: int, vr: bytes, text: str) -> bytes:
    return _element(element, vr, text.encode("ascii", "replace")) if text else b""


def _text(elements: dict[int, bytes], element: int) -> str:
    return elements.get(element, b"").decode("ascii", "replace").strip("\0 ")


def _address_to_uri(address: str) -> str:
    if not address:
        return ""
    return f"{_SCHEME}[{address}]" if ":" in address else f"{_SCHEME}{address}"


def _uri_to_address(uri: str) -> str:
    host = uri.removeprefix(_SCHEME)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
