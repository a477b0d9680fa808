"""Finds elements at the start of a dataset by walking over its bytes (PS3.5 7).

It understands structure and nothing else: no value is decoded, no sequence is built. That costs a
tenth of what a library for datasets needs, and works on what such a library would refuse.
"""

import zlib
from collections.abc import Collection
from struct import Struct, error
from typing import Final, NamedTuple

from crossdock.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)


MAX_INFLATED = 1024 * 1024
"""Most bytes that a deflated prefix is inflated to."""

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM_GROUP: Final = 0xFFFE0000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_PIXEL_GROUP: Final = 0x7FE00000

_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR"
    b" US UT UV".split()
)
_LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS: Final = _VRS - _LONG_VRS


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
    elements: dict[int, tuple[bytes, bytes]] = {}
    wanted = frozenset(tags)
    complete = not wanted or _walk(plain, layout, wanted, elements)
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


def inflate(data: bytes | memoryview) -> bytes:
    """Return the beginning of a deflated dataset, at most 1 MB of it (PS3.5 A.5)."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, MAX_INFLATED)
    except zlib.error:
        return b""


def _walk(  # noqa: C901 — a call per branch would double what an element costs
    data: bytes,
    layout: Layout,
    wanted: frozenset[int],
    elements: dict[int, tuple[bytes, bytes]],
) -> bool:
    """Collect wanted elements; return whether the walk came to its end rather than the data's."""
    headers = _Headers(data, layout.little)
    unpack_explicit, unpack_long, explicit = headers.explicit, headers.long, layout.explicit
    missing, highest, end = len(wanted), min(max(wanted), _PIXEL_GROUP - 1), len(data)
    position = 0
    try:
        while position < end:
            # This is read()'s common case, inline: the call would double what an element costs.
            group, element, vr, length = unpack_explicit(data, position)
            tag = group << 16 | element
            if tag > highest:
                return True
            if explicit and vr in _SHORT_VRS:
                position += 8
                if tag not in wanted:
                    position += length
                    continue
            elif explicit and vr in _LONG_VRS:
                length = unpack_long(data, position + 8)[0]
                position += 12
            else:
                tag, vr, length, position = headers.read(position, explicit=False)
            if length == _UNDEFINED:
                position = headers.skip(position, explicit=explicit and vr != b"UN")
                continue
            if tag in wanted and tag not in elements:
                if position + length > end:
                    return False
                elements[tag] = (vr, data[position : position + length])
                missing -= 1
                if not missing:
                    return True
            position += length
    except error:  # struct's: less than a header is left
        return False
    return False


class _Headers:
    """Reads element headers at any position; raises ``struct.error`` behind the end."""

    def __init__(self, data: bytes, little: bool) -> None:
        order = "<" if little else ">"
        self._data = data
        self.explicit = Struct(order + "HH2sH").unpack_from
        self.long = Struct(order + "I").unpack_from
        self._tag = Struct(order + "HH").unpack_from

    def read(self, position: int, *, explicit: bool) -> tuple[int, bytes, int, int]:
        """Return tag, VR, length of the value, and where it starts.

        An element without a VR in an explicit dataset is one that a device wrote in implicit VR.
        """
        group, element = self._tag(self._data, position)
        tag = group << 16 | element
        vr = self._data[position + 4 : position + 6] if explicit and tag < _ITEM_GROUP else b""
        if vr in _LONG_VRS:
            return tag, vr, self.long(self._data, position + 8)[0], position + 12
        if vr in _VRS:
            return tag, vr, self.explicit(self._data, position)[3], position + 8
        return tag, b"", self.long(self._data, position + 4)[0], position + 8

    def skip(self, position: int, *, explicit: bool) -> int:
        """Return where an element of undefined length, whose value starts here, ends."""
        outer: list[bool] = []  # for each open sequence or item: whether it lies in explicit VR
        while True:
            tag, vr, length, position = self.read(position, explicit=explicit)
            if tag in (_ITEM_END, _SEQUENCE_END):
                if not outer:
                    return position
                explicit = outer.pop()
            elif length == _UNDEFINED:
                outer.append(explicit)
                explicit = explicit and vr != b"UN"  # PS3.5 6.2.2: implicit within
            else:
                position += length
