"""Finds elements at the start of a dataset by walking over its bytes (PS3.5 7).

It understands structure and nothing else: no value is decoded, no sequence is built. That costs a
tenth of what a library for datasets needs, and works on what such a library would refuse.

The instances of a series mostly have the same headers in the same places. So what one walk has read
is remembered as an ``Outline``, and a dataset that fits it costs a tenth of a walk.
"""

import zlib
from collections import deque
from collections.abc import Collection, Iterator, MutableSequence, Sequence
from functools import lru_cache
from struct import Struct, error
from typing import Final, NamedTuple

from crossdock.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from crossdock.errors import DicomError


MAX_INFLATED = 1024 * 1024
"""Most bytes that a deflated prefix is inflated to."""

_MAX_OUTLINES: Final = 8  # lengths differ within a series, but mostly between a few
_MAX_OUTLINE: Final = 512  # headers; with all of them it is 50 KB

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM_GROUP: Final = 0xFFFE0000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_PIXEL_GROUP: Final = 0x7FE00000
_DELIMITER_LENGTH: Final = 8

_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR"
    b" US UT UV".split()
)
_LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS: Final = _VRS - _LONG_VRS


Places = dict[int, tuple[bytes, int, int]]
"""Elements by tag: VR, and where the value begins and ends."""


class Layout(NamedTuple):
    """How the elements of a dataset are laid out."""

    explicit: bool
    little: bool


class Found(NamedTuple):
    """Elements by tag, each with its VR, empty where the dataset does not say it.

    ``complete`` is False where the walk ran out of bytes before it could know about every tag.
    """

    elements: dict[int, tuple[bytes, bytes]]
    layout: Layout
    complete: bool


def walk(data: bytes | memoryview, transfer_syntax_uid: str, tags: Collection[int]) -> Found:
    """Find those of ``tags`` that are at the top level of a dataset, of which this is the beginning.

    It ends at the highest wanted tag, at pixel data or at the first thing that makes no sense; it
    never raises. A transfer syntax that is unknown or lies is corrected by the first element.
    """
    if transfer_syntax_uid == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN:
        data = inflate(data)
    plain = bytes(data)
    layout = recognise(plain, transfer_syntax_uid)
    wanted = frozenset(tags)
    if not wanted:
        return Found({}, layout, complete=True)
    outlines = _outlines(layout, wanted)
    places, complete = outlines.find(plain), True
    if places is None:
        headers, places = _Headers(plain, layout.little), {}
        complete = _walk(headers, layout, wanted, places)
        if complete and len(headers.seen) <= _MAX_OUTLINE:
            outlines.add(_Outline(plain, headers.seen, places))
    elements = {tag: (vr, plain[start:end]) for tag, (vr, start, end) in places.items()}
    return Found(elements, layout, complete)


def recognise(data: bytes, transfer_syntax_uid: str) -> Layout:
    """Return the layout that a transfer syntax means, corrected by what the first element shows."""
    if transfer_syntax_uid == EXPLICIT_VR_BIG_ENDIAN and data[4:6] in _VRS:
        return Layout(explicit=True, little=False)
    if data[4:6] in _VRS:
        return Layout(explicit=True, little=True)
    plausible = int.from_bytes(data[4:8], "little") <= len(data)
    implicit = transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN or plausible
    return Layout(explicit=not implicit, little=True)


def level(
    data: bytes, layout: Layout, start: int = 0, end: int | None = None
) -> Iterator[tuple[int, int, int]]:
    """Yield the tag of each element of a dataset, and where its value begins and ends.

    With ``start`` and ``end`` of the value of a sequence these are its items, and with those of an
    item its elements.

    Raises:
        DicomError: an element does not fit into what it is in.
    """
    headers, limit = _Headers(data, layout.little), len(data) if end is None else end
    headers.seen = deque(maxlen=0)  # of no interest here, and hostile data may have many
    position = start
    while position < limit:
        try:
            tag, vr, length, begin = headers.read(position, explicit=layout.explicit)
            value_end = position = begin + length
            if length == _UNDEFINED:
                position = headers.skip(begin, explicit=layout.explicit and vr != b"UN")
                value_end = position - _DELIMITER_LENGTH
        except error:  # struct's: less than a header is left
            raise DicomError("an element is cut off") from None
        if position > limit:
            raise DicomError(f"element {tag:08X} is longer than what it is in")
        yield tag, begin, value_end


