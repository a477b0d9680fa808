"""Finds elements at the start of a dataset by walking over its bytes (PS3.5 7).

It understands structure and nothing else: no value is decoded, no sequence is built. That costs a
tenth of what a library for datasets needs, and works on what such a library would refuse.
"""

import zlib
from collections.abc import Collection
from functools import lru_cache
from struct import Struct, error
from typing import Final, NamedTuple

from crossdock.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_BIG_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)


MAX_INFLATED = 1024 * 1024
"""Most bytes that a deflated prefix is inflated to."""

_MAX_STEPS: Final = 2048  # of one layout: a hundred kinds of header, and what hostile ones may fill

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


def _walk(
    data: bytes,
    layout: Layout,
    wanted: frozenset[int],
    elements: dict[int, tuple[bytes, bytes]],
) -> bool:
    """Collect wanted elements; return whether the walk came to its end rather than the data's."""
    headers, steps = _Headers(data, layout.little), _steps(layout, wanted)
    highest, end = min(max(wanted), _PIXEL_GROUP - 1), len(data)
    position = 0
    try:
        while len(elements) < len(wanted):
            position = headers.stride(position, steps)
            tag, vr, length, value = headers.read(position, explicit=layout.explicit)
            if tag > highest:
                return True
            if length == _UNDEFINED:
                position = headers.skip(value, explicit=layout.explicit and vr != b"UN")
                continue
            if tag not in wanted:
                _remember(steps, data[position : position + 8], vr, length)
            elif tag not in elements:
                if value + length > end:
                    return False
                elements[tag] = (vr, data[value : value + length])
            position = value + length
    except error:  # struct's: less than a header is left
        return False
    return True


@lru_cache(maxsize=32)
def _steps(_layout: Layout, _wanted: frozenset[int]) -> dict[bytes, int]:
    """Return, by the 8 bytes of an element's header, how far it is to the next element.

    Only headers that say all of that themselves and are not wanted are in it. So a step is what
    reading the header would give, at a tenth of its cost, whoever sent it.
    """
    return {}


def _remember(steps: dict[bytes, int], header: bytes, vr: bytes, length: int) -> None:
    if vr in _LONG_VRS:  # its length is behind these bytes
        return
    if len(steps) >= _MAX_STEPS:
        steps.clear()
    steps[header] = len(header) + length


_READERS: Final = {
    little: tuple(Struct(order + fields).unpack_from for fields in ("HH", "H", "I"))
    for little, order in ((True, "<"), (False, ">"))
}
"""How to read a tag, a short length and a long one, by whether the bytes are little endian."""


class _Headers:
    """Reads element headers at any position; raises ``struct.error`` behind the end."""

    def __init__(self, data: bytes, little: bool) -> None:
        self._data = data
        self._tag, self._short, self._long = _READERS[little]

    def read(self, position: int, *, explicit: bool) -> tuple[int, bytes, int, int]:
        """Return tag, VR, length of the value, and where it starts.

        An element without a VR in an explicit dataset is one that a device wrote in implicit VR.
        """
        group, element = self._tag(self._data, position)
        tag = group << 16 | element
        vr = self._data[position + 4 : position + 6] if explicit and tag < _ITEM_GROUP else b""
        if vr in _LONG_VRS:
            return tag, vr, self._long(self._data, position + 8)[0], position + 12
        if vr in _VRS:
            return tag, vr, self._short(self._data, position + 6)[0], position + 8
        return tag, b"", self._long(self._data, position + 4)[0], position + 8

    def stride(self, position: int, steps: dict[bytes, int]) -> int:
        """Return where the first element that is not among ``steps`` begins."""
        data = self._data
        while step := steps.get(data[position : position + 8]):
            position += step
        return position

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
