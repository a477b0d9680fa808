"""Values from the beginning of a dataset, raw or as text: what rules and pages want to know."""

from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from struct import iter_unpack
from typing import BinaryIO, NamedTuple

from crossdock.dicom import charsets
from crossdock.dicom.dictionary import attributes
from crossdock.dicom.elements import Found, walk
from crossdock.dicom.part10 import FileMeta, parse_file_meta
from crossdock.errors import DicomError


_FIRST_READ = 64 * 1024
_GROWTH = 8
DEFAULT_LIMIT = 4 * 1024 * 1024

_SPECIFIC_CHARACTER_SET = 0x00080005
_NUMBERS = {
    "US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d",
}  # fmt: skip
_CODED = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
_UNREADABLE = frozenset(("SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN"))


_DELIMITERS = b"\\\r\n\t\f"
_NAME_DELIMITERS = _DELIMITERS + b"^="


class _Wanted(NamedTuple):
    keyword: str
    tag: int
    vr: str


def scan(
    data: bytes | memoryview, transfer_syntax_uid: str, tags: Collection[int]
) -> dict[int, bytes]:
    """Return the raw values of those of ``tags`` that are found at the top level of a dataset.

    ``data`` is the dataset or its beginning. The walk ends at the highest wanted tag, at pixel
    data or at the first thing that makes no sense; it never raises. A transfer syntax that is
    unknown or lies is corrected by the first element. Deflated data is inflated up to 1 MB.
    """
    found = walk(data, transfer_syntax_uid, tags)
    return {tag: value for tag, (_, value) in found.elements.items()}


def read_keywords(
    path: Path, keywords: Collection[str], limit: int = DEFAULT_LIMIT
) -> dict[str, str]:
    """Return the values of a DICOM file's elements as text; those it does not have are absent.

    Multiple values stay joined by backslashes, padding is stripped, numbers are decimal, tags
    eight hex digits. Text is decoded by Specific Character Set (0008,0005); what that cannot
    decode becomes replacement characters. Sequences and binary values have no text and are
    absent, as are keywords that do not exist. At most ``limit`` bytes are read.

    Raises:
        DicomError: the file is no DICOM file.
        OSError: it cannot be read.
    """
    wanted = _wanted(frozenset(keywords))
    with path.open("rb", buffering=0) as file:
        found = _find(file, path.name, frozenset(wanted), limit)
    encodings = charsets.encodings(found.elements.get(_SPECIFIC_CHARACTER_SET, (b"", b""))[1])
    texts = {}
    for tag, (vr, value) in found.elements.items():
        if tag in wanted:
            keyword, _, usual = wanted[tag]
            text = _text(vr.decode() or usual, usual, value, encodings, found)
            if text is not None:
                texts[keyword] = text
    return texts


def _find(file: BinaryIO, name: str, tags: frozenset[int], limit: int) -> Found:
    size = file.seek(0, 2)
    length = _FIRST_READ
    while True:
        file.seek(0)
        data = file.read(min(length, limit))
        meta = parse_file_meta(data, size, name)
        everything = len(data) >= min(limit, size)
        if meta is not None:
            found = _walk(data, meta, tags)
            if found.complete or everything:
                return found
        elif everything:
            raise DicomError(f"{name}: the file meta information is cut off")
        length *= _GROWTH


def _walk(data: bytes, meta: FileMeta, tags: frozenset[int]) -> Found:
    dataset = memoryview(data)[meta.dataset_offset :]
    return walk(dataset, meta.transfer_syntax_uid, tags | {_SPECIFIC_CHARACTER_SET})


@lru_cache(maxsize=256)
def _wanted(keywords: frozenset[str]) -> Mapping[int, _Wanted]:
    wanted = {}
    for keyword in keywords:
        found = attributes().get(keyword)
        if found is not None:
            wanted[found.tag] = _Wanted(keyword, *found)
    return wanted


def _text(
    vr: str, usual: str, value: bytes, encodings: tuple[str, ...], found: Found
) -> str | None:
    if vr == "UN":
        vr = usual
    order = "<" if found.layout.little else ">"
    if vr in _NUMBERS:
        return _numbers(order + _NUMBERS[vr], value)
    if vr == "AT":
        return "\\".join(f"{group:04X}{element:04X}" for group, element in _pairs(order, value))
    if vr in _UNREADABLE:
        return None
    if value.isascii() and b"\x1b" not in value:
        return _strip(value.decode("ascii"), vr)
    return _strip(_decode(value, encodings, vr), vr)


def _strip(text: str, vr: str) -> str:
    """Remove padding: of each value, except where blanks in front or backslashes mean something."""
    if vr in ("LT", "ST", "UT", "UR"):
        return text.rstrip("\0 ")
    if "\\" not in text:
        return text.strip("\0 ")
    return "\\".join(part.strip("\0 ") for part in text.split("\\"))


def _decode(value: bytes, encodings: tuple[str, ...], vr: str) -> str:
    if vr not in _CODED:
        return charsets.decode_undeclared(value)
    return charsets.decode(value, encodings, _NAME_DELIMITERS if vr == "PN" else _DELIMITERS)


def _numbers(layout: str, value: bytes) -> str:
    size = {"H": 2, "I": 4, "Q": 8, "F": 4, "D": 8}[layout[1].upper()]
    whole = value[: len(value) - len(value) % size]
    return "\\".join(f"{number}" for (number,) in iter_unpack(layout, whole))


def _pairs(order: str, value: bytes) -> list[tuple[int, int]]:
    return list(iter_unpack(order + "HH", value[: len(value) - len(value) % 4]))