def inflate(data: bytes | memoryview) -> bytes:
    """Return the beginning of a deflated dataset, at most 1 MB of it (PS3.5 A.5)."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, MAX_INFLATED)
    except zlib.error:
        return b""


class _Outline:
    """The headers that a walk has read, and where it found the wanted elements.

    A walk looks at nothing but headers, and at whether the wanted values are there. So it would go
    the same way through any other data that has the same headers in the same places.
    """

    def __init__(self, data: bytes, seen: Sequence[tuple[int, int]], places: Places) -> None:
        ends = (0, *(end for _, end in seen))
        gaps = zip(ends, seen, strict=False)
        fields = (f"{start - before}x{end - start}s" for before, (start, end) in gaps)
        self._read = Struct("=" + "".join(fields)).unpack_from
        self._headers = self._read(data)
        self._last = slice(*seen[-1])
        self._end = max((ends[-1], *(end for _, _, end in places.values())))
        self._places = places

    def find(self, data: bytes) -> Places | None:
        """Return where the wanted elements of other data are, None if they have to be looked for."""
        # Where any length differs, the last header is elsewhere: most that does not fit ends here.
        if data[self._last] != self._headers[-1] or len(data) < self._end:
            return None
        return self._places if self._read(data) == self._headers else None


class _Outlines:
    """The latest outlines of one layout and set of wanted tags. Any thread may use them."""

    def __init__(self) -> None:
        self._latest: tuple[_Outline, ...] = ()

    def find(self, data: bytes) -> Places | None:
        """Return where the wanted elements are, None if no outline fits."""
        for outline in self._latest:
            places = outline.find(data)
            if places is not None:
                return places
        return None

    def add(self, outline: _Outline) -> None:
        """Remember an outline instead of the oldest."""
        self._latest = (outline, *self._latest[: _MAX_OUTLINES - 1])


@lru_cache(maxsize=16)
def _outlines(_layout: Layout, _wanted: frozenset[int]) -> _Outlines:
    return _Outlines()


def _walk(headers: "_Headers", layout: Layout, wanted: frozenset[int], places: Places) -> bool:
    """Find wanted elements; return whether the walk came to its end rather than the data's."""
    read, seen, explicit = headers.short, headers.seen, layout.explicit
    missing, highest, size = len(wanted), min(max(wanted), _PIXEL_GROUP - 1), len(headers.data)
    position = 0
    try:
        while missing:
            # The common case of headers.read, inline: the call would double what an element costs.
            group, element, vr, length = read(headers.data, position)
            tag, start = group << 16 | element, position + 8
            if tag <= highest and not (explicit and vr in _SHORT_VRS):
                tag, vr, length, start = headers.read(position, explicit=explicit)
            seen.append((position, start))
            if tag > highest:
                return True
            position = start + length
            if length == _UNDEFINED:
                position = headers.skip(start, explicit=explicit and vr != b"UN")
            elif tag in wanted and tag not in places:
                if position > size:
                    return False
                places[tag] = (vr, start, position)
                missing -= 1
    except error:  # struct's: less than a header is left
        return False
    return True


_READERS: Final = {
    little: tuple(Struct(order + fields).unpack_from for fields in ("HH2sH", "HH", "I"))
    for little, order in ((True, "<"), (False, ">"))
}
"""How to read a short header, a tag and a long length, by whether the bytes are little endian."""


class _Headers:
    """Reads element headers at any position; raises ``struct.error`` behind the end.

    ``seen`` says where those that were walked over begin and end.
    """

    def __init__(self, data: bytes, little: bool) -> None:
        self.data = data
        self.seen: MutableSequence[tuple[int, int]] = []
        self.short, self._tag, self._long = _READERS[little]

    def read(self, position: int, *, explicit: bool) -> tuple[int, bytes, int, int]:
        """Return tag, VR, length of the value, and where it starts.

        An element without a VR in an explicit dataset is one that a device wrote in implicit VR.
        """
        group, element = self._tag(self.data, position)
        tag = group << 16 | element
        vr = self.data[position + 4 : position + 6] if explicit and tag < _ITEM_GROUP else b""
        if vr in _LONG_VRS:
            return tag, vr, self._long(self.data, position + 8)[0], position + 12
        if vr in _VRS:
            return tag, vr, self.short(self.data, position)[3], position + 8
        return tag, b"", self._long(self.data, position + 4)[0], position + 8

    def skip(self, position: int, *, explicit: bool) -> int:
        """Return where an element of undefined length, whose value starts here, ends."""
        outer: list[bool] = []  # for each open sequence or item: whether it lies in explicit VR
        while True:
            header = position
            tag, vr, length, position = self.read(header, explicit=explicit)
            self.seen.append((header, position))
            if tag in (_ITEM_END, _SEQUENCE_END):
                if not outer:
                    return position
                explicit = outer.pop()
            elif length == _UNDEFINED:
                outer.append(explicit)
                explicit = explicit and vr != b"UN"  # PS3.5 6.2.2: implicit within
            else:
                position += length
